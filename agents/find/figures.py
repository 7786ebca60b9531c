"""Figures of a run: images before and after, and what happened on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ai_econ_jax import plotting
from ai_econ_jax.agents.find import report
from ai_econ_jax.agents.find.experiment import Outcome
from ai_econ_jax.agents.find.experiment_config import ExperimentConfig
from ai_econ_jax.agents.find.setting import Setting
from ai_econ_jax.workdir import Workdir, read_rows

_ROWS, _COLUMNS = 4, 8  # of images, before and after each


def write_figures(
    config: ExperimentConfig, setting: Setting, outcome: Outcome, workdir: Workdir
) -> None:
    """Draws all figures into the work directory."""
    if not workdir.writes:
        return
    rows = read_rows(workdir.metrics)
    learning(config, setting, rows, workdir.figures / "learning.png")
    if len(setting.model.latent_shape) > 2:
        before_after(config, setting, outcome, workdir.figures / "before_after.png")


def before_after(
    config: ExperimentConfig, setting: Setting, outcome: Outcome, path: Any = None
) -> Figure:
    """Images of the first seed, each pair from the same standard normal numbers."""
    panels = (("before", outcome.before), (f"after {config.method}", outcome.after))
    with plotting.figure(path, columns=2, panel=(4.0, 2.5)) as (figure, axes):
        for place, (name, evaluation) in zip(axes[0], panels, strict=True):
            place.imshow(tiles(evaluation.images[0]), cmap="gray", vmin=0, vmax=1)
            place.set_axis_off()
            told = f"{name}: reward {evaluation.rewards[0].mean():.2f}"
            if evaluation.success is not None:
                told += f", success {evaluation.success[0].mean():.0%}"
            place.set_title(told)
        figure.suptitle(f"{report.asked(config, setting)}, seed {config.seed}")
    return figure


def learning(
    config: ExperimentConfig, setting: Setting, rows: list[dict[str, Any]], path: Any = None
) -> Figure:
    """Mean reward of each batch, and how far its noise is from the shell of N(0, I)."""
    images = np.array([row["update"] for row in rows]) * config.settings.batch_size
    with plotting.figure(path, columns=2, panel=(4.0, 2.8)) as (figure, axes):
        for place, name, label in zip(
            axes[0],
            ("reward", "norm_ratio"),
            ("reward of a batch", "E|z|²/D of the noise"),
            strict=True,
        ):
            curves = np.array([row["seeds"][name] for row in rows]).T
            plotting.learning_curve(place, images, curves)
            place.set_xlabel("images drawn")
            place.set_ylabel(label)
        axes[0, 1].axhline(1.0, color="#444444", linewidth=0.8, linestyle=(0, (2, 2)))
        seeds = "one seed" if config.num_seeds == 1 else f"mean of {config.num_seeds} seeds, 95 %"
        figure.suptitle(f"{config.method} on {setting.name}: {seeds}")
    return figure


def tiles(images: np.ndarray, rows: int = _ROWS, columns: int = _COLUMNS) -> np.ndarray:
    """The first images [N, H, W, C] in [-1, 1] as one picture in [0, 1].

    Of clips [N, F, H, W, C] each is a row of its frames.
    """
    if images.ndim == 5:
        columns = images.shape[1]
        images = images[:rows].reshape(-1, *images.shape[2:])
    shown = images[: rows * columns]
    height, width, channels = shown.shape[1:]
    sheet = np.ones((rows, columns, height + 1, width + 1, channels))
    for i, image in enumerate(shown):
        sheet[i // columns, i % columns, :height, :width] = (image + 1) / 2
    sheet = sheet.transpose(0, 2, 1, 3, 4)
    return sheet.reshape(rows * (height + 1), columns * (width + 1), channels)
