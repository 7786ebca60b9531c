"""Skills of workers: expected order statistics of the published distribution, or the user's own.

A skill is what one hour of work produces, in coin. Host code: it runs once, before any compilation.
"""

import csv
import math
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

PARETO_SHAPE = 4.0
MAX_SKILL = 3.0

_CSV_HEADERS = ("skill", "skills")


def expected_order_statistics(
    num_workers: int, shape: float = PARETO_SHAPE, max_skill: float = MAX_SKILL
) -> np.ndarray:
    """Exact ascending expected order statistics of ``min(M, 1 + (M-1) * Lomax(shape))``.

    With ``t = 1 - u`` the quantile is ``1 + (M-1) (t^(-1/shape) - 1)`` down to ``t = 2^-shape``,
    and M below. Rank k of N has ``t ~ Beta(N-k+1, k)``, so each expectation is a sum of three
    regularised incomplete beta functions. The official code averages 1,000 draws instead (and
    always uses shape 4). The mean over ranks is the mean of the distribution, 19/12 by default.

    Args:
      num_workers: N, at least 2.
      shape: Tail exponent of the Lomax ("numpy Pareto") distribution; greater than 1.
      max_skill: M, where skills are cut; greater than 1.

    Returns:
      f64[N], coin per hour.

    Raises:
      ValueError: An argument outside the range above.
    """
    if num_workers < 2:
        raise ValueError(f"num_workers is {num_workers}, must be at least 2")
    if not shape > 1:
        raise ValueError(f"shape is {shape}, must be greater than 1")
    if not max_skill > 1:
        raise ValueError(f"max_skill is {max_skill}, must be greater than 1")
    rank = np.arange(1, num_workers + 1)
    from_top = num_workers - rank + 1
    scale = max_skill - 1.0
    # P(t > 2^-shape), the chance that a rank stays below the cut, and E[t^(-1/shape)] on it.
    cut = 1.0 - 2.0**-shape
    below_cut = special.betainc(rank, from_top, cut)
    ratio = np.exp(special.betaln(rank, from_top - 1 / shape) - special.betaln(rank, from_top))
    tail_moment = ratio * special.betainc(rank, from_top - 1 / shape, cut)
    return scale * tail_moment + (1.0 - scale) * below_cut + max_skill * (1.0 - below_cut)


def parse_skills(text: str) -> np.ndarray:
    """Skills from a command-line value: ``"1.1,1.3"``, or the path of a one-column CSV file.

    A value that ends in ``.csv`` or names an existing file is read as a file.

    Returns:
      f64[N], in the order given.

    Raises:
      FileNotFoundError: The value looks like a CSV path and no such file exists.
      ValueError: As ``validate_skills``, or an entry that is not a number.
    """
    if text.lower().endswith(".csv") or os.path.isfile(text):
        return read_skills_csv(text)
    entries = [(f"entry {i}", entry) for i, entry in enumerate(text.split(","), start=1)]
    return _to_skills("--skills", entries)


def read_skills_csv(path: str) -> np.ndarray:
    """Skills from a one-column CSV file, which may have blank lines and a header ``skill(s)``.

    Returns:
      f64[N], in the order of the file.

    Raises:
      FileNotFoundError: No such file.
      ValueError: A row with several columns, an entry that is no positive finite number, or fewer
        than two skills. The message names file, row and value.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"skills file {path} does not exist")
    entries: list[tuple[str, str]] = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        for row_number, row in enumerate(csv.reader(file), start=1):
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if len(cells) != 1:
                raise ValueError(f"{path}, row {row_number}: {len(cells)} columns, must be 1")
            if not entries and cells[0].lower() in _CSV_HEADERS:
                continue
            entries.append((f"row {row_number}", cells[0]))
    return _to_skills(path, entries)


def validate_skills(skills: npt.ArrayLike) -> np.ndarray:
    """Checks a vector of skills on the host and returns it as f64[N].

    Raises:
      ValueError: Fewer than two skills, or one that is NaN, infinite, zero or negative.
    """
    values = np.asarray(skills, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"skills has shape {values.shape}, must be a vector")
    return _to_skills("skills", [(f"entry {i}", str(v)) for i, v in enumerate(values, start=1)])


def _to_skills(source: str, entries: Sequence[tuple[str, str]]) -> np.ndarray:
    """Numbers from ``(place, text)`` entries, with errors that name source, place and text."""
    if len(entries) < 2:
        raise ValueError(f"{source}: {len(entries)} skills, must be at least 2")
    skills = []
    for place, text in entries:
        try:
            skill = float(text)
        except ValueError:
            raise ValueError(f"{source}, {place}: {text!r} is not a number") from None
        if not (math.isfinite(skill) and skill > 0):
            raise ValueError(f"{source}, {place}: {text} is not a positive finite number")
        skills.append(skill)
    return np.array(skills)
