"""FIND beside what it is compared with, at equal cost. ``ai-econ find_compare --help``.

Runs every method on one model and prompt with the same images, and those that cost more passes of
the network once more with fewer, so that passes are equal too. ``--long_images=3200`` adds long
runs. Writes tables, a summary and figures; each method has a folder of its own, and the same
``--workdir`` goes on where it was killed.
"""

import time

from absl import flags

from ai_econ_jax import cli, devices, workdir
from ai_econ_jax.agents.find import compare, compare_figures, compare_report, report, shortcuts
from ai_econ_jax.agents.find.compare import COMPARE_PRESETS, CompareConfig

_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; the same one resumes.")
shortcuts.define_comparison()
flags.adopt_module_key_flags(shortcuts)  # so that --help lists them


def main(config: CompareConfig) -> None:
    """Compares methods; the last line printed is ``key=value`` pairs for scripts."""
    started = time.perf_counter()
    if _WORKDIR.value is None:
        raise ValueError("--workdir is required")
    devices.enable_compilation_cache()
    config = shortcuts.apply_comparison(config)
    rows = compare.plan(config)
    print(compare_report.opening(config, rows), flush=True)
    digest = report.weights_digest(rows[0].setting.weights)
    with workdir.open_workdir(_WORKDIR.value, config, weights=digest) as place:
        results = compare.compare(rows, place, lambda line: print(line, flush=True))
        print(compare_report.table(config, results))
        compare_report.write_files(config, results, place)
        compare_figures.write_figures(results, place)
    cli.print_headline(compare_report.headline(results), time.perf_counter() - started, place)


if __name__ == "__main__":
    cli.run_app(main, COMPARE_PRESETS)
