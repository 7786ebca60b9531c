"""The AI Economist: workers earn, a planner learns the taxes. ``ai-econ ai_economist --help``.

Scenarios: ``one_step``, an economy with exact answers; ``gather_trade_build``, the published world.
Modes: ``train`` one two-level training; ``compare`` all tax models on the same seeds, with tables
and figures; ``optimum`` the exact side of ``one_step`` alone, no learning; ``eval`` a trained run
under any taxes. With gather_trade_build, mode train and ``--restore`` start from another run's
phase 1.
"""

import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from ai_econ_jax import cli, devices, workdir
from ai_econ_jax.agents.ai_economist import modes, presets, shortcuts
from ai_econ_jax.agents.ai_economist.gather_trade_build import modes as gtb_modes
from ai_econ_jax.agents.ai_economist.gather_trade_build import presets as gtb_presets

PRESETS: Mapping[str, Any] = presets.PRESETS
_PLANS: dict[str, Callable] = {"one_step": modes.plan, "gather_trade_build": gtb_modes.plan}
_PRESETS: dict[str, Mapping[str, Any]] = {
    "one_step": PRESETS,
    "gather_trade_build": gtb_presets.PRESETS,
}


def _define_scenario(flag_values: flags.FlagValues) -> flags.FlagHolder:
    names = list(_PRESETS)
    return flags.DEFINE_enum("scenario", names[0], names, "The economy's kind.", flag_values)


_SCENARIO = _define_scenario(flags.FLAGS)
_MODE = flags.DEFINE_enum(
    "mode", "compare", ["train", "compare", "optimum", "eval"], "What to do; see above."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; the same one resumes.")
_RESTORE = flags.DEFINE_string("restore", None, "Work directory of an earlier run; see above.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, or auto.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Of a distributed run.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which process this is, from 0.")
shortcuts.define()
flags.adopt_module_key_flags(shortcuts)  # so that --help lists them


def presets_of(argv: Sequence[str]) -> Mapping[str, Any]:
    """The presets of the scenario that a command line names: they decide which flags there are."""
    first = flags.FlagValues()  # blind to all other flags
    scenario = _define_scenario(first)
    first(list(argv), known_only=True)
    return _PRESETS[scenario.value]


def main(config: Any) -> None:
    """Runs one mode; the last line printed is ``key=value`` pairs for scripts."""
    started = time.perf_counter()
    devices.enable_compilation_cache()
    devices.initialize_distributed(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    mode, scenario, arguments = _MODE.value, _SCENARIO.value, {"mode": _MODE.value}
    if _WORKDIR.value is None and mode in ("train", "compare"):
        raise ValueError(f"--workdir is required by --mode={mode}")
    restored = None
    if _RESTORE.value is not None:
        restored = pathlib.Path(_RESTORE.value).expanduser().absolute()
        arguments["restore"] = str(restored)
    if scenario != "one_step":
        arguments["scenario"] = scenario
    config, run = _PLANS[scenario](config, mode, restored)
    with workdir.open_if_named(_WORKDIR.value, config, **arguments) as place:
        headline = run(config, place)
    cli.print_headline({**headline, "mode": mode}, time.perf_counter() - started, place)


if __name__ == "__main__":
    cli.run_app(main, presets_of(sys.argv))
