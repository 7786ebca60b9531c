"""FIND: teach the initial noise of a frozen diffusion model what to draw. ``ai-econ find --help``.

Runs one method, FIND or one that it is compared with, on one prompt; draws fresh images before and
after, and puts reward, an independent judge's word, distance to real images, diversity and drift
side by side. ``--method=list`` prints the methods.
"""

import time

from absl import flags

from ai_econ_jax import cli, devices, workdir
from ai_econ_jax.agents.find import figures, report, shortcuts
from ai_econ_jax.agents.find.experiment import run
from ai_econ_jax.agents.find.experiment_config import PRESETS, ExperimentConfig
from ai_econ_jax.agents.find.setting import make_setting

_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; the same one resumes.")
shortcuts.define()
flags.adopt_module_key_flags(shortcuts)  # so that --help lists them


def main(config: ExperimentConfig) -> None:
    """Runs one method; the last line printed is ``key=value`` pairs for scripts."""
    started = time.perf_counter()
    if shortcuts.wants_list():
        print(report.methods())
        return
    devices.enable_compilation_cache()
    config = shortcuts.apply(config)
    setting = make_setting(config)
    print(report.opening(config, setting), flush=True)
    digest = report.weights_digest(setting.weights)
    with workdir.open_if_named(_WORKDIR.value, config, weights=digest) as place:
        outcome = run(config, setting, place)
        print(report.table(config, outcome))
        if place is not None:
            report.write_files(config, setting, outcome, place)
            figures.write_figures(config, setting, outcome, place)
    headline = report.headline(config, outcome)
    cli.print_headline(headline, time.perf_counter() - started, place)


if __name__ == "__main__":
    cli.run_app(main, PRESETS)
