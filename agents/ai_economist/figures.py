"""Figures of a comparison. One colour for each tax model, everywhere.

Each ``draw_*`` function fills one panel; ``write_figures`` arranges them. Axes: S seeds, W welfare
functions, N workers, B brackets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ai_econ_jax import plotting
from ai_econ_jax.agents.ai_economist.compare import Comparison
from ai_econ_jax.agents.ai_economist.experiment import WELFARE_NAMES
from ai_econ_jax.agents.ai_economist.report import OPTIMUM, TAX_MODEL_TITLES
from ai_econ_jax.envs.one_step_economy import EconomyParams, Outcome, equilibrium
from ai_econ_jax.statistics import mean_interval
from ai_econ_jax.workdir import Workdir

# Keyword arguments of matplotlib.
Style = dict[str, Any]

COLORS = {
    "free_market": "#8a8a8a",
    "us_federal": "#3b75af",
    "flat": "#2a8a57",
    "saez": "#e08a00",
    "planner": "#c2185b",
    "fixed": "#6a51a3",
    OPTIMUM: "#111111",
}
MARKERS = {
    "free_market": "o",
    "us_federal": "s",
    "flat": "D",
    "saez": "^",
    "planner": "*",
    "fixed": "P",
    OPTIMUM: "X",
}
# The welfare functions that have panels, and their names there.
GOALS = {
    "inverse_income_utility": "inverse-income utility",
    "equality_times_productivity": "equality × productivity",
}

_ROOM = 1.15  # of the income axis, over the highest income


def write_figures(comparison: Comparison, workdir: Workdir) -> None:
    """Draws all figures for which the comparison has data into the work directory."""
    if not workdir.writes:
        return
    for name, draw in FIGURES.items():
        if comparison.rows.get("planner") or name not in ("learning_curves", "overview"):
            draw(comparison, workdir.figures / f"{name}.png")


def schedules(comparison: Comparison, path: Any = None) -> Figure:
    """Marginal rates over income, one panel for each of two welfare functions."""
    with plotting.figure(path, columns=len(GOALS), panel=(4.4, 3.6)) as (figure, axes):
        for panel, goal in zip(axes[0], GOALS, strict=True):
            draw_schedules(panel, comparison, goal)
            panel.set_title(f"for {GOALS[goal]}")
        handles = _model_handles(comparison, _SCHEDULES, lines=True)
        _legend(figure, [*handles, *_schedule_marks(comparison)], columns=6)
    return figure


def equality_productivity(comparison: Comparison, path: Any = None) -> Figure:
    """The plane of equality and productivity with the exact frontier and all tax models."""
    with plotting.figure(path, panel=(6.4, 5.0)) as (figure, axes):
        draw_plane(axes[0, 0], comparison)
        handles = _model_handles(comparison, MARKERS)
        _legend(figure, [*handles, *_goal_handles(comparison)], columns=3)
    return figure


def learning_curves(comparison: Comparison, path: Any = None) -> Figure:
    """Utility of workers in phase 1, welfare of two planners in phase 2."""
    stages = [stage for stage in ("phase1", "planner") if comparison.rows.get(stage)]
    columns = ("phase1" in stages) + len(GOALS) * ("planner" in stages)
    with plotting.figure(path, columns=max(columns, 1), panel=(4.0, 3.2)) as (figure, axes):
        panels = iter(axes[0])
        if "phase1" in stages:
            draw_worker_learning(next(panels), comparison)
        if "planner" in stages:
            for goal in GOALS:
                draw_planner_learning(next(panels), comparison, goal)
    return figure


def hours_by_skill(comparison: Comparison, path: Any = None) -> Figure:
    """Hours of learned workers against their exact best responses."""
    with plotting.figure(path, columns=len(GOALS), panel=(4.8, 3.6)) as (figure, axes):
        for panel, goal in zip(axes[0], GOALS, strict=True):
            draw_hours(panel, comparison, goal)
            panel.set_title(f"taxes made for {GOALS[goal]}")
        _legend(figure, _worker_handles(comparison), columns=2)
    return figure


def overview(comparison: Comparison, path: Any = None) -> Figure:
    """The four figures in one, for inverse-income utility where one must be chosen."""
    goal = next(iter(GOALS))
    with plotting.figure(path, rows=2, columns=2, panel=(4.9, 3.6)) as (figure, axes):
        draw_schedules(axes[0, 0], comparison, goal)
        axes[0, 0].set_title(f"Tax schedules for {GOALS[goal]}")
        draw_plane(axes[0, 1], comparison)
        axes[0, 1].set_title("Equality and productivity")
        draw_gains(axes[1, 0], comparison)
        axes[1, 0].set_title("The planner learns")
        draw_hours(axes[1, 1], comparison, goal)
        axes[1, 1].set_title(f"Hours under taxes for {GOALS[goal]}")
        marks = [
            *_goal_handles(comparison),
            *_schedule_marks(comparison),
            *_worker_handles(comparison),
        ]
        _legend(figure, [*_model_handles(comparison, MARKERS), *marks], columns=5)
    return figure


FIGURES = {
    "schedules": schedules,
    "equality_productivity": equality_productivity,
    "learning_curves": learning_curves,
    "hours_by_skill": hours_by_skill,
    "overview": overview,
}

_SCHEDULES = ("us_federal", "saez", "planner", OPTIMUM)


def draw_schedules(axes: Axes, comparison: Comparison, goal: str) -> None:
    """Rates in percent over income, with ticks at the incomes that the planner's workers have.

    Brackets are grey where the rate changes nothing: nobody reaches them even untaxed, or all earn
    more both under the planner and at the optimum, so that they tax everybody the same.
    """
    w = WELFARE_NAMES.index(goal)
    cutoffs = np.asarray(comparison.economy.cutoffs, np.float64)
    incomes = {name: model.production[:, w] for name, model in comparison.models.items()}
    incomes[OPTIMUM] = np.asarray(_at_optimum(comparison, goal).production)
    right = _ROOM * max(income.max() for income in incomes.values())
    shown = np.searchsorted(cutoffs, right)
    edges = np.append(cutoffs[:shown], right)

    subject = "planner" if "planner" in incomes else OPTIMUM
    everybody_earns = min(incomes[name].min() for name in (subject, OPTIMUM))
    for left, end, bracket in zip(edges, edges[1:], range(shown), strict=False):
        if end <= everybody_earns or bracket >= comparison.optimum.num_reachable:
            axes.axvspan(left, end, zorder=5, **_NO_EFFECT)  # a veil over the lines
    for name in _SCHEDULES:
        style: Style = {"color": COLORS[name], "baseline": None}
        if name == OPTIMUM:
            rates = 100 * comparison.optimum.rates[goal][:shown]
            axes.stairs(rates, edges, linewidth=1.3, linestyle=(0, (4, 2)), zorder=4, **style)
        elif name in comparison.models:
            rates = 100 * comparison.models[name].rates[:, w, :shown]
            width = 2.6 if name == "planner" else 1.5
            axes.stairs(rates.mean(0), edges, linewidth=width, zorder=3, **style)
            band: Style = {"color": COLORS[name], "alpha": 0.15, "linewidth": 0}
            axes.stairs(rates.max(0), edges, baseline=rates.min(0), fill=True, **band)
    ticks = np.sort(incomes[subject].mean(0) if subject == "planner" else incomes[subject])
    axes.plot(ticks, np.full(len(ticks), -4.0), "|", color=COLORS[subject], markersize=7)
    axes.set(xlim=(0, right), ylim=(-8, 104), yticks=range(0, 101, 20))
    axes.set(xlabel="income before tax [coin]", ylabel="marginal tax rate [%]")


def draw_plane(axes: Axes, comparison: Comparison) -> None:
    """Points of all tax models, with 95 % intervals, below the exact frontier."""
    frontier = comparison.optimum.frontier
    axes.plot(frontier.productivity, frontier.equality, color=COLORS[OPTIMUM], linewidth=1)
    axes.fill_between(frontier.productivity, frontier.equality, color="#f4f4f4", zorder=0)
    points: list[Any] = []
    for goal in reversed(GOALS):
        w = WELFARE_NAMES.index(goal)
        filled = goal == next(iter(GOALS))
        for name, model in comparison.models.items():
            if filled or name in ("flat", "planner"):
                coin = mean_interval(model.coin[:, w].mean(-1))
                points.append((name, filled, coin, mean_interval(model.equality[:, w])))
        best = _at_optimum(comparison, goal)
        exactly = (np.mean(best.coin), np.nan), (best.equality, np.nan)
        points.append((OPTIMUM, filled, *exactly))
    for name, filled, (x, x_error), (y, y_error) in points:
        axes.errorbar(
            x,
            y,
            xerr=np.nan_to_num(x_error),
            yerr=np.nan_to_num(y_error),
            color=COLORS[name],
            marker=MARKERS[name],
            markerfacecolor=COLORS[name] if filled else "white",
            markersize=10 if name == "planner" else 6.5,
            linestyle="none",
            elinewidth=1,
            zorder=5,
        )
    _equal_welfare_line(axes, comparison)
    low = min(float(y) for _, _, _, (y, _) in points)
    axes.set_ylim(low - 0.25 * (1 - low), 1.02)
    # The frontier goes on to equality 1, far from where any tax model ends up.
    left, *_, right = sorted(float(x) for _, _, (x, _), _ in points)
    axes.set_xlim(left - 0.5 * (right - left), right + 0.15 * (right - left))
    axes.set_xlabel("productivity: mean income [coin]")
    axes.set_ylabel("equality: 1 − Gini index of coin after tax")


def _equal_welfare_line(axes: Axes, comparison: Comparison) -> None:
    """The curve on which equality × productivity is as at its optimum: it touches the frontier."""
    best = comparison.optimum.welfare["equality_times_productivity"]
    x = np.linspace(best, 2 * best, 100)
    axes.plot(x, best / x, color="#777777", linewidth=1, linestyle=":", zorder=1)


def training_curves(
    rows: Sequence[Mapping[str, Any]], phase1_updates: int, goal: str, path: Any = None
) -> Figure:
    """Utility and the planner's goal over both phases of one training."""
    with plotting.figure(path, columns=2, panel=(4.4, 3.2)) as (figure, axes):
        for panel, metric, begin, color, label in (
            (axes[0, 0], "utility", 0, "us_federal", "mean utility of workers [coin]"),
            (axes[0, 1], "welfare", phase1_updates, "planner", goal.replace("_", " ")),
        ):
            shown = [row for row in rows if row["update"] > begin]
            panel.set_prop_cycle(color=[COLORS[color]])
            if shown:
                plotting.learning_curve(panel, *_curves(shown, metric), label=None)
            panel.set(xlabel="update", ylabel=label)
        if 0 < phase1_updates < rows[-1]["update"]:
            axes[0, 0].axvline(phase1_updates, color="#777777", linewidth=1, linestyle=":")
        axes[0, 0].set_title("workers, both phases")
        axes[0, 1].set_title("planner, phase 2")
    return figure


