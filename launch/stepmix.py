"""StepMix and EpsMix: exploration that is never worse than required. ``ai-econ stepmix --help``.

Runs algorithms on one tabular problem, a built-in one, your own or a table of Gymnasium, over many
seeds, with every executed policy scored exactly. ``--algos=list`` prints the algorithms.
"""

import time

from absl import flags

from ai_econ_jax import cli, devices, workdir
from ai_econ_jax.agents.stepmix import figures, report, shortcuts
from ai_econ_jax.agents.stepmix.config import StepMixConfig
from ai_econ_jax.agents.stepmix.experiment import compare
from ai_econ_jax.agents.stepmix.presets import PRESETS
from ai_econ_jax.agents.stepmix.setting import make_setting

_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; the same one resumes.")
shortcuts.define()
flags.adopt_module_key_flags(shortcuts)  # so that --help lists them


def main(config: StepMixConfig) -> None:
    """Compares algorithms; the last line printed is ``key=value`` pairs for scripts."""
    started = time.perf_counter()
    if shortcuts.wants_list():
        print(report.algorithms())
        return
    devices.enable_compilation_cache()
    config = shortcuts.apply(config)
    setting = make_setting(config)
    print(report.opening(setting, config), flush=True)
    with workdir.open_if_named(_WORKDIR.value, config, problem=setting.fingerprint) as place:
        comparison = compare(config, setting, place)
        print(report.table(comparison))
        if place is not None:
            report.write_summaries(comparison, place)
            figures.write_figures(comparison, place)
    cli.print_headline(report.headline(comparison), time.perf_counter() - started, place)


if __name__ == "__main__":
    cli.run_app(main, PRESETS)
