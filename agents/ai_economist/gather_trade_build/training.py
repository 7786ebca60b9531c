"""The stages of an experiment: phase 1 once, then phase 2 for each lane, all seeds side by side.

A stage has a work directory of its own below the main one, and resumes by itself. Axes: S seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

import jax
from jax.sharding import PartitionSpec

from ai_econ_jax import checkpoint, sharding
from ai_econ_jax.agents.ai_economist import stage
from ai_econ_jax.agents.ai_economist.gather_trade_build.experiment import (
    ExperimentConfig,
    Lane,
    build_learner,
    build_params,
    init_states,
    lanes,
)
from ai_econ_jax.agents.ai_economist.gather_trade_build.learner import TwoLevel
from ai_econ_jax.agents.ai_economist.gather_trade_build.state import State
from ai_econ_jax.workdir import Workdir, read_rows

PHASE1 = "phase1"


@dataclasses.dataclass(frozen=True)
class Trained:
    """One stage when it is done."""

    lane: Lane
    learner: TwoLevel
    states: State  # leaves [S, ...]
    rows: list[dict[str, Any]]  # logged, as loop.train gives them


def train_phase1(config: ExperimentConfig, workdir: Workdir | None = None) -> Trained | None:
    """Workers learn in the free market, while the cost of labor warms up.

    Returns:
      The stage, or None where there is no phase 1.
    """
    if config.learning.updates(1) == 0:
        return None
    return _train(config, free_market(config), 1, PHASE1, None, workdir)


def train_lane(
    config: ExperimentConfig, lane: Lane, workers: Any, workdir: Workdir | None = None
) -> Trained:
    """Workers, and the planner where there is one, learn under a tax model.

    Args:
      config: The experiment.
      lane: The tax model.
      workers: Parameters [S, ...] of workers from phase 1, None for fresh ones; of phase 1 nothing
        else is taken over.
      workdir: The experiment's.

    Raises:
      ValueError: There is nothing to do in phase 2.
    """
    if config.learning.updates(2) == 0:
        raise ValueError("field learning.phase2_steps = 0: nothing to learn under a tax model")
    return _train(config, lane, 2, lane.name, workers, workdir)


def restore_stage(
    config: ExperimentConfig, lane: Lane, phase: int, directory: pathlib.Path
) -> Trained:
    """Reads a finished stage from its work directory.

    Raises:
      FileNotFoundError: No checkpoint there.
      CheckpointError: It has other shapes; the message names both.
    """
    learner = build_learner(config, lane, phase)
    params = build_params(config, learner.environment, lane, phase)
    template = jax.eval_shape(
        functools.partial(init_states, config, learner, phase=phase), params=params
    )
    place = Workdir(directory, writes=False)
    _, states = checkpoint.restore(place.checkpoints, template)
    return Trained(lane, learner, states, read_rows(place.metrics))


def free_market(config: ExperimentConfig) -> Lane:
    """The lane of phase 1."""
    return lanes(config, "free_market")[0]


def state_specs() -> Any:
    """How states [S, ...] lie over devices: environments are shared out, the rest is everywhere."""
    everywhere: Any = {field.name: PartitionSpec() for field in dataclasses.fields(State)}
    return State(**everywhere | {"environments": PartitionSpec(None, sharding.AXIS)})


def _train(
    config: ExperimentConfig,
    lane: Lane,
    phase: int,
    name: str,
    workers: Any,
    workdir: Workdir | None,
) -> Trained:
    stage.check_devices(config.learning.num_environments, jax.device_count())
    learner = build_learner(config, lane, phase)
    params = build_params(config, learner.environment, lane, phase)
    states = init_states(config, learner, params, phase, workers)
    place = None
    if workdir is not None:
        place = dataclasses.replace(workdir, path=workdir.path / name)
        if place.writes:
            pathlib.Path(place.path).mkdir(exist_ok=True)
    print(f"{name}: {config.num_seeds} seeds x {learner.num_updates} updates", flush=True)

    def update(states: State, axis_name: str | None) -> Any:
        return jax.vmap(functools.partial(learner.update, axis_name=axis_name))(states)

    states, rows = stage.learn(
        update,
        states,
        state_specs(),
        num_updates=learner.num_updates,
        updates_per_segment=config.updates_per_segment,
        workdir=place,
        progress_metric="utility" if phase == 1 else "equality_times_productivity",
    )
    return Trained(lane, learner, states, rows)
