"""One two-level training: phases 1 and 2 in one run, all seeds side by side, and its restoration.

Axes: S seeds, W welfare functions.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ai_econ_jax import checkpoint
from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.ai_economist import stage
from ai_econ_jax.agents.ai_economist.experiment import (
    WELFARE_NAMES,
    ExperimentConfig,
    build_economy,
    schedule_of,
    seed_keys,
)
from ai_econ_jax.agents.ai_economist.stage import check_devices
from ai_econ_jax.agents.ai_economist.two_level import TwoLevel, TwoLevelState
from ai_econ_jax.envs.one_step_economy import EconomyParams
from ai_econ_jax.envs.one_step_economy.environment import (
    OneStepEconomy,
    OneStepParams,
    one_step_params,
)
from ai_econ_jax.workdir import Workdir, read_rows


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained pair of levels."""

    learner: TwoLevel
    economy: EconomyParams
    states: TwoLevelState  # leaves [S, ...]
    rows: list[dict[str, Any]]  # logged, as loop.train gives them; lane s is seed s


def train(
    config: ExperimentConfig,
    workdir: Workdir | None = None,
    welfare_weights: Mapping[str, float] | None = None,
) -> Trained:
    """Trains workers on random schedules, then both levels; with a work directory it resumes.

    Args:
      config: The experiment; ``config.tax`` other than ``planner`` trains workers alone.
      workdir: Where metrics and checkpoints go.
      welfare_weights: Weight of each welfare function in the planner's goal, in place of
        ``config.welfare``; absent ones weigh 0.

    Raises:
      ValueError: The config leaves nothing to learn, or names something that does not exist.
    """
    learner, params = _set_up(config)
    if not learner.has_planner and config.learning.worker_kind == "exact":
        raise ValueError(
            f"nothing learns: workers are exact and tax = {config.tax!r} is a given schedule"
        )
    if welfare_weights is not None:
        params = dataclasses.replace(params, welfare_weights=_weights(welfare_weights))
    states = jax.jit(jax.vmap(learner.init, (0, None)))(seed_keys(config), params)
    metric = "welfare" if learner.has_planner else "utility"
    states, rows = learn(learner, states, config.updates_per_segment, workdir, metric)
    return Trained(learner, params.economy, states, rows)


def learn(
    learner: TwoLevel,
    states: TwoLevelState,
    updates_per_segment: int,
    workdir: Workdir | None,
    progress_metric: str,
) -> tuple[TwoLevelState, list[dict[str, Any]]]:
    """Runs the training loop on lanes that learn side by side.

    Returns:
      The final states, on the host, and the rows of metrics, with those from before a restart.
    """
    check_devices(learner.config.num_environments, jax.device_count())

    def update(states: TwoLevelState, axis_name: str | None) -> Any:
        return jax.vmap(functools.partial(learner.update, axis_name=axis_name))(states)

    # An update plays whole episodes: no environment is in the state, which is the same everywhere.
    return stage.learn(
        update,
        states,
        PartitionSpec(),
        num_updates=learner.num_updates,
        updates_per_segment=updates_per_segment,
        workdir=workdir,
        progress_metric=progress_metric,
    )


def restore(directory: pathlib.Path, config: ExperimentConfig) -> Trained:
    """Reads the newest whole checkpoint of a training run.

    Args:
      directory: The run's work directory.
      config: The run's config, as ``read_config`` gives it, or one that changes the economy but not
        the shapes: the states are then set into the economy of ``config``.

    Raises:
      FileNotFoundError: No checkpoint.
      CheckpointError: The checkpoint has other shapes; the message names both.
    """
    learner, params = _set_up(config)
    init = jax.vmap(learner.init, (0, None))
    template = jax.eval_shape(init, seed_keys(config), params)
    place = Workdir(directory, writes=False)
    _, states = checkpoint.restore(place.checkpoints, template)
    in_economy = jax.vmap(lambda state: dataclasses.replace(state, env_params=params))
    return Trained(learner, params.economy, in_economy(states), read_rows(place.metrics))


def read_config(directory: pathlib.Path) -> ExperimentConfig:
    """The config of the training run in a work directory.

    Raises:
      FileNotFoundError: No such directory, or it is no work directory.
      ValueError: It holds another kind of run.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"restore directory {directory} does not exist")
    file = directory / "config.json"
    if not file.exists():
        raise FileNotFoundError(f"restore directory {directory} holds no config.json")
    try:
        record = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error})") from None
    mode = record.get("arguments", {}).get("mode")
    if mode != "train":
        raise ValueError(f"restore directory {directory} holds a run of mode {mode}, needs train")
    return config_lib.from_dict(ExperimentConfig, record["config"])


def _set_up(config: ExperimentConfig) -> tuple[TwoLevel, OneStepParams]:
    economy = build_economy(config.economy)
    rates = schedule_of(config, economy)
    environment = OneStepEconomy(config.rate_step)
    learner = TwoLevel(config.learning, environment, economy, has_planner=rates is None)
    return learner, one_step_params(economy, config.welfare, fixed_rates=rates)


def _weights(named: Mapping[str, float]) -> jax.Array:
    unknown = named.keys() - set(WELFARE_NAMES)
    if unknown:
        raise ValueError(
            f"welfare function {min(unknown)!r} is unknown; valid: {', '.join(WELFARE_NAMES)}"
        )
    return jnp.asarray([named.get(name, 0.0) for name in WELFARE_NAMES], jnp.float32)
