"""Panels of a comparison's figures. One colour and one mark for each tax model, everywhere.

Axes: S seeds, W welfare functions, N workers, B brackets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

from ai_econ_jax import plotting
from ai_econ_jax.agents.ai_economist.compare import Comparison
from ai_econ_jax.agents.ai_economist.evaluation import span_of_gain
from ai_econ_jax.agents.ai_economist.experiment import WELFARE_NAMES
from ai_econ_jax.agents.ai_economist.report import OPTIMUM, TAX_MODEL_TITLES
from ai_econ_jax.envs.one_step_economy import EconomyParams, Outcome, equilibrium
from ai_econ_jax.statistics import mean_interval

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
# Tax models whose schedules are drawn.
SCHEDULES = ("us_federal", "saez", "planner", OPTIMUM)
NO_EFFECT: Style = {
    "facecolor": (0.96, 0.96, 0.96, 0.75),
    "edgecolor": (0.7, 0.7, 0.7, 0.6),
    "hatch": "////",
    "linewidth": 0,
}

_ROOM = 1.15  # of the income axis, over the highest income


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
            axes.axvspan(left, end, zorder=5, **NO_EFFECT)  # a veil over the lines
    for name in SCHEDULES:
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


def draw_worker_learning(axes: Axes, comparison: Comparison) -> None:
    """Mean utility of workers over phase 1, in which schedules are random."""
    updates, utility = curves(comparison.rows["phase1"], "utility")
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
        gain = (welfare - free) / span_of_gain(free, comparison.optimum.welfare[goal])
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
    plotting.end_labels(axes, skills.max(), ends, TAX_MODEL_TITLES, COLORS)


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


def curves(rows: Sequence[Mapping[str, Any]], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Updates ``[T]`` and the metric ``[M, T]`` of every lane."""
    lanes = np.asarray([row["seeds"][metric] for row in rows]).T
    return np.asarray([row["update"] for row in rows]), lanes


def _planner_curves(comparison: Comparison, goal: str) -> tuple[np.ndarray, np.ndarray]:
    updates, lanes = curves(comparison.rows["planner"], "welfare")
    of_goal = lanes.reshape(len(WELFARE_NAMES), -1, len(updates))
    return updates, of_goal[WELFARE_NAMES.index(goal)]


def _bounds(axes: Axes, free: float, best: float, number: str) -> None:
    """Horizontal lines at the exact free market and optimum, named in the right margin."""
    for name, value, align in (("free_market", free, "top"), (OPTIMUM, best, "bottom")):
        axes.axhline(value, color=COLORS[name], linewidth=1, linestyle=(0, (4, 2)))
        text = f"{TAX_MODEL_TITLES[name]} {number.format(value)}".strip().replace(" ", "\n")
        where = axes.get_yaxis_transform()
        axes.text(1.02, value, text, color=COLORS[name], va=align, transform=where, fontsize=8)