def draw_worker_learning(axes: Axes, comparison: Comparison) -> None:
    """Mean utility of workers over phase 1, in which schedules are random."""
    updates, utility = _curves(comparison.rows["phase1"], "utility")
    axes.set_prop_cycle(color=[COLORS["us_federal"]])
    plotting.learning_curve(axes, updates, utility)
    axes.set_title("phase 1: workers on random schedules")
    axes.set(xlabel="update", ylabel="mean utility of workers [coin]")


def draw_planner_learning(axes: Axes, comparison: Comparison, goal: str) -> None:
    """Welfare under the planner's sampled schedules over phase 2, between exact bounds."""
    updates, welfare = _planner_curves(comparison, goal)
    _bounds(axes, comparison.exact_free_market[goal], comparison.optimum.welfare[goal], "{:.2f}")
    axes.set_prop_cycle(color=[COLORS["planner"]])
    plotting.learning_curve(axes, updates, welfare)
    low, high = axes.get_ylim()  # with room for the name above the upper line
    axes.set_ylim(low, max(high, comparison.optimum.welfare[goal] + 0.12 * (high - low)))
    axes.set_title(f"phase 2: planner for {GOALS[goal]}")
    axes.set(xlabel="update", ylabel=f"{GOALS[goal]} [coin]")


