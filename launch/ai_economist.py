"""The AI Economist: workers earn, a planner learns the taxes. ``ai-econ ai_economist --help``.

Modes: ``train`` one two-level training; ``compare`` all tax models on the same seeds, with tables
and figures; ``optimum`` the exact side alone, no learning; ``eval`` a trained run under any taxes.
"""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable

from absl import flags

from ai_econ_jax import cli, devices, workdir
from ai_econ_jax.agents.ai_economist import modes, shortcuts, training
from ai_econ_jax.agents.ai_economist.experiment import ExperimentConfig
from ai_econ_jax.agents.ai_economist.presets import PRESETS

_SCENARIO = flags.DEFINE_enum("scenario", "one_step", ["one_step"], "The economy's kind.")
_MODE = flags.DEFINE_enum(
    "mode", "compare", ["train", "compare", "optimum", "eval"], "What to do; see above."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; the same one resumes.")
_RESTORE = flags.DEFINE_string("restore", None, "With mode eval: work directory of a train run.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, or auto.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Of a distributed run.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which process this is, from 0.")
shortcuts.define()
flags.adopt_module_key_flags(shortcuts)  # so that --help lists them


def main(config: ExperimentConfig) -> None:
    """Runs one mode; the last line printed is ``key=value`` pairs for scripts."""
    started = time.perf_counter()
    devices.enable_compilation_cache()
    devices.initialize_distributed(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    mode, restored = _MODE.value, _RESTORE.value
    if (mode == "eval") != (restored is not None):
        raise ValueError("--restore is required by --mode=eval and read by no other mode")
    if _WORKDIR.value is None and mode in ("train", "compare"):
        raise ValueError(f"--workdir is required by --mode={mode}")

    arguments = {"mode": mode}
    run: dict[str, Callable] = {
        "train": modes.run_train,
        "compare": modes.run_compare,
        "optimum": modes.run_optimum,
    }
    if restored is not None:
        directory = pathlib.Path(restored).expanduser().absolute()
        trained_config, config = shortcuts.apply_to_restored(
            training.read_config(directory), config
        )
        arguments["restore"] = str(directory)
        run["eval"] = functools.partial(
            modes.run_eval, trained_config=trained_config, restored=directory
        )
    else:
        config = shortcuts.apply(config)
    modes.check(config, mode)
    with contextlib.ExitStack() as stack:
        place = None
        if _WORKDIR.value is not None:
            place = stack.enter_context(workdir.open_workdir(_WORKDIR.value, config, **arguments))
        headline = run[mode](config, place)
    headline |= {"mode": mode, "seconds": time.perf_counter() - started}
    if place is not None:
        headline["workdir"] = place.path
    print(" ".join(f"{key}={_plain(value)}" for key, value in headline.items()))


def _plain(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    cli.run_app(main, PRESETS)
