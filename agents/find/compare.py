"""All methods on one model and prompt, at equal images and at equal forward-equivalents. Spec 4.

A row of the comparison is one method with one budget. Axes: R seeds, U updates of a run.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.find import experiment
from ai_econ_jax.agents.find.experiment import Evaluation, Outcome
from ai_econ_jax.agents.find.experiment_config import METHODS, PRESETS, ExperimentConfig
from ai_econ_jax.agents.find.setting import Setting, for_method, make_setting
from ai_econ_jax.workdir import Workdir, open_workdir, read_rows

REFERENCE = "ddpo"  # whose reward the others are to reach
NO_DISTRIBUTION = ("best_of_n", "reno")  # they end with one image, and do not get better at drawing
_WINDOW_IMAGES = 64  # over which the rewards of a run are averaged before they are compared


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Which methods, and with how many images each."""

    methods: tuple[str, ...] = tuple(METHODS)
    images: int = 320  # of every method
    equal_forwards: bool = True  # what costs more than a pass a step: also with fewer images
    long_images: int = 0  # of methods that learn a distribution, in a second run; 0: none
    run: ExperimentConfig = ExperimentConfig()  # `method` and all `images` are not read

    def validate(self) -> None:
        """Check names and ranges, and that every method can do with the images."""
        config_lib.check(bool(self.methods), "methods", self.methods, "must name a method")
        for method in self.methods:
            config_lib.check_one_of("methods", method, tuple(METHODS))
        config_lib.check(
            len(set(self.methods)) == len(self.methods),
            "methods",
            self.methods,
            "names one twice",
        )
        for field in ("images", "long_images"):
            images = getattr(self, field)
            for method in self.methods:
                batch = getattr(self.run, method).batch_size
                config_lib.check(
                    images >= batch or (field == "long_images" and images == 0),
                    field,
                    images,
                    f"must be at least {batch}, the batch_size of {method}",
                )


COMPARE_PRESETS = {name: CompareConfig(run=preset) for name, preset in PRESETS.items()}


@dataclasses.dataclass(frozen=True)
class Row:
    """One method with one budget."""

    name: str
    config: ExperimentConfig
    setting: Setting  # one for all rows of a method
    budget: str  # images, forwards or long: what it is equal in


@dataclasses.dataclass(frozen=True)
class Result:
    """What a row left."""

    row: Row
    outcome: Outcome
    rewards: NDArray  # f64[R, U], mean of each batch
    run_seconds: float  # of all updates of all seeds, without compilation; NaN: not known
    update_bytes: int  # see `experiment.update_bytes`

    @property
    def batch_size(self) -> int:
        """Images of an update."""
        return self.row.config.settings.batch_size

    @property
    def images(self) -> NDArray:
        """i64[U], drawn up to the end of each update."""
        return (1 + np.arange(self.rewards.shape[1])) * self.batch_size

    @property
    def window(self) -> int:
        """Updates whose rewards are averaged: of 64 images, or all where there are fewer."""
        return min(max(1, round(_WINDOW_IMAGES / self.batch_size)), self.rewards.shape[1])

    def smooth(self) -> NDArray:
        """f64[R, U]: `rewards`, each the mean over the window up to it, as far as there is one."""
        total = np.cumsum(np.pad(self.rewards, ((0, 0), (1, 0))), axis=1)
        last = 1 + np.arange(self.rewards.shape[1])
        first = np.maximum(last - self.window, 0)
        return (total[:, last] - total[:, first]) / (last - first)


@dataclasses.dataclass(frozen=True)
class Reached:
    """When the mean over seeds of a method's smoothed reward first is that of the reference."""

    images: int
    forward_equivalents: float
    seconds: float  # of all seeds side by side, by their number, without compilation; NaN: unknown


