"""What a comparison says in words and numbers: tables, CSV, the flat summary, replays.

Axes: S seeds, E episodes, N workers by ascending skill.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ai_econ_jax.agents.ai_economist.gather_trade_build.compare import Comparison, LaneResult
from ai_econ_jax.agents.ai_economist.gather_trade_build.evaluation import (
    mean_utility,
    most_skilled_builds_most,
)
from ai_econ_jax.agents.ai_economist.gather_trade_build.experiment import WELFARE_NAMES
from ai_econ_jax.agents.ai_economist.tables import (
    WELFARE_TITLES,
    interval_cells,
)
from ai_econ_jax.envs.gather_trade_build import episode_log, replay
from ai_econ_jax.statistics import mean_interval
from ai_econ_jax.tables import csv_text, markdown
from ai_econ_jax.workdir import Workdir, write_bytes

TITLES = {
    "free_market": "free market",
    "us_federal": "US federal",
    "flat": "best flat tax",
    "saez": "Saez, estimated",
    "saez_tuned": "Saez, tuned",
    "full_redistribution": "full redistribution",
    "random_planner": "random planner",
    "searched": "searched schedule",
    "planner": "learned planner",
    "fixed": "given rates",
}
_OUTCOMES = ("coin in all", "equality", "houses", "sold", "tax")


def report(comparison: Comparison) -> str:
    """Both tables and how to read them, Markdown that is readable on a terminal too."""
    seeds = comparison.config.num_seeds
    over = f", mean ± 95% half-width over {seeds} seeds" if seeds > 1 else ", one seed"
    return "\n".join(
        [
            f"Welfare{over}",
            "",
            *welfare_table(comparison),
            "",
            f"What happens{over}",
            "",
            *outcome_table(comparison),
            "",
            *_notes(comparison),
        ]
    )


def welfare_table(comparison: Comparison) -> list[str]:
    """Lines of the table of welfare; the best row is bold in each column."""
    values = {name: comparison.welfare(name) for name in comparison.lanes_of}
    cells = {name: interval_cells(mean_interval(value)) for name, value in values.items()}
    best = np.argmax([value.mean(0) for value in values.values()], axis=0)
    for column, row in enumerate(best):
        line = list(cells.values())[row]
        line[column] = f"**{line[column]}**"
    header = ["tax model", *(WELFARE_TITLES[name] for name in WELFARE_NAMES)]
    return markdown(header, {TITLES[name]: row for name, row in cells.items()})


def outcome_table(comparison: Comparison) -> list[str]:
    """Lines of the table of what workers do, for the planner's goal."""
    rows = {}
    for name in comparison.lanes_of:
        measured = outcomes(comparison.result(name))
        stacked = np.stack([measured[what] for what in _OUTCOMES], axis=1)
        rows[TITLES[name]] = interval_cells(mean_interval(stacked))
    return markdown(["tax model", *_OUTCOMES], rows)


def outcomes(result: LaneResult) -> dict[str, np.ndarray]:
    """Means over episodes, f64[S]: coin of all workers, equality, houses, units sold, taxes."""
    episodes = result.episodes

    def total(per_worker: Any) -> np.ndarray:
        summed = np.asarray(per_worker, np.float64).sum(tuple(range(2, np.ndim(per_worker))))
        return summed.mean(-1)

    return {
        "coin in all": total(episodes.coin),
        "equality": result.equality,
        "houses": total(episodes.houses),
        "sold": total(episodes.sold),
        "tax": total(episodes.tax_paid),
    }


def summary(comparison: Comparison) -> dict[str, Any]:
    """The flat dictionary for ``summary.json``; NaN where a figure is undefined."""
    figures: dict[str, Any] = {}
    for name in comparison.lanes_of:
        for w, goal in enumerate(WELFARE_NAMES):
            mean, half_width = mean_interval(comparison.welfare(name)[:, w])
            figures[f"welfare/{goal}/{name}/mean"] = float(mean)
            figures[f"welfare/{goal}/{name}/ci95"] = float(half_width)
        result = comparison.result(name)
        for what, values in outcomes(result).items():
            mean, half_width = mean_interval(values)
            figures[f"{what.replace(' ', '_')}/{name}/mean"] = float(mean)
            figures[f"{what.replace(' ', '_')}/{name}/ci95"] = float(half_width)
        if len(comparison.lanes_of[name]) > 1:
            figures[f"chosen/{name}"] = comparison.chosen(name, comparison.config.welfare)
    for lane, result in comparison.lanes.items():
        figures[f"lane/{lane}/equality"] = result.equality
        figures[f"lane/{lane}/productivity"] = result.welfare[
            :, WELFARE_NAMES.index("productivity")
        ]
        figures[f"lane/{lane}/utility"] = mean_utility(result.episodes)
        figures[f"lane/{lane}/most_skilled_builds_most"] = most_skilled_builds_most(result.episodes)
    if comparison.phase1 is not None:
        figures |= phase1_summary(comparison.phase1)
    return figures


