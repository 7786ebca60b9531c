"""Problems in files: `.npz`, or `.json` with the same keys as lists. Spec section 3.

Keys: `P`, `R`; where wanted `mu`, `H`, `baseline`, `r_min`, `r_max`, `name` (see `make_problem` for
shapes and units), and `normalized`, true where `R` already lies in [0, 1] and `r_min`, `r_max` only
say how values map back. Pickled objects are never loaded.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from ai_econ_jax import npz
from ai_econ_jax.envs.tabular.mdp import Problem
from ai_econ_jax.envs.tabular.problem import ProblemError, make_problem

KEYS = ("P", "R", "mu", "H", "baseline", "r_min", "r_max", "name", "normalized")


def load_problem(
    path: str | pathlib.Path, *, horizon: int | None = None, rescale: bool = False
) -> Problem:
    """A problem from a file, checked.

    Args:
      path: `.npz` or `.json`.
      horizon: H where the file has none; must agree where it has one.
      rescale: As in `make_problem`.

    Raises:
      FileNotFoundError: No such file.
      ProblemError: It is not such a file, or its arrays do not fit; one line that begins with the
        path.
    """
    path = pathlib.Path(path)
    entries = read_arrays(path, KEYS)
    try:
        return _build(path, entries, horizon, rescale)
    except ProblemError as error:
        raise ProblemError(f"{path}: {error}") from error


def save_problem(path: str | pathlib.Path, problem: Problem) -> None:
    """Writes what `load_problem` reads back bit by bit (in the same or a higher precision).

    Raises:
      ProblemError: The path ends neither in `.npz` nor in `.json`.
    """
    mdp = problem.mdp
    entries: dict[str, Any] = {
        "P": np.asarray(mdp.transition[0] if problem.stationary else mdp.transition),
        "R": np.asarray(mdp.reward),
        "mu": np.asarray(mdp.initial),
        "H": mdp.horizon,
        "r_min": problem.reward_min,
        "r_max": problem.reward_max,
        "name": problem.name,
        "normalized": True,
    }
    if problem.baseline is not None:
        entries["baseline"] = np.asarray(problem.baseline)
    write_arrays(pathlib.Path(path), entries)


def _build(
    path: pathlib.Path, entries: dict[str, Any], horizon: int | None, rescale: bool
) -> Problem:
    for key in ("P", "R"):
        if key not in entries:
            raise ProblemError(f"{key} is missing; the file has {', '.join(entries) or 'nothing'}")
    steps = _scalar(entries, "H", horizon)
    if horizon is not None and steps != horizon:
        raise ProblemError(f"H is {steps:g} by the file, {horizon} was asked for: must agree")
    low, high = _scalar(entries, "r_min", None), _scalar(entries, "r_max", None)
    normalized = bool(entries.get("normalized", False))
    if rescale and (normalized or low is not None or high is not None):
        raise ProblemError("r_min, r_max and normalized rewards leave nothing for --rescale to do")
    problem = make_problem(
        str(entries.get("name", path.stem)),
        entries["P"],
        entries["R"],
        entries.get("mu"),
        horizon=steps,
        baseline=entries.get("baseline"),
        reward_min=None if normalized else low,
        reward_max=None if normalized else high,
        rescale=rescale,
    )
    if not normalized:
        return problem
    low, high = low or 0.0, 1.0 if high is None else high
    if not -np.inf < low < high < np.inf:
        raise ProblemError(f"r_min is {low:g} and r_max is {high:g}: must be finite, r_min < r_max")
    return dataclasses.replace(problem, reward_min=low, reward_max=high)


def _scalar(entries: dict[str, Any], key: str, default: Any) -> Any:
    if key not in entries:
        return default
    array = np.asarray(entries[key])
    if array.shape != () or array.dtype.kind not in "iuf":
        raise ProblemError(f"{key} is {entries[key]!r}: must be a number")
    return array.item()


def read_arrays(path: pathlib.Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """The entries of a `.npz` file (arrays) or a `.json` file (lists, numbers, strings).

    Raises:
      FileNotFoundError: No such file.
      ProblemError: Not such a file, an unknown key, or a pickled object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".npz":
        entries = _read_npz(path)
    elif path.suffix == ".json":
        entries = _read_json(path)
    else:
        raise ProblemError(f"{path}: must end in .npz or .json")
    for key in entries:
        if key not in keys:
            raise ProblemError(f"{path}: key {key!r} is unknown; valid: {', '.join(keys)}")
    return entries


def write_arrays(path: pathlib.Path, entries: dict[str, Any]) -> None:
    """Writes what `read_arrays` reads; numbers come back bit by bit.

    Raises:
      ProblemError: The path ends neither in `.npz` nor in `.json`.
    """
    if path.suffix == ".npz":
        npz.write(path, entries)
    elif path.suffix == ".json":
        lists = {key: np.asarray(entry).tolist() for key, entry in entries.items()}
        path.write_text(json.dumps(lists, allow_nan=False) + "\n")
    else:
        raise ProblemError(f"{path}: must end in .npz or .json")


def _read_npz(path: pathlib.Path) -> dict[str, Any]:
    try:
        return dict(npz.read(path))
    except npz.NpzError as error:
        raise ProblemError(f"{path}: {error}") from None


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise ProblemError(f"{path}: is not JSON: {error}") from error
    if not isinstance(entries, dict):
        raise ProblemError(f"{path}: holds a {type(entries).__name__}, must be an object of lists")
    return entries
