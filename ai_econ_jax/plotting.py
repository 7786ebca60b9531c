"""Figures: one look, files written atomically, curves with a band over seeds.

Everything goes through ``matplotlib.figure.Figure``, never ``pyplot``: no global state, no window,
no backend to choose, so it works in a launcher, a test and a notebook alike.
"""

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ai_econ_jax import statistics
from ai_econ_jax import workdir as workdir_lib

STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.dpi": 120,
    "font.size": 9,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}
# From the middle of a label's left side to its point.
_LEADER: dict[str, Any] = {
    "arrowstyle": "-",
    "linewidth": 0.6,
    "alpha": 0.6,
    "relpos": (0, 0.5),
}


@contextlib.contextmanager
def figure(
    path: str | os.PathLike | None = None,
    rows: int = 1,
    columns: int = 1,
    panel: tuple[float, float] = (4.0, 3.0),
) -> Iterator[tuple[Figure, np.ndarray]]:
    """Opens a figure; what is drawn in the ``with`` block is in the house style, then saved.

    Args:
        path: PNG to write when the block ends well, atomically, its folder created when missing;
            None writes nothing, for a notebook.
        rows: Panels down.
        columns: Panels across.
        panel: Width and height of one panel, in inches.

    Yields:
        The figure, and its axes as object[rows, columns].
    """
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        size = (panel[0] * columns, panel[1] * rows)
        drawn = Figure(figsize=size, layout="constrained")
        yield drawn, drawn.subplots(rows, columns, squeeze=False)
        if path is not None:
            buffer = io.BytesIO()
            drawn.savefig(buffer, format="png")
            target = pathlib.Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            workdir_lib.write_bytes(target, buffer.getvalue())


def learning_curve(axes: Axes, x: ArrayLike, y: ArrayLike, label: str | None = None) -> None:
    """Draws the mean over seeds with its 95 % confidence band.

    Args:
        axes: Where.
        x: f[T], what is on the horizontal axis.
        y: f[S, T], one curve per seed, or f[T]. A single seed gets no band.
        label: Name in the legend.
    """
    mean, half_width = statistics.mean_interval(np.atleast_2d(np.asarray(y)))
    (line,) = axes.plot(x, mean, label=label)
    if np.isfinite(half_width).any():
        low, high = mean - half_width, mean + half_width
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)  # type: ignore[arg-type]


def end_labels(
    axes: Axes,
    x: float,
    ends: Mapping[str, float],
    labels: Mapping[str, str],
    colors: Mapping[str, str],
    gap: float = 0.065,
) -> None:
    """Names lines beside their right ends, moved apart where they would overlap.

    Call it when the limits of the axes are final, whatever their scales.

    Args:
        axes: Where.
        x: Right end of the lines.
        ends: Name to height of each line there; beyond the limits, the nearer limit.
        labels: Name to what is written.
        colors: Name to colour.
        gap: Least distance of two labels, as a share of the axes' height.
    """
    ends = {name: np.clip(end, *axes.get_ylim()) for name, end in ends.items()}
    to_share = axes.transAxes.inverted()
    tops = {
        name: to_share.transform(axes.transData.transform((x, end)))[1]
        for name, end in ends.items()
    }
    names = sorted(tops, key=lambda name: tops[name])
    heights = np.asarray([tops[name] for name in names])
    for _ in range(100):  # push neighbours apart until all have room
        for i in np.flatnonzero(np.diff(heights) < 0.999 * gap):
            middle = heights[i : i + 2].mean()
            heights[i : i + 2] = middle - gap / 2, middle + gap / 2
        heights = np.clip(heights, 0, 1)
    for name, height in zip(names, heights, strict=True):
        axes.annotate(
            labels[name],
            (x, ends[name]),
            xytext=(1.08, height),
            textcoords="axes fraction",
            annotation_clip=False,
            color=colors[name],
            fontsize=8,
            va="center",
            arrowprops={**_LEADER, "color": colors[name]},
        )
