"""Figures of a comparison. Axes: S seeds, E episodes, N workers by ascending skill, Y tax years."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ai_econ_jax import plotting
from ai_econ_jax.agents.ai_economist.gather_trade_build.compare import Comparison, LaneResult
from ai_econ_jax.agents.ai_economist.gather_trade_build.experiment import WELFARE_NAMES
from ai_econ_jax.agents.ai_economist.gather_trade_build.report import TITLES, outcomes
from ai_econ_jax.agents.ai_economist.gather_trade_build.training import PHASE1
from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.statistics import mean_interval
from ai_econ_jax.workdir import Workdir

COLORS = {
    "free_market": "#8a8a8a",
    "us_federal": "#3b75af",
    "flat": "#2a8a57",
    "saez": "#e08a00",
    "saez_tuned": "#b8860b",
    "full_redistribution": "#6a51a3",
    "random_planner": "#c7a17a",
    "searched": "#17a2b8",
    "planner": "#c2185b",
    "fixed": "#444444",
}


def write_figures(comparison: Comparison, workdir: Workdir) -> None:
    """Draws all figures into the work directory."""
    if not workdir.writes:
        return
    for name, draw in FIGURES.items():
        if name != "schedule_by_year" or "planner" in comparison.lanes_of:
            draw(comparison, workdir.figures / f"{name}.png")


def bars(comparison: Comparison, path: Any = None) -> Figure:
    """Coin of all workers, equality, and their product: the published comparison."""
    with plotting.figure(path, columns=3, panel=(4.0, 3.0)) as (figure, axes):
        panels: list[tuple[str, Any]] = [
            ("productivity: coin of all workers", lambda r: outcomes(r)["coin in all"]),
            ("equality [%]", lambda r: 100 * r.equality),
            ("equality × productivity", lambda r: _product(r)),
        ]
        for panel, (title, measure) in zip(axes[0], panels, strict=True):
            for row, name in enumerate(comparison.lanes_of):
                mean, width = mean_interval(measure(comparison.result(name)))
                error = None if np.isnan(width) else width
                panel.barh(row, mean, xerr=error, color=COLORS[name], error_kw={"elinewidth": 1})
            panel.set_title(title)
            panel.set_yticks(range(len(comparison.lanes_of)))
            panel.invert_yaxis()
            panel.grid(axis="y", visible=False)
            first = panel is axes[0, 0]
            panel.set_yticklabels([TITLES[n] if first else "" for n in comparison.lanes_of])
    return figure


def _product(result: LaneResult) -> np.ndarray:
    """Equality times the coin of all workers, f64[S]."""
    num_workers = result.episodes.coin.shape[-1]
    return num_workers * result.welfare[:, WELFARE_NAMES.index("equality_times_productivity")]


def plane(comparison: Comparison, path: Any = None) -> Figure:
    """Equality over productivity: seeds as small marks, means with 95 % intervals."""
    with plotting.figure(path, panel=(6.0, 4.4)) as (figure, axes):
        panel = axes[0, 0]
        for name in comparison.lanes_of:
            result = comparison.result(name)
            coin, equality = outcomes(result)["coin in all"], 100 * result.equality
            (x, x_error), (y, y_error) = mean_interval(coin), mean_interval(equality)
            panel.plot(coin, equality, ".", color=COLORS[name], alpha=0.5, markersize=5)
            panel.errorbar(
                x,
                y,
                xerr=np.nan_to_num(x_error),
                yerr=np.nan_to_num(y_error),
                color=COLORS[name],
                marker="*" if name == "planner" else "o",
                markersize=12 if name == "planner" else 7,
                elinewidth=1,
                linestyle="none",
                label=TITLES[name],
            )
        panel.set(xlabel="productivity: coin of all workers", ylabel="equality [%]")
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


def schedule_by_year(comparison: Comparison, path: Any = None) -> Figure:
    """Rates of the learned planner over brackets, one line per tax year; others beside it."""
    edges = np.append(brackets.US_FEDERAL_CUTOFFS, 1.2 * brackets.US_FEDERAL_CUTOFFS[-1])
    position = np.arange(len(edges))
    labels = [f"{edge:.0f}" for edge in edges[:-1]] + [""]
    with plotting.figure(path, columns=2, panel=(4.6, 3.4)) as (figure, axes):
        rates = 100 * np.mean(comparison.result("planner").episodes.rates, axis=(0, 1))  # [Y, K]
        for year, row in enumerate(rates):
            shade = 0.15 + 0.85 * year / max(1, len(rates) - 1)
            axes[0, 0].stairs(
                row, position, baseline=None, color=COLORS["planner"], alpha=shade, linewidth=1.6
            )
        axes[0, 0].set_title("learned planner; darker: later tax years")
        for name in comparison.lanes_of:
            mean = 100 * np.mean(comparison.result(name).episodes.rates, axis=(0, 1, 2))
            axes[0, 1].stairs(
                mean, position, baseline=None, color=COLORS[name], linewidth=1.6, label=TITLES[name]
            )
        axes[0, 1].set_title("all tax models, mean over years")
        for panel in axes[0]:
            panel.set_xticks(position, labels)
            panel.set(ylim=(-3, 103), xlabel="bracket, from income [coin]")
            panel.set_ylabel("marginal rate [%]")
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


def specialisation(comparison: Comparison, path: Any = None) -> Figure:
    """Houses built and units sold and bought by skill, one group of bars per worker."""
    with plotting.figure(path, columns=3, panel=(4.0, 3.2)) as (figure, axes):
        for panel, (title, measure) in zip(
            axes[0],
            (
                ("houses built", lambda e: e.houses),
                ("units of wood and stone sold", lambda e: e.sold.sum(-1)),
                ("units of wood and stone bought", lambda e: e.bought.sum(-1)),
            ),
            strict=True,
        ):
            _grouped(panel, comparison, measure, panel is axes[0, 0])
            panel.set_title(title)
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


def incomes(comparison: Comparison, path: Any = None) -> Figure:
    """Income before taxes and lump sums, and coin after them, by skill."""
    with plotting.figure(path, columns=2, panel=(4.6, 3.2)) as (figure, axes):
        _grouped(axes[0, 0], comparison, lambda episodes: episodes.income, True)
        _grouped(axes[0, 1], comparison, lambda episodes: episodes.coin, False)
        top = max(panel.get_ylim()[1] for panel in axes[0])
        for panel, title in zip(axes[0], ("before taxes", "after taxes"), strict=True):
            panel.set(ylim=(min(0.0, panel.get_ylim()[0]), top), title=f"coin {title}")
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _grouped(panel: Axes, comparison: Comparison, measure: Any, named: bool) -> None:
    """Bars by worker and tax model, means over seeds and episodes with intervals over seeds."""
    names = list(comparison.lanes_of)
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        episodes = comparison.result(name).episodes
        mean, error = mean_interval(np.mean(measure(episodes), axis=1))  # [N]
        panel.bar(
            np.arange(len(mean)) + (i - (len(names) - 1) / 2) * width,
            mean,
            width,
            yerr=np.nan_to_num(error),
            color=COLORS[name],
            error_kw={"elinewidth": 0.8},
            label=TITLES[name] if named else None,
        )
    payment = np.mean(comparison.result(names[0]).episodes.payment, axis=(0, 1))
    panel.set_xticks(range(len(payment)), [f"{coin:.1f}" for coin in payment])
    panel.set_xlabel("worker, by coin per house")
    panel.grid(axis="x", visible=False)


def learning_curves(comparison: Comparison, path: Any = None) -> Figure:
    """Utility over phase 1; the goal over phase 2 under each tax model."""
    steps = comparison.config.learning.steps_of_update / 1e6
    stages = {PHASE1: comparison.rows[PHASE1]} if PHASE1 in comparison.rows else {}
    with plotting.figure(path, columns=1 + bool(stages), panel=(4.6, 3.2)) as (figure, axes):
        if stages:
            axes[0, 0].set_prop_cycle(color=[COLORS["free_market"]])
            plotting.learning_curve(axes[0, 0], *_curve(stages[PHASE1], "utility", steps))
            axes[0, 0].set(title="phase 1, free market", ylabel="mean utility of workers")
        panel, handles = axes[0, -1], []
        for name in comparison.lanes_of:
            rows = comparison.rows[comparison.chosen(name, comparison.config.welfare)]
            panel.set_prop_cycle(color=[COLORS[name]])
            plotting.learning_curve(panel, *_curve(rows, "equality_times_productivity", steps))
            handles.append(Line2D([], [], color=COLORS[name], label=TITLES[name]))
        panel.set(title="phase 2", ylabel="equality × coin per worker")
        for panel in axes[0]:
            panel.set_xlabel("environment steps [million]")
        figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _curve(rows: Sequence[Mapping[str, Any]], metric: str, unit: float) -> tuple[np.ndarray, Any]:
    """Steps [T] and the metric [S, T], from where the first episodes have ended."""
    shown = [row for row in rows if row["productivity"] != 0] or rows
    return (
        unit * np.asarray([row["update"] for row in shown]),
        np.asarray([row["seeds"][metric] for row in shown]).T,
    )


FIGURES = {
    "bars": bars,
    "equality_productivity": plane,
    "schedule_by_year": schedule_by_year,
    "specialisation": specialisation,
    "incomes": incomes,
    "learning_curves": learning_curves,
}
