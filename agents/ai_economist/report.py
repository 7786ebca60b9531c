"""What a comparison says in words and numbers: tables, CSV files, the flat summary.

Axes: S seeds, W welfare functions, B brackets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ai_econ_jax.agents.ai_economist.compare import Comparison
from ai_econ_jax.agents.ai_economist.experiment import WELFARE_NAMES
from ai_econ_jax.agents.ai_economist.tables import (
    WELFARE_TITLES,
    interval_cells,
    number,
    share,
)
from ai_econ_jax.statistics import mean_interval
from ai_econ_jax.tables import csv_text, markdown
from ai_econ_jax.workdir import Workdir, write_bytes

OPTIMUM = "optimum"
# Tax models of which there is one for each welfare function.
MADE_FOR_WELFARE = ("flat", "planner", OPTIMUM)

TAX_MODEL_TITLES = {
    "free_market": "free market",
    "us_federal": "US federal",
    "flat": "best flat tax",
    "saez": "Saez formula",
    "planner": "learned planner",
    "fixed": "given rates",
    OPTIMUM: "exact optimum",
}
_HEADER = ("tax model", *(WELFARE_TITLES[name] for name in WELFARE_NAMES))
_NONE = "–"


def report(comparison: Comparison, workers: str) -> str:
    """Both tables and how to read them, as Markdown that is readable on a terminal too.

    Args:
      comparison: What to report.
      workers: ``learned`` or ``exact``, the kind of workers that met the tax models.
    """
    return "\n".join(
        [
            f"Welfare{_over_seeds(comparison, ', mean ± 95% half-width')}",
            "",
            *welfare_table(comparison),
            "",
            "Share of the possible gain over the free market"
            + _over_seeds(comparison, ", median (minimum)"),
            "",
            *gain_table(comparison),
            "",
            *_notes(comparison, workers),
        ]
    )


def welfare_table(comparison: Comparison) -> list[str]:
    """Lines of the table of welfare; the best row below the optimum is bold in each column."""
    cells = {
        name: interval_cells(mean_interval(model.welfare))
        for name, model in comparison.models.items()
    }
    best = np.argmax([model.welfare.mean(0) for model in comparison.models.values()], axis=0)
    for column, row in enumerate(best):
        cell = list(cells.values())[row]
        cell[column] = f"**{cell[column]}**"
    cells[OPTIMUM] = [number(comparison.optimum.welfare[w]) for w in WELFARE_NAMES]
    return markdown(_HEADER, {TAX_MODEL_TITLES[name]: row for name, row in cells.items()})


def gain_table(comparison: Comparison) -> list[str]:
    """Lines of the table of normalised gains, with the span that they are shares of."""
    rows = {}
    gains = {TAX_MODEL_TITLES[name]: comparison.gain(name) for name in comparison.models}
    if "planner" in comparison.models:
        title = f"{TAX_MODEL_TITLES['planner']}, exact workers"
        gains[title] = comparison.gain("planner", exact_workers=True)
    for title, gain in gains.items():
        single = gain.shape[0] == 1
        rows[title] = [
            _NONE if np.isnan(median) else share(median) + ("" if single else f" ({share(low)})")
            for median, low in zip(np.median(gain, axis=0), gain.min(0), strict=True)
        ]
    rows["optimum − free"] = [number(_span(comparison, w)) for w in WELFARE_NAMES]
    return markdown(_HEADER, rows)


def summary(comparison: Comparison) -> dict[str, float]:
    """The flat dictionary for ``summary.json``; NaN where a figure is undefined."""
    figures: dict[str, float] = {}
    for w, goal in enumerate(WELFARE_NAMES):
        for name, model in comparison.models.items():
            mean, half_width = mean_interval(model.welfare[:, w])
            gain = comparison.gain(name)[:, w]
            exact_gain = comparison.gain(name, exact_workers=True)[:, w]
            figures |= {
                f"welfare/{goal}/{name}/mean": float(mean),
                f"welfare/{goal}/{name}/ci95": float(half_width),
                f"exact_welfare/{goal}/{name}/mean": float(model.exact_welfare[:, w].mean()),
                f"gain/{goal}/{name}": float(np.median(gain)),
                f"gain_min/{goal}/{name}": float(gain.min()),
                f"exact_gain/{goal}/{name}": float(np.median(exact_gain)),
                f"exact_gain_min/{goal}/{name}": float(exact_gain.min()),
            }
        best = comparison.optimum.welfare[goal]
        of_optimum = 1.0 if _has_gain(comparison, w) else np.nan
        figures |= {
            f"welfare/{goal}/{OPTIMUM}/mean": best,
            f"welfare/{goal}/{OPTIMUM}/ci95": 0.0,
            f"exact_welfare/{goal}/{OPTIMUM}/mean": best,
            f"gain/{goal}/{OPTIMUM}": of_optimum,
            f"gain_min/{goal}/{OPTIMUM}": of_optimum,
            f"optimum/{goal}": best,
        }
    return figures


def headline(comparison: Comparison) -> dict[str, float]:
    """The few figures of the last printed line."""
    name = "planner" if "planner" in comparison.models else "flat"
    figures = summary(comparison)
    goals = ("inverse_income_utility", "equality_times_productivity")
    keys = [f"{kind}/{goal}/{name}" for goal in goals for kind in ("gain", "gain_min")]
    return {key: figures[key] for key in keys}


def write_tables(comparison: Comparison, workdir: Workdir, workers: str) -> None:
    """Writes ``table.md``, ``table.csv`` and ``schedules.csv``."""
    if not workdir.writes:
        return
    for name, text in (
        ("table.md", report(comparison, workers) + "\n"),
        ("table.csv", csv_text(_welfare_rows(comparison))),
        ("schedules.csv", csv_text(_schedule_rows(comparison))),
    ):
        write_bytes(workdir.path / name, text.encode())


def _notes(comparison: Comparison, workers: str) -> list[str]:
    economy = comparison.economy
    own = [TAX_MODEL_TITLES[n] for n in MADE_FOR_WELFARE if n in comparison.models]
    notes = [
        f"Economy: {economy.num_workers} workers, {economy.num_brackets} brackets, "
        f"Gini mode '{economy.gini_mode}'.",
        f"Made for each column's own function: {', '.join([*own, TAX_MODEL_TITLES[OPTIMUM]])}.",
        "Saez formula: the mean schedule of the iterated official formula.",
    ]
    if workers == "exact":
        notes.append("Workers respond exactly; nothing about them is learned.")
    else:
        notes += [
            "Workers are learned, in every row but the exact optimum, whose workers respond "
            "exactly.",
            "So a gain can exceed 1: learned workers may work more than their best response, which "
            "costs them utility, but not the others.",
        ]
    notes.append(
        "Bold: best row below the optimum. Gain: (W − W_free) / (W_optimum − W_free), both ends "
        f"exact; {_NONE} where the free market is the optimum. Where optimum − free is small, "
        "small differences are large gains."
    )
    return [f"- {note}" for note in notes]


def _welfare_rows(comparison: Comparison) -> Iterator[Mapping[str, Any]]:
    figures = summary(comparison)
    for name in (*comparison.models, OPTIMUM):
        for goal in WELFARE_NAMES:
            yield {
                "tax_model": name,
                "welfare_function": goal,
                "mean": figures[f"welfare/{goal}/{name}/mean"],
                "ci95": figures[f"welfare/{goal}/{name}/ci95"],
                "gain_median": figures[f"gain/{goal}/{name}"],
                "gain_min": figures[f"gain_min/{goal}/{name}"],
                "exact_welfare_mean": figures[f"exact_welfare/{goal}/{name}/mean"],
            }


def _schedule_rows(comparison: Comparison) -> Iterator[Mapping[str, Any]]:
    """One row per bracket; ``made_for`` and ``seed`` are empty where all share the schedule."""
    for name, made_for, seed, rates in _schedules(comparison):
        cutoffs = np.asarray(comparison.economy.cutoffs, np.float64)
        for bracket, rate in enumerate(rates):
            yield {
                "tax_model": name,
                "made_for": made_for,
                "seed": seed,
                "bracket": bracket,
                "from_coin": f"{cutoffs[bracket]:g}",
                "to_coin": f"{cutoffs[bracket + 1]:g}" if bracket + 1 < len(cutoffs) else "inf",
                "rate": f"{rate:.6g}",
            }


def _schedules(comparison: Comparison) -> Iterator[tuple[str, str, int | str, np.ndarray]]:
    for name, model in comparison.models.items():
        for w, goal in enumerate(WELFARE_NAMES if name in MADE_FOR_WELFARE else ("",)):
            seeds = enumerate(model.rates[:, w]) if name == "planner" else [("", model.rates[0, w])]
            for seed, rates in seeds:
                yield name, goal, seed, rates
    for goal in WELFARE_NAMES:
        yield OPTIMUM, goal, "", comparison.optimum.rates[goal]


def _span(comparison: Comparison, goal: str) -> float:
    return comparison.optimum.welfare[goal] - comparison.exact_free_market[goal]


def _has_gain(comparison: Comparison, w: int) -> bool:
    """Whether there is anything to gain over the free market under welfare function ``w``."""
    return bool(np.isfinite(comparison.gain("free_market")[:, w]).all())


def _over_seeds(comparison: Comparison, statistic: str) -> str:
    """The end of a caption; one seed has no statistics."""
    num_seeds = comparison.models["free_market"].welfare.shape[0]
    return f"{statistic} over {num_seeds} seeds" if num_seeds > 1 else ""
