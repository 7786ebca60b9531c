"""Figures of an episode for papers: one state as PNG, the whole of it as an animated GIF."""

import dataclasses
import os
import pathlib

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image

from ai_econ_jax import plotting
from ai_econ_jax.envs.gather_trade_build.episode_log import EpisodeLog
from ai_econ_jax.envs.gather_trade_build.replay import palette

_THEME = "light"
_INK, _MUTED = "#1d2126", "#636a73"
# Shapes in a cell: x to the right, y down, both in [0, 1].
_STONE = (
    (0.16, 0.72),
    (0.22, 0.42),
    (0.46, 0.24),
    (0.74, 0.34),
    (0.86, 0.62),
    (0.76, 0.8),
    (0.28, 0.8),
)
_TREE = (
    (0.5, 0.1),
    (0.84, 0.76),
    (0.55, 0.76),
    (0.55, 0.9),
    (0.45, 0.9),
    (0.45, 0.76),
    (0.16, 0.76),
)
_HOUSE = (
    (0.5, 0.1),
    (0.94, 0.48),
    (0.82, 0.48),
    (0.82, 0.9),
    (0.18, 0.9),
    (0.18, 0.48),
    (0.06, 0.48),
)
_RESOURCE_SHAPES = (np.array(_STONE), np.array(_TREE))
_WORKER = 0.5 + 0.4 * np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 33)), np.sin(np.linspace(0, 2 * np.pi, 33))], axis=-1
)
_MOST_NAMED = 10  # workers in a legend
_MOST_COLORS = 256  # of a GIF


@dataclasses.dataclass
class _Scene:
    """A figure of one state, and the artists that change from state to state."""

    log: EpisodeLog
    figure: Figure
    units: list[PolyCollection]
    houses: PolyCollection
    workers: PolyCollection
    numbers: list[Text]
    trades: list[Line2D]
    lines: list[tuple[Line2D, np.ndarray]]  # each with its series f32[S]
    cursors: list[Line2D]
    bars: BarContainer
    map_title: Text

    def show(self, state: int) -> None:
        """Moves everything to a state."""
        log = self.log
        for kind, drawn in enumerate(self.units):
            cells = np.argwhere(log.resources[state, kind] > 0)
            drawn.set_verts(_placed(_RESOURCE_SHAPES[kind % 2], cells))
        cells = np.argwhere(log.house_owner[state] >= 0)
        colors = np.array(palette.worker_colors(log.num_workers, _THEME))
        self.houses.set_verts(_placed(np.array(_HOUSE), cells))
        self.houses.set_facecolor(list(colors[log.house_owner[state][tuple(cells.T)]]))
        self.workers.set_verts(_placed(_WORKER, log.location[state]))
        for number, (row, column) in zip(self.numbers, log.location[state], strict=True):
            number.set_position((column + 0.5, row + 0.52))
        self._show_trades(state)
        for line, series in self.lines:
            line.set_data(np.arange(state + 1), series[: state + 1])
        for cursor in self.cursors:
            cursor.set_xdata([state, state])
        for bar, rate in zip(self.bars, log.rates[state], strict=True):
            bar.set_height(100 * rate)
        year = min(int(np.searchsorted(log.year_step, max(state, 1))), max(len(log.year_step), 1))
        self.map_title.set_text(f"step {state} of {log.num_steps}, year {year + 1}")

    def _show_trades(self, state: int) -> None:
        """Dashed lines between those who trade in this step; as many as there are artists."""
        log = self.log
        happened = np.flatnonzero(log.trade_step == state)
        for line in self.trades:
            line.set_data([], [])
        for line, trade in zip(self.trades, happened, strict=False):
            ends = log.location[state, [log.trade_seller[trade], log.trade_buyer[trade]]] + 0.5
            line.set_data(ends[:, 1], ends[:, 0])

    def image(self) -> Image.Image:
        """The figure as it is now, in RGB."""
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def save_still(log: EpisodeLog, path: str | os.PathLike, state: int, dpi: int = 200) -> None:
    """Writes the figure of one state as PNG.

    Raises:
      ValueError: The episode has no such state.
    """
    if not 0 <= state <= log.num_steps:
        raise ValueError(f"step {state} is not in the episode, must be in 0 to {log.num_steps}")
    target = _target(path)
    with matplotlib.rc_context(plotting.STYLE):  # type: ignore[arg-type]
        scene = _make_scene(log, dpi)
        scene.show(state)
        scene.image().save(target, dpi=(dpi, dpi), optimize=True)


def save_film(
    log: EpisodeLog, path: str | os.PathLike, every: int = 5, frame_rate: float = 12, dpi: int = 80
) -> None:
    """Writes the episode as an animated GIF that repeats.

    Args:
      log: The episode.
      path: Where to.
      every: Steps from one frame to the next; the last state is always shown.
      frame_rate: Frames per second.
      dpi: Dots per inch; the figure is 10 by 5.6 inches.

    Raises:
      ValueError: ``every`` or ``frame_rate`` is not positive.
    """
    for name, value in (("every", every), ("frame_rate", frame_rate)):
        if not value > 0:
            raise ValueError(f"{name} is {value}, must be positive")
    target = _target(path)
    states = sorted({*range(0, log.num_steps + 1, every), log.num_steps})
    with matplotlib.rc_context(plotting.STYLE):  # type: ignore[arg-type]
        scene = _make_scene(log, dpi)
        # One palette for all frames, from the last, where everything is in sight.
        scene.show(log.num_steps)
        colors = scene.image().quantize(_MOST_COLORS)
        frames = []
        for state in states:
            scene.show(state)
            frames.append(scene.image().quantize(palette=colors, dither=Image.Dither.NONE))
    frames[0].save(
        target, save_all=True, append_images=frames[1:], duration=round(1000 / frame_rate), loop=0
    )