def draw_gains(axes: Axes, comparison: Comparison) -> None:
    """Normalised gains of both planners over phase 2."""
    _bounds(axes, 0.0, 1.0, "")
    axes.set_prop_cycle(color=2 * [COLORS["planner"]], linestyle=["-", "--"])
    for goal, name in GOALS.items():
        free = comparison.exact_free_market[goal]
        updates, welfare = _planner_curves(comparison, goal)
        gain = (welfare - free) / (comparison.optimum.welfare[goal] - free)
        plotting.learning_curve(axes, updates, gain, label=name)
    axes.legend(loc="lower right")
    axes.set_ylim(-1.5, 1.7)  # the first schedules of all can be far worse
    axes.set(xlabel="update of phase 2", ylabel="share of the possible gain")


def draw_hours(axes: Axes, comparison: Comparison, goal: str) -> None:
    """Hours over skill: lines are exact best responses, marks learned workers."""
    w = WELFARE_NAMES.index(goal)
    skills = np.asarray(comparison.economy.skills)
    order = np.argsort(skills)
    ends = {}
    for name in (*comparison.models, OPTIMUM):
        if name == OPTIMUM:
            exact = np.asarray(_at_optimum(comparison, goal).hours)
        else:
            model = comparison.models[name]
            exact = _best_hours(comparison, model.rates[:, w]).mean(0)
            mean, error = mean_interval(model.hours[:, w])
            axes.errorbar(
                skills[order],
                mean[order],
                yerr=np.nan_to_num(error[order]),
                color=COLORS[name],
                marker=MARKERS[name],
                markersize=(8 if name == "planner" else 5) if len(skills) < 20 else 2.5,
                linestyle="none",
                elinewidth=1,
            )
        dashed: Style = {"linestyle": (0, (4, 2)), "zorder": 3} if name == OPTIMUM else {}
        axes.plot(skills[order], exact[order], color=COLORS[name], linewidth=1.2, **dashed)
        ends[name] = exact[order[-1]]
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    axes.set(xlabel="skill [coin per hour]", ylabel="hours of work")
    _end_labels(axes, skills.max(), ends)


