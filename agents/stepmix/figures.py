"""Figures of a comparison: regret, executed value, mixture level, violations, over episodes.

One colour and one dash for each algorithm, everywhere; lines are means over seeds, bands reach from
the least to the greatest seed. Values are in units of the original rewards.

Axes: T points, B seeds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ai_econ_jax import plotting
from ai_econ_jax.agents.stepmix.experiment import Comparison
from ai_econ_jax.agents.stepmix.report import TITLES, number
from ai_econ_jax.agents.stepmix.run import Trace
from ai_econ_jax.workdir import Workdir

# Keyword arguments of matplotlib.
Style = dict[str, Any]

# Okabe and Ito's palette, which the colour-blind can tell apart, and dashes as a second mark.
COLORS = {
    "stepmix": "#0072B2",
    "epsmix": "#D55E00",
    "ucbvi": "#222222",
    "switch": "#009E73",
    "budget": "#CC79A7",
    "baseline": "#8a8a8a",
    "allstep": "#E69F00",
    "greedy_stepmix": "#56B4E9",
    "ucbvi_simple": "#222222",
    "dope": "#8C6D31",
    "optpess_lp": "#5E4FA2",
    "ppo_tabular": "#B8A000",
}
DASHES = {
    "switch": (0, (5, 2)),
    "baseline": (0, (1, 1)),
    "budget": (0, (6, 1, 1, 1)),
    "ucbvi_simple": (0, (3, 1)),
    "greedy_stepmix": (0, (3, 1)),
    "optpess_lp": (0, (5, 2)),
}
_GAMMA, _REFERENCE = "#B2182B", "#444444"
_PLAIN = FuncFormatter(lambda x, _: f"{x:,.10g}")
_BINS = 120
_IN_FOCUS = ("stepmix", "epsmix")


def write_figures(comparison: Comparison, workdir: Workdir) -> None:
    """Draws all figures into the work directory."""
    if workdir.writes:
        for name, draw in FIGURES.items():
            draw(comparison, workdir.figures / f"{name}.png")


def regret(comparison: Comparison, path: Any = None) -> Figure:
    """Cumulative regret, both axes logarithmic."""
    with _panel(path) as (figure, axes):
        curves = {name: trace.curves["regret"] for name, trace in comparison.traces.items()}
        _draw(axes, comparison, curves)
        largest = max(curve.max() for curve in curves.values())
        if largest > 0:
            smallest = min(curve[curve > 0].min() for curve in curves.values() if curve.max() > 0)
            axes.set_yscale("log")
            axes.set_ylim(max(smallest, 1e-5 * largest) / 1.5, 1.5 * largest)
            _log_ticks(axes.yaxis)
        axes.set_ylabel("regret so far: sum of V* − V(policy) [reward]")
        _label(axes, comparison, curves)
        _title(axes, comparison, "What safety costs: cumulative regret")
    return figure


def value(comparison: Comparison, path: Any = None) -> Figure:
    """Value of the policy executed, with the region that is forbidden."""
    with _panel(path) as (figure, axes):
        best = comparison.optimal_value
        curves = {name: best - trace.curves["gap"] for name, trace in comparison.traces.items()}
        _draw(axes, comparison, curves, binned=True)
        low = min([comparison.gamma, *(curve.min() for curve in curves.values())])
        margin = 0.08 * (best - low)
        axes.set_ylim(low - margin, best + margin)
        axes.axhspan(low - margin, comparison.gamma, color=_GAMMA, alpha=0.07, linewidth=0)
        worth, gamma = comparison.baseline_value, comparison.gamma
        for height, text, color, side, end in (
            (best, f"V* = {number(best)}", _REFERENCE, "bottom", "right"),
            (worth, f"V(baseline) = {number(worth)}", _REFERENCE, "bottom", "left"),
            (gamma, f"γ = {number(gamma)}: no episode may be worth less", _GAMMA, "top", "right"),
        ):
            axes.axhline(height, color=color, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
            where = axes.get_yaxis_transform()
            style: Style = {"color": color, "fontsize": 8, "transform": where, "zorder": 5}
            veil: Style = {"facecolor": "white", "alpha": 0.5, "linewidth": 0, "pad": 0.5}
            at = {"left": 0.01, "right": 0.99}[end]
            axes.text(at, height, text, ha=end, va=side, bbox=veil, **style)
        axes.set_ylabel("expected return of the executed policy [reward]")
        _label(axes, comparison, curves)
        _title(axes, comparison, "What is played: exact value of the executed policy")
    return figure


def ladder(comparison: Comparison, path: Any = None) -> Figure:
    """Steps of the episode that are given to the baseline, from H down to 0."""
    with _panel(path) as (figure, axes):
        curves = {name: trace.curves["level"] for name, trace in comparison.traces.items()}
        _draw(axes, comparison, curves, binned=True)
        horizon = comparison.shape[0]
        axes.set_ylim(-0.05 * horizon, 1.05 * horizon)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(f"steps given to the baseline, of H = {horizon}")
        for height, name, side in ((horizon, "baseline", "top"), (0, "optimistic", "bottom")):
            axes.text(0.01, height, name, fontsize=8, va=side, transform=axes.get_yaxis_transform())
        _label(axes, comparison, curves)
        _title(axes, comparison, "How long on the baseline: mixture level")
    return figure


def violations(comparison: Comparison, path: Any = None) -> Figure:
    """Violating episodes so far, on a scale that shows zero."""
    with _panel(path) as (figure, axes):
        curves = {name: trace.curves["violations"] for name, trace in comparison.traces.items()}
        _draw(axes, comparison, curves)
        most = max(curve.max() for curve in curves.values())
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(-0.15, max(1.5, 2 * most))
        axes.yaxis.set_major_formatter(_PLAIN)
        axes.set_ylabel("episodes so far with V(policy) < γ")
        told = {
            name: f"{TITLES[name]}: {trace.violations.mean():.3g}"
            for name, trace in comparison.traces.items()
        }
        _label(axes, comparison, curves, told)
        _title(axes, comparison, "Who breaks the constraint: violating episodes")
    return figure


FIGURES: dict[str, Callable[..., Figure]] = {
    "regret": regret,
    "value": value,
    "ladder": ladder,
    "violations": violations,
}


@contextlib.contextmanager
def _panel(path: Any) -> Iterator[tuple[Figure, Axes]]:
    with plotting.figure(path, panel=(6.4, 3.8)) as (figure, axes):
        yield figure, axes[0, 0]


def _draw(
    axes: Axes, comparison: Comparison, curves: Mapping[str, np.ndarray], binned: bool = False
) -> None:
    """Means of the curves f[T, B] over seeds, with their range, over episodes.

    What jumps from one episode to the next is ``binned``: means and ranges are over all seeds and
    all points of a bin, of which there are many on the logarithmic axis.
    """
    first = min(int(trace.episode[0]) for trace in comparison.traces.values())
    last = _end(comparison.traces)
    for name, curve in curves.items():
        episode, mean = comparison.traces[name].episode, curve.mean(1)
        low, high = curve.min(1), curve.max(1)
        if binned:
            bins = np.floor(_BINS * np.log(episode) / np.log(max(last, 2))).astype(int)
            _, starts, sizes = np.unique(bins, return_index=True, return_counts=True)
            episode, mean = (np.add.reduceat(x, starts) / sizes for x in (episode, mean))
            low, high = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
        front = name in _IN_FOCUS
        line: Style = {"linestyle": DASHES.get(name, "-"), "linewidth": 2.0 if front else 1.2}
        axes.plot(episode, mean, color=COLORS[name], zorder=4 if front else 3, **line)
        band: Style = {"color": COLORS[name], "alpha": 0.18 if front else 0.12, "linewidth": 0}
        axes.fill_between(episode, low, high, zorder=2, **band)
    axes.set_xscale("log")
    axes.set_xlim(first if first < last else 0.9 * first, last)
    _log_ticks(axes.xaxis)
    axes.set_xlabel("episode")


def _log_ticks(axis: Axis) -> None:
    """Plain numbers, three to a decade where there are few decades."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter(_PLAIN)
    axis.set_minor_formatter(NullFormatter())


def _label(
    axes: Axes,
    comparison: Comparison,
    curves: Mapping[str, np.ndarray],
    told: Mapping[str, str] = TITLES,
) -> None:
    ends = {name: float(curve[-1].mean()) for name, curve in curves.items()}
    plotting.end_labels(axes, _end(comparison.traces), ends, told, COLORS)


def _title(axes: Axes, comparison: Comparison, what: str) -> None:
    seeds = comparison.config.num_seeds
    shown = f"mean and range of {seeds} seeds" if seeds > 1 else "one seed"
    axes.set_title(f"{what}\n{comparison.name}, {shown}", loc="left")


def _end(traces: Mapping[str, Trace]) -> int:
    return max(int(trace.episode[-1]) for trace in traces.values())
