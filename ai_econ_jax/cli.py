"""The command ``ai-econ <system> [--flags]``, and what every launcher's own entry shares with it.

``ai-econ X`` runs the module ``ai_econ_jax.launch.X`` as ``python -m`` would. Such a module has a
``main(config)`` and a dictionary of presets, and ends in ``run_app(main, PRESETS)``. JAX is not
imported here, so that lists and error messages come at once.
"""

import difflib
import os
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from absl import app, flags

from ai_econ_jax import config as config_lib

SYSTEMS = {
    "ai_economist": "workers earn and trade in a small world, a planner learns the taxes",
    "stepmix": "safe exploration: never worse than a baseline, in any episode",
    "find": "the initial noise of a frozen diffusion model learns what to draw",
    "find_compare": "find beside best of N, CEM, ReNO, DDPO and DPOK, at equal cost",
    "train_diffusion": "trains the small diffusion models that find leaves frozen",
    "replay": "a recorded episode as a page that plays it, and as figures",
}

_EXIT_ERROR = 2
_EXIT_INTERRUPTED = 130


# What a user can cause and mend. `loop.NonFiniteError` is a FloatingPointError.
_EXPECTED = (flags.Error, ValueError, OSError, FloatingPointError)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry of the console script: lists the systems or runs one; leaves through ``sys.exit``."""
    arguments = list(sys.argv if argv is None else argv)[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_listing())
        sys.exit(0)
    system = arguments[0]
    if system not in SYSTEMS:
        close = difflib.get_close_matches(system, SYSTEMS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        _fail(f"unknown system {system!r}.{hint} Systems: {', '.join(SYSTEMS)}")
    sys.argv = [system, *arguments[1:]]
    runpy.run_module(f"ai_econ_jax.launch.{system}", run_name="__main__", alter_sys=True)


def run_app(
    main: Callable[[Any], None], presets: Mapping[str, Any], argv: Sequence[str] | None = None
) -> NoReturn:
    """Entry of a launcher: parses the command line, calls ``main(config)``, leaves with a code.

    What a user can mend, such as a bad flag, config, file or a run that diverged, is one line on
    stderr and exit code 2; ``AI_ECON_TRACEBACK=1`` shows where it came from. Any other exception is
    a bug and keeps its traceback.

    Args:
        main: Called with the validated config; it reads other flags, such as ``--workdir``, itself.
        presets: Name to config; the first is the default.
        argv: The command line, program name first; the process's own if None.
    """
    app.define_help_flags()
    try:
        main(_parse(presets, sys.argv if argv is None else argv))
    except _EXPECTED as error:
        if os.environ.get("AI_ECON_TRACEBACK"):
            raise
        _fail(" ".join(str(error).split()) or type(error).__name__)
    except KeyboardInterrupt:
        print("ai-econ: interrupted", file=sys.stderr)
        sys.exit(_EXIT_INTERRUPTED)
    sys.exit(0)


def print_headline(figures: Mapping[str, Any], seconds: float, workdir: Any = None) -> None:
    """Prints the last line of a command: ``key=value`` pairs for scripts.

    Args:
        figures: Name to number or string; None is left out.
        seconds: Since the command began.
        workdir: An opened `workdir.Workdir`, whose path ends the line, or None.
    """
    told = {name: value for name, value in figures.items() if value is not None}
    told["seconds"] = f"{seconds:.1f}"
    if workdir is not None:
        told["workdir"] = workdir.path
    print(" ".join(f"{name}={_short(value)}" for name, value in told.items()))


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _parse(presets: Mapping[str, Any], argv: Sequence[str]) -> Any:
    try:
        return config_lib.parse_flags(presets, argv)
    except SystemExit:
        sys.exit(0)  # absl has shown the help that was asked for, and would leave with code 1


def _listing() -> str:
    width = max(map(len, SYSTEMS))
    lines = [f"  {name:{width}}  {about}" for name, about in SYSTEMS.items()]
    return "\n".join(["usage: ai-econ <system> [--flags]; --help after a system", "", *lines])


def _fail(message: str) -> NoReturn:
    print(f"ai-econ: error: {message}", file=sys.stderr)
    sys.exit(_EXIT_ERROR)