_NO_EFFECT: Style = {
    "facecolor": (0.96, 0.96, 0.96, 0.75),
    "edgecolor": (0.7, 0.7, 0.7, 0.6),
    "hatch": "////",
    "linewidth": 0,
}


# From the middle of a label's left side to its point.
_LEADER: Style = {"arrowstyle": "-", "linewidth": 0.6, "alpha": 0.6, "relpos": (0, 0.5)}


def _at_optimum(comparison: Comparison, goal: str) -> Outcome:
    """The outcome of the optimal schedule with exact best responses."""
    rates = comparison.optimum.rates[goal][None]
    return jax.tree.map(lambda leaf: leaf[0], _equilibria(comparison.economy, rates))


def _best_hours(comparison: Comparison, rates: np.ndarray) -> np.ndarray:
    """Exact best responses ``[S, N]`` to the schedules ``[S, B]``."""
    return np.asarray(_equilibria(comparison.economy, rates).hours)


def _equilibria(economy: EconomyParams, rates: np.ndarray) -> Outcome:
    """Outcomes ``[S, ...]`` of exact best responses to the schedules ``[S, B]``."""
    return jax.device_get(_compiled_equilibria(economy, rates.astype(np.float32)))


_compiled_equilibria = jax.jit(jax.vmap(equilibrium, (None, 0)))


