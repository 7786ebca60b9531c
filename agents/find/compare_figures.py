"""Figures of a comparison: images, learning curves, what stands beside reward, the Pareto plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ai_econ_jax import plotting
from ai_econ_jax.agents.find import report
from ai_econ_jax.agents.find.compare import NO_DISTRIBUTION, Result
from ai_econ_jax.agents.find.experiment import Evaluation
from ai_econ_jax.agents.find.experiment_config import METHODS
from ai_econ_jax.agents.find.figures import tiles
from ai_econ_jax.workdir import Workdir

_TILE_ROWS, _TILE_COLUMNS = 2, 10
_COLORS = dict(
    zip(METHODS, ("#0072B2", "#009E73", "#999999", "#CC79A7", "#D55E00", "#E69F00"), strict=True)
)
_MARKERS = {"images": "o", "forwards": "^", "long": "s"}
_BESIDE = {
    "reward": "reward",
    "success": "success, by the judge",
    "frechet": "Fréchet distance to real images",
    "diversity": "diversity",
    "norm_ratio": "E|z|²/D, of the noise",
}
_DASHED: dict[str, Any] = {"color": "#444444", "linewidth": 0.8, "linestyle": (0, (2, 2))}


def write_figures(results: Sequence[Result], workdir: Workdir) -> None:
    """Draws all figures into the work directory."""
    if not workdir.writes:
        return
    folder = workdir.figures
    reward(results, folder / "reward.png")
    beside(results, folder / "beside.png")
    if len(results[0].row.setting.model.latent_shape) > 2:
        images(results, folder / "images.png")
    if results[0].outcome.after.frechet is not None:
        pareto(results, folder / "pareto.png")


def images(results: Sequence[Result], path: Any = None) -> Figure:
    """Images of the first seed before and after; a pair comes from the same random numbers."""
    with plotting.figure(path, len(results), 2, panel=(4.2, 1.2)) as (figure, axes):
        for places, result in zip(axes, results, strict=True):
            outcome, first = result.outcome, result.row.config.seed
            pairs = ((f"before, eta {result.row.setting.sampler.eta:g}", outcome.before),)
            for place, (name, evaluation) in zip(
                places, (*pairs, (result.row.name, outcome.after)), strict=True
            ):
                sheet = tiles(evaluation.images[0], _TILE_ROWS, _TILE_COLUMNS)
                place.imshow(sheet, cmap="gray", vmin=0, vmax=1)
                place.set_axis_off()
                place.set_title(f"{name}: reward {evaluation.rewards[0].mean():.2f}", fontsize=8)
        figure.suptitle(f"{_asked(results)}, seed {first}")
    return figure


def reward(results: Sequence[Result], path: Any = None) -> Figure:
    """Reward of what is drawn on the way, against images and against forward-equivalents."""
    longest: dict[str, int] = {}
    for result in results:
        method, drawn = result.row.config.method, result.outcome.method.images
        longest[method] = max(drawn, longest.get(method, 0))
    with plotting.figure(path, columns=2, panel=(4.6, 3.4)) as (figure, axes):
        for result in results:
            method = result.row.config.method
            if result.outcome.method.images < longest[method]:  # the beginning of another row
                continue
            share = result.images / result.outcome.method.images
            spent = share * result.outcome.method.forward_equivalents
            mean = result.smooth().mean(0)
            for place, x in zip(axes[0], (result.images, spent), strict=True):
                color = _COLORS[method]
                style = (0, (2, 2)) if method in NO_DISTRIBUTION else "-"
                place.plot(x, mean, color=color, linestyle=style, label=method)
                if len(result.rewards) > 1:
                    error = result.smooth().std(0, ddof=1) / np.sqrt(len(result.rewards))
                    place.fill_between(
                        x, mean - error, mean + error, color=color, alpha=0.2, linewidth=0
                    )
        for place, label in zip(axes[0], ("images drawn", "forward equivalents"), strict=True):
            place.set_xscale("log")
            place.xaxis.set_minor_formatter(NullFormatter())
            place.set_xlabel(label)
        axes[0, 0].set_ylabel("reward, mean of the last 64 images")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=8)
        seeds = len(results[0].rewards)
        told = f"mean of {seeds} seeds, ± standard error; dashed: no distribution learned"
        figure.suptitle(f"{_asked(results)}: {told}")
    return figure


def beside(results: Sequence[Result], path: Any = None) -> Figure:
    """Reward, and beside it judge, distance to data, diversity and drift; a dot is a seed."""
    known = report.by_seed(results[0].outcome.after)
    names = [name for name in _BESIDE if known[name] is not None]
    heights = np.arange(len(results))[::-1]
    size = (2.4, 0.8 + 0.26 * len(results))
    with plotting.figure(path, columns=len(names), panel=size) as (figure, axes):
        for place, name in zip(axes[0], names, strict=True):
            for height, result in zip(heights, results, strict=True):
                before, after = _figures(result, name)
                color = _COLORS[result.row.config.method]
                place.plot([before.mean(), after.mean()], [height] * 2, color=color, linewidth=0.8)
                place.scatter(before.mean(), height, s=22, facecolors="none", edgecolors=color)
                place.scatter(after, np.full(len(after), height), s=8, color=color, alpha=0.6)
                place.scatter(after.mean(), height, s=30, color=color, marker="|")
            place.set_xlabel(_BESIDE[name])
            place.set_yticks(heights, [result.row.name for result in results])
            place.tick_params(labelleft=place is axes[0, 0])
            if name == "norm_ratio":
                place.axvline(1.0, **_DASHED)
        figure.suptitle("before (circle) and after (dots, one a seed; bar, their mean)")
    return figure


def pareto(results: Sequence[Result], path: Any = None) -> Figure:
    """Reward against distance to data; what nothing beats in both is joined."""
    with plotting.figure(path, panel=(6.4, 3.8)) as (figure, axes):
        place = axes[0, 0]
        points = {}
        for result in results:
            etas = f"frozen model, eta {result.row.setting.sampler.eta:g}"
            if etas not in points:
                points[etas] = _point(result.outcome.before)
                place.scatter(*points[etas], marker="*", s=70, color="#444444", label=etas)
        for result in results:
            color = _COLORS[result.row.config.method]
            marker = _MARKERS[result.row.budget]
            rewards = result.outcome.after.rewards.mean(1)
            place.scatter(rewards, result.outcome.after.frechet, s=8, color=color, alpha=0.5)
            points[result.row.name] = _point(result.outcome.after)
            place.scatter(
                *points[result.row.name], s=45, color=color, marker=marker, label=result.row.name
            )
        best = _undominated(np.array(list(points.values())))
        place.plot(best[:, 0], best[:, 1], zorder=0, **_DASHED)
        place.set_yscale("log")
        place.set_xlabel("reward")
        place.set_ylabel("Fréchet distance to real images")
        figure.legend(*place.get_legend_handles_labels(), loc="outside right center", fontsize=8)
        figure.suptitle("reward against distance to data: right and down is better")
    return figure


def _asked(results: Sequence[Result]) -> str:
    return report.asked(results[0].row.config, results[0].row.setting)


def _figures(result: Result, name: str) -> tuple[np.ndarray, np.ndarray]:
    both = (result.outcome.before, result.outcome.after)
    before, after = (np.asarray(report.by_seed(evaluation)[name]) for evaluation in both)
    return before, after


def _point(evaluation: Evaluation) -> tuple[float, float]:
    assert evaluation.frechet is not None
    return float(evaluation.rewards.mean()), float(evaluation.frechet.mean())


def _undominated(points: np.ndarray) -> np.ndarray:
    """Of points f64[N, 2], those that none beats in reward (high) and distance (low), by reward."""
    order = points[np.argsort(-points[:, 0])]
    lowest = np.minimum.accumulate(order[:, 1])
    return order[order[:, 1] <= lowest]
