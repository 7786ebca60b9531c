"""All tax models on the same seeds and the same budget, workers adapted to each.

Axes: S seeds, E episodes, W welfare functions.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ai_econ_jax import workdir as workdir_lib
from ai_econ_jax.agents.ai_economist.gather_trade_build.evaluation import (
    Episodes,
    Evaluation,
    evaluate,
)
from ai_econ_jax.agents.ai_economist.gather_trade_build.experiment import (
    WELFARE_NAMES,
    ExperimentConfig,
    lanes,
)
from ai_econ_jax.agents.ai_economist.gather_trade_build.training import (
    PHASE1,
    Trained,
    train_lane,
    train_phase1,
)
from ai_econ_jax.envs.gather_trade_build.episode_log import EpisodeLog
from ai_econ_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class LaneResult:
    """One lane; arrays of float64."""

    episodes: Episodes  # NumPy leaves [S, E, ...]
    welfare: np.ndarray  # [S, W], means over episodes
    equality: np.ndarray  # [S]
    log: EpisodeLog  # one episode of the first seed


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What ``compare`` returns. Rows of training are as ``loop.train`` gives them."""

    config: ExperimentConfig
    phase1: LaneResult | None  # the workers of phase 1, before they meet a tax model
    lanes: Mapping[str, LaneResult]
    lanes_of: Mapping[str, tuple[str, ...]]  # tax model to its lanes
    rows: Mapping[str, list[dict[str, Any]]]  # by stage

    def chosen(self, tax_model: str, goal: str) -> str:
        """The lane of a tax model that is best for a welfare function, in the mean over seeds."""
        names = self.lanes_of[tax_model]
        column = WELFARE_NAMES.index(goal)
        return max(names, key=lambda name: self.lanes[name].welfare[:, column].mean())

    def welfare(self, tax_model: str) -> np.ndarray:
        """[S, W]; where a tax model has several lanes, each function shows its best."""
        columns = [
            self.lanes[self.chosen(tax_model, goal)].welfare[:, w]
            for w, goal in enumerate(WELFARE_NAMES)
        ]
        return np.stack(columns, axis=1)

    def result(self, tax_model: str) -> LaneResult:
        """The lane that is best for the planner's goal."""
        return self.lanes[self.chosen(tax_model, self.config.welfare)]


def compare(config: ExperimentConfig, workdir: Workdir | None = None) -> Comparison:
    """Run the comparison; with a work directory it resumes where it was killed."""
    rows: dict[str, list[dict[str, Any]]] = {}
    trained = train_phase1(config, workdir)
    workers, phase1 = None, None
    if trained is not None:
        rows[PHASE1] = trained.rows
        workers = trained.states.workers.params
        phase1 = result_of(config, trained)
    results: dict[str, LaneResult] = {}
    lanes_of = {}
    for tax_model in config.tax_models:
        members = lanes(config, tax_model)
        lanes_of[tax_model] = tuple(lane.name for lane in members)
        for lane in members:
            trained = train_lane(config, lane, workers, workdir)
            rows[lane.name] = trained.rows
            results[lane.name] = result_of(config, trained)
    if workdir is not None and workdir.writes:
        lines = [json.dumps({"stage": stage, **row}) for stage in rows for row in rows[stage]]
        workdir_lib.write_bytes(workdir.metrics, "".join(f"{line}\n" for line in lines).encode())
    return Comparison(config, phase1, results, lanes_of, rows)


def result_of(config: ExperimentConfig, trained: Trained) -> LaneResult:
    """Evaluates one stage."""
    evaluation: Evaluation = evaluate(
        trained, config.num_evaluation_episodes, config.economy.tax_period
    )
    episodes, gini_mode = evaluation.episodes, config.economy.gini_mode
    values = episodes.welfare(gini_mode)
    return LaneResult(
        episodes=episodes,
        welfare=np.stack([values[name].mean(-1) for name in WELFARE_NAMES], axis=1),
        equality=episodes.equality(gini_mode).mean(-1),
        log=evaluation.log,
    )
