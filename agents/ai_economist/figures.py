"""Figures of a comparison: panels arranged, with legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ai_econ_jax import plotting
from ai_econ_jax.agents.ai_economist.compare import Comparison
from ai_econ_jax.agents.ai_economist.panels import (
    COLORS,
    GOALS,
    MARKERS,
    NO_EFFECT,
    SCHEDULES,
    Style,
    curves,
    draw_gains,
    draw_hours,
    draw_plane,
    draw_planner_learning,
    draw_schedules,
    draw_worker_learning,
)
from ai_econ_jax.agents.ai_economist.report import OPTIMUM, TAX_MODEL_TITLES
from ai_econ_jax.workdir import Workdir


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
        handles = _model_handles(comparison, SCHEDULES, lines=True)
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
                plotting.learning_curve(panel, *curves(shown, metric), label=None)
            panel.set(xlabel="update", ylabel=label)
        if 0 < phase1_updates < rows[-1]["update"]:
            axes[0, 0].axvline(phase1_updates, color="#777777", linewidth=1, linestyle=":")
        axes[0, 0].set_title("workers, both phases")
        axes[0, 1].set_title("planner, phase 2")
    return figure


FIGURES = {
    "schedules": schedules,
    "equality_productivity": equality_productivity,
    "learning_curves": learning_curves,
    "hours_by_skill": hours_by_skill,
    "overview": overview,
}


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
        Patch(**NO_EFFECT, label="rate changes nothing"),
        Line2D([], [], **income, label=f"incomes {where}"),
    ]


def _worker_handles(comparison: Comparison) -> list[Line2D]:
    style: Style = {"color": "#555555"}
    handles = [Line2D([], [], label="exact best responses", **style)]
    if comparison.rows:
        mark: Style = {"marker": "o", "linestyle": "none"}
        handles.insert(0, Line2D([], [], label="workers as played", **mark, **style))
    return handles