def _curves(rows: Sequence[Mapping[str, Any]], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Updates ``[T]`` and the metric ``[M, T]`` of every lane."""
    lanes = np.asarray([row["seeds"][metric] for row in rows]).T
    return np.asarray([row["update"] for row in rows]), lanes


def _planner_curves(comparison: Comparison, goal: str) -> tuple[np.ndarray, np.ndarray]:
    updates, lanes = _curves(comparison.rows["planner"], "welfare")
    of_goal = lanes.reshape(len(WELFARE_NAMES), -1, len(updates))
    return updates, of_goal[WELFARE_NAMES.index(goal)]


def _bounds(axes: Axes, free: float, best: float, number: str) -> None:
    """Horizontal lines at the exact free market and optimum, named in the right margin."""
    for name, value, align in (("free_market", free, "top"), (OPTIMUM, best, "bottom")):
        axes.axhline(value, color=COLORS[name], linewidth=1, linestyle=(0, (4, 2)))
        text = f"{TAX_MODEL_TITLES[name]} {number.format(value)}".strip().replace(" ", "\n")
        where = axes.get_yaxis_transform()
        axes.text(1.02, value, text, color=COLORS[name], va=align, transform=where, fontsize=8)


def _end_labels(axes: Axes, x: float, ends: Mapping[str, float]) -> None:
    """Names the lines beside their right ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = 0.065 * (high - low)
    names = sorted(ends, key=lambda name: ends[name])
    heights = np.asarray([ends[name] for name in names])
    for _ in range(100):  # push neighbours apart until all have room
        for i in np.flatnonzero(np.diff(heights) < 0.999 * gap):
            middle = heights[i : i + 2].mean()
            heights[i : i + 2] = middle - gap / 2, middle + gap / 2
    for name, height in zip(names, heights, strict=True):
        axes.annotate(
            TAX_MODEL_TITLES[name],
            (x, ends[name]),
            xytext=(1.08, height),
            textcoords=axes.get_yaxis_transform(),
            annotation_clip=False,
            color=COLORS[name],
            fontsize=8,
            va="center",
            arrowprops={**_LEADER, "color": COLORS[name]},
        )


def _legend(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    """Below all panels, where nothing can be hidden."""
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8)


def _model_handles(comparison: Comparison, names: Any, lines: bool = False) -> list[Line2D]:
    handles = []
    for name in names:
        if name != OPTIMUM and name not in comparison.models:
            continue
        style: Style = {"color": COLORS[name], "label": TAX_MODEL_TITLES[name]}
        if lines:
            style |= {"linestyle": (0, (4, 2)) if name == OPTIMUM else "-", "linewidth": 2}
        else:
            style |= {"marker": MARKERS[name], "linestyle": "none"}
        handles.append(Line2D([], [], **style))
    return handles


def _goal_handles(comparison: Comparison) -> list[Line2D]:
    style: Style = {"color": "#555555", "marker": "o", "linestyle": "none"}
    faces = zip(GOALS.values(), ("#555555", "white"), strict=True)
    made_for = [
        Line2D([], [], markerfacecolor=face, label=f"made for {goal}", **style)
        for goal, face in faces
    ]
    best = comparison.optimum.welfare["equality_times_productivity"]
    name = f"equality × productivity = {best:.1f}"
    equal = Line2D([], [], color="#777777", linewidth=1, linestyle=":", label=name)
    frontier = Line2D([], [], color=COLORS[OPTIMUM], linewidth=1, label="exact frontier")
    return [*made_for, frontier, equal]


def _schedule_marks(comparison: Comparison) -> list[Any]:
    subject, where = OPTIMUM, "at the optimum"
    if "planner" in comparison.models:
        subject, where = "planner", "under the planner"
    income: Style = {"marker": "|", "color": COLORS[subject], "linestyle": "none"}
    return [
        Patch(**_NO_EFFECT, label="rate changes nothing"),
        Line2D([], [], **income, label=f"incomes {where}"),
    ]


def _worker_handles(comparison: Comparison) -> list[Line2D]:
    style: Style = {"color": "#555555"}
    handles = [Line2D([], [], label="exact best responses", **style)]
    if comparison.rows:
        mark: Style = {"marker": "o", "linestyle": "none"}
        handles.insert(0, Line2D([], [], label="workers as played", **mark, **style))
    return handles