def plan(config: CompareConfig) -> list[Row]:
    """The rows of a comparison, methods in their order, budgets in that of `Row.budget`.

    Raises:
      ValueError: As `make_setting`; settings that do not fit the model.
    """
    rows = []
    # Loaded once: models, and what their rewards are normalised by, may be large and slow to make.
    loaded = make_setting(dataclasses.replace(config.run, method=config.methods[0]))
    for method in config.methods:
        own = dataclasses.replace(config.run, method=method)
        setting = for_method(loaded, own)
        forwards = config.images * setting.sampler.forwards_per_image
        first = experiment.with_images(own, config.images)
        rows.append(Row(method, first, setting, "images"))
        fewer = experiment.images_of(own, setting, forwards)
        if config.equal_forwards and fewer < first.settings.images:
            few = experiment.with_images(own, fewer)
            rows.append(Row(f"{method}_equal_forwards", few, setting, "forwards"))
        if config.long_images and method not in NO_DISTRIBUTION:
            long = experiment.with_images(own, config.long_images)
            rows.append(Row(f"{method}_{config.long_images}", long, setting, "long"))
    return rows


def compare(
    rows: list[Row],
    workdir: Workdir,
    say: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Runs all rows, each in a work directory of its own, where a killed comparison goes on.

    Args:
      rows: From `plan`.
      workdir: Of the comparison; that of a row is a folder in it.
      say: Told before and after each row.
    """
    results = []
    before: dict[float, Evaluation] = {}  # by eta
    paces: dict[str, float] = {}  # of methods; a row that was killed may know none: NaN
    needed: dict[str, int] = {}
    for index, row in enumerate(rows, 1):
        setting, eta = row.setting, row.setting.sampler.eta
        started = time.perf_counter()
        with open_workdir(workdir.path / row.name, row.config) as place:
            outcome = experiment.run(row.config, setting, place, before.get(eta))
            curves = [logged["seeds"]["reward"] for logged in read_rows(place.metrics)]
            pace = _pace(read_rows(place.timing), outcome.method.num_updates)
        before[eta] = outcome.before
        method = row.config.method
        paces[method] = float(np.fmin(pace, paces.get(method, np.nan)))
        if method not in needed:
            needed[method] = experiment.update_bytes(outcome.method, setting)
        results.append(Result(row, outcome, np.asarray(curves, np.float64).T, 0.0, 0))
        say(
            f"{index}/{len(rows)} {row.name}: reward {outcome.before.rewards.mean():.3f} -> "
            f"{outcome.after.rewards.mean():.3f}, {time.perf_counter() - started:.0f} s"
        )
    return [
        dataclasses.replace(
            result,
            run_seconds=paces[result.row.config.method] * result.rewards.shape[1],
            update_bytes=needed[result.row.config.method],
        )
        for result in results
    ]


def reference_level(results: list[Result], budget: str) -> float | None:
    """The smoothed reward with which the reference ends a budget; None where it was not run."""
    for result in results:
        if result.row.config.method == REFERENCE and result.row.budget == budget:
            return float(result.smooth().mean(0)[-1])
    return None


def reaching(result: Result, level: float) -> Reached | None:
    """When a row first reaches a reward; None where it never does, or learns no distribution.

    Full windows alone count: the mean of fewer images is more often high by chance.
    """
    if result.row.config.method in NO_DISTRIBUTION:
        return None
    smooth = result.smooth().mean(0)
    there = (smooth >= level) & (np.arange(len(smooth)) >= result.window - 1)
    if not there.any():
        return None
    update = int(np.argmax(there))
    share = (update + 1) / len(smooth)
    return Reached(
        images=int(result.images[update]),
        forward_equivalents=share * result.outcome.method.forward_equivalents,
        seconds=share * result.run_seconds / len(result.rewards),
    )


def _pace(timing: list[dict[str, Any]], num_updates: int) -> float:
    """Seconds of an update in the fastest segment, which compiled nothing unless it was alone.

    A kill may have left a segment without its row, so two rows may be two segments apart.
    """
    seconds = min((row["segment_seconds"] for row in timing), default=np.nan)
    return seconds / experiment.updates_per_segment(num_updates)