def _target(path: str | os.PathLike) -> pathlib.Path:
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _placed(shape: np.ndarray, cells: np.ndarray) -> list[np.ndarray]:
    """The shape's corners [C, 2] moved into each cell (row, column)."""
    return [shape + cell[::-1] for cell in cells]


def _make_scene(log: EpisodeLog, dpi: int) -> _Scene:
    figure = Figure(figsize=(10, 5.6), dpi=dpi, layout="constrained")
    axes = figure.subplot_mosaic(
        [["map", "coin"], ["map", "labor"], ["map", "income"], ["map", "rates"]],
        width_ratios=[1.35, 1],
    )
    lines, cursors = [], []
    for name, title, series in (
        ("coin", "coin", log.total_coin),
        ("labor", "labor", log.labor),
        ("income", "income of the tax year so far", log.income),
    ):
        drawn, cursor = _draw_series(axes[name], title, series)
        lines += drawn
        cursors.append(cursor)
        axes[name].tick_params(labelbottom=name == "income")
    if log.num_workers <= _MOST_NAMED:
        axes["coin"].legend(
            loc="lower left", bbox_to_anchor=(0.25, 0.96), ncols=log.num_workers, title="worker",
            title_fontsize="small", fontsize="small", handlelength=1, columnspacing=1,
        )  # fmt: skip
    scene = _Scene(
        log, figure, **_draw_map(axes["map"], log), lines=lines, cursors=cursors,
        bars=_draw_rates(axes["rates"], log), map_title=axes["map"].set_title("", loc="left"),
    )  # fmt: skip
    scene.show(log.num_steps)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # panels stay where they are in all frames
    return scene


def _draw_map(axes: Axes, log: EpisodeLog) -> dict:
    """The ground, and the artists of what stands and moves on it."""
    height, width = log.water.shape
    terrain, shades = palette.TERRAIN[_THEME], palette.RESOURCES[_THEME]
    colors = palette.worker_colors(log.num_workers, _THEME)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[])
    axes.set_facecolor(terrain["ground"])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    square = np.array(((0, 0), (1, 0), (1, 1), (0, 1)))
    water = _placed(square, np.argwhere(log.water))
    axes.add_collection(PolyCollection(water, facecolors=terrain["water"], edgecolors="face"))
    units = []
    for kind in range(len(log.sources)):
        shape, shade = _RESOURCE_SHAPES[kind % 2], shades[kind % 2][0]
        empty = _placed(shape, np.argwhere(log.sources[kind]))
        axes.add_collection(PolyCollection(empty, facecolors=shade, alpha=0.22, linewidths=0))
        units.append(PolyCollection([], facecolors=shade, linewidths=0))
        axes.add_collection(units[-1])
    houses = PolyCollection([], linewidths=0)
    workers = PolyCollection([], facecolors=colors, edgecolors="white", linewidths=0.8)
    axes.add_collection(houses)
    trades = [
        axes.plot([], [], color=_INK, linestyle="--", linewidth=1)[0]
        for _ in range(np.bincount(log.trade_step, minlength=1).max(initial=0))
    ]
    axes.add_collection(workers)
    workers.set_zorder(4)
    numbers = [
        axes.text(0, 0, str(worker), color="white", fontsize=190 / max(height, width), zorder=5,
                  fontweight="bold", ha="center", va="center")
        for worker in range(log.num_workers)
    ]  # fmt: skip
    return {
        "units": units, "houses": houses, "workers": workers, "numbers": numbers, "trades": trades,
    }  # fmt: skip


def _draw_series(
    axes: Axes, title: str, series: np.ndarray
) -> tuple[list[tuple[Line2D, np.ndarray]], Line2D]:
    """Lines of a series f32[S, N], faint over the whole episode, bright up to the state shown."""
    steps = np.arange(len(series))
    lines = []
    for worker, color in enumerate(palette.worker_colors(series.shape[1], _THEME)):
        axes.plot(steps, series[:, worker], color=color, alpha=0.2, linewidth=1)
        (line,) = axes.plot([], [], color=color, linewidth=1.3, label=str(worker))
        lines.append((line, series[:, worker]))
    axes.set_title(title, loc="left")
    axes.set_xlim(0, max(len(series) - 1, 1))
    return lines, axes.axvline(0, color=_MUTED, linewidth=0.8)


def _draw_rates(axes: Axes, log: EpisodeLog) -> BarContainer:
    brackets = np.arange(len(log.cutoffs))
    bars = axes.bar(brackets, np.zeros(len(brackets)), color="#d9d4c7", width=0.94, align="edge")
    axes.set_axisbelow(True)
    axes.grid(False, axis="x")
    axes.set_title("marginal rate (%) by income from", loc="left")
    axes.set_xticks(brackets, [f"{cutoff:.0f}" for cutoff in log.cutoffs])
    axes.set_ylim(0, 100 * max(0.4, float(log.rates.max())) * 1.05)
    return bars