def phase1_summary(result: LaneResult) -> dict[str, Any]:
    """What workers learned before any tax, by seed."""
    return {
        "phase1/utility": mean_utility(result.episodes),
        "phase1/most_skilled_builds_most": most_skilled_builds_most(result.episodes),
        "phase1/productivity": result.welfare[:, WELFARE_NAMES.index("productivity")],
        "phase1/equality": result.equality,
    }


def headline(comparison: Comparison) -> dict[str, float]:
    """The figures of the last line."""
    goal = comparison.config.welfare
    column = WELFARE_NAMES.index(goal)
    return {
        f"{goal}/{name}": float(comparison.welfare(name)[:, column].mean())
        for name in comparison.lanes_of
    }


def write_tables(comparison: Comparison, workdir: Workdir) -> None:
    """Writes ``table.md``, ``table.csv``, ``workers.csv`` and ``schedules.csv``."""
    if not workdir.writes:
        return
    write_bytes(workdir.path / "table.md", f"{report(comparison)}\n".encode())
    for name, rows in {
        "table": _table_rows(comparison),
        "workers": _worker_rows(comparison),
        "schedules": _schedule_rows(comparison),
    }.items():
        write_bytes(workdir.path / f"{name}.csv", csv_text(rows).encode())


def write_replays(comparison: Comparison, workdir: Workdir) -> None:
    """Writes one episode of each tax model: a page that plays it, and the log."""
    if not workdir.writes:
        return
    directory = workdir.path / "replays"
    directory.mkdir(exist_ok=True)
    for name in comparison.lanes_of:
        write_replay(comparison.result(name).log, directory / name, TITLES[name])


def write_replay(log: episode_log.EpisodeLog, path: Any, title: str) -> None:
    """Writes ``path.html`` and ``path.npz``."""
    page = replay.render(log, f"Gather-trade-build: {title}")
    write_bytes(path.with_suffix(".html"), page.encode())
    episode_log.save(log, path.with_suffix(".npz"))


def _table_rows(comparison: Comparison) -> Iterator[Mapping[str, Any]]:
    for name in comparison.lanes_of:
        for w, goal in enumerate(WELFARE_NAMES):
            values = comparison.welfare(name)[:, w]
            mean, half_width = mean_interval(values)
            yield {
                "tax_model": name,
                "welfare_function": goal,
                "lane": comparison.chosen(name, goal),
                "mean": float(mean),
                "ci95": float(half_width),
                **{f"seed_{seed}": float(value) for seed, value in enumerate(values)},
            }


def _worker_rows(comparison: Comparison) -> Iterator[Mapping[str, Any]]:
    """One row per lane, seed and worker, means over episodes."""
    for name, result in comparison.lanes.items():
        episodes = result.episodes
        per_worker = {
            "coin_per_house": episodes.payment,
            "coin": episodes.coin,
            "income": episodes.income,
            "tax_paid": episodes.tax_paid,
            "labor": episodes.labor,
            "utility": episodes.utility,
            "houses": episodes.houses,
            "stone_sold": episodes.sold[..., 0],
            "wood_sold": episodes.sold[..., 1],
            "stone_bought": episodes.bought[..., 0],
            "wood_bought": episodes.bought[..., 1],
        }
        means = {what: np.mean(values, axis=1) for what, values in per_worker.items()}  # [S, N]
        for seed, rank in np.ndindex(means["coin"].shape):
            numbers = {what: float(values[seed, rank]) for what, values in means.items()}
            yield {"lane": name, "seed": seed, "skill_rank": rank, **numbers}


def _schedule_rows(comparison: Comparison) -> Iterator[Mapping[str, Any]]:
    """One row per lane, seed, tax year and bracket, means over episodes."""
    for name, result in comparison.lanes.items():
        rates = np.mean(result.episodes.rates, axis=1)  # [S, Y, K]
        for seed, year, bracket in np.ndindex(rates.shape):
            rate = float(rates[seed, year, bracket])
            yield {"lane": name, "seed": seed, "year": year, "bracket": bracket, "rate": rate}


def _notes(comparison: Comparison) -> list[str]:
    config = comparison.config
    learning, economy = config.learning, config.economy
    notes = [
        f"Economy: {economy.num_workers} workers on {economy.layout_file or economy.layout}, "
        f"{economy.episode_length} steps, tax years of {economy.tax_period}, Gini mode "
        f"'{economy.gini_mode}'.",
        f"Every tax model: workers of phase 1 ({learning.updates(1) * learning.steps_of_update:,} "
        f"environment steps) adapt for {learning.updates(2) * learning.steps_of_update:,} more.",
        f"{config.num_evaluation_episodes} episodes per seed with actions drawn from the policies, "
        "full labor cost; the same episodes' keys for every tax model.",
        "Productivity is coin per worker; the published tables show the coin of all. Welfare "
        "functions weigh by the coin owned at the end, as in the official code.",
    ]
    for name, members in comparison.lanes_of.items():
        if len(members) > 1:
            notes.append(
                f"{TITLES[name]}: the best of {', '.join(members)} for each column by its mean, "
                f"chosen on these episodes; for {WELFARE_TITLES[config.welfare]} that is "
                f"{comparison.chosen(name, config.welfare)}."
            )
    return [f"- {note}" for note in notes]
