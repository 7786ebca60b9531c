"""What the learner carries from one update to the next, and what it goes through in one.

Axes: K runs, L steps, B environments, N workers, H heads of the planner.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax import advantages, ppo
from ai_econ_jax.agents.ai_economist.gather_trade_build.networks import Inputs, RoleCarry
from ai_econ_jax.agents.ai_economist.gather_trade_build.roles import Sequences
from ai_econ_jax.envs.gather_trade_build import Params
from ai_econ_jax.rollout import EnvironmentBatch


@struct.dataclass
class Carries:
    """What policies remember from one step to the next, one row per environment."""

    workers: RoleCarry  # f32[B, N, carry width] each
    planner: Any  # RoleCarry of f32[B, carry width]; None unless a planner learns
    planned: jax.Array  # i32[B, H], the action of a planner that does not act at every step


@struct.dataclass
class State:
    """All that the next update reads. ``environments`` is sharded over devices, the rest is not."""

    workers: ppo.PolicyState  # leaves [N, ...] where workers share no policy
    planner: Any  # ppo.PolicyState of a learned planner, Search of a search, else None
    environments: EnvironmentBatch
    stored_params: Params  # of the environment, see `env_params`
    episodes: dict[str, jax.Array]  # f32[] each, means over the episodes that ended last
    saez_shared: jax.Array  # i32[], see ``saez_pool.pool``
    key: jax.Array
    num_updates: jax.Array  # i32[], done so far

    @property
    def env_params(self) -> Params:
        """Parameters of the environment.

        Where a Saez elasticity is to be estimated it is NaN, for which the training loop would take
        the run for a diverged one; so infinity is stored.
        """
        elasticity = self.stored_params.saez_elasticity
        estimated = jnp.where(jnp.isinf(elasticity), jnp.nan, elasticity)
        return dataclasses.replace(self.stored_params, saez_elasticity=estimated)


@struct.dataclass
class Experience:
    """What one role goes through in an update, ``[K, L, B, ...]``, N behind B for workers."""

    inputs: Inputs
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    first: jax.Array  # bool[K, L, B]
    terminated: jax.Array  # bool[K, L, B]
    carry: RoleCarry  # [K, B, ...], before each run


def estimate(
    experience: Experience, bootstrap: jax.Array, gamma: float, lambda_: float
) -> tuple[jax.Array, jax.Array]:
    """Advantages and value targets [K, L, B, ...]."""
    shape = experience.value.shape

    def over_time(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(-1, *leaf.shape[2:])

    value = over_time(experience.value)
    terminated = over_time(experience.terminated)
    terminated = jnp.broadcast_to(
        terminated.reshape(terminated.shape + (1,) * (value.ndim - terminated.ndim)), value.shape
    )
    advantage, target = advantages.generalized_advantage_estimation(
        over_time(experience.reward),
        value,
        jnp.concatenate([value[1:], bootstrap[None]]),
        terminated,
        jnp.zeros_like(terminated),
        gamma,
        lambda_,
    )
    return advantage.reshape(shape), target.reshape(shape)


def each_worker(batch: ppo.Batch) -> ppo.Batch:
    """Gives ``first`` the axis of workers: then all leaves are [K, L, B, N, ...]."""
    inputs, first = batch.observation
    first = jnp.broadcast_to(first[..., None], batch.action.shape)
    return dataclasses.replace(batch, observation=(inputs, first))


def fold_workers(tree: Any, axis: int = 2) -> Any:
    """Makes one axis of environments and workers, [.., B, N, ...] to [.., B * N, ...]."""
    if isinstance(tree, ppo.Batch):
        tree = each_worker(tree)

    def fold(leaf: jax.Array) -> jax.Array:
        before, (size, each), after = leaf.shape[:axis], leaf.shape[axis : axis + 2], leaf.shape
        return leaf.reshape(*before, size * each, *after[axis + 2 :])

    return jax.tree.map(fold, tree)


def rows(batch: ppo.Batch, carry: RoleCarry) -> ppo.Batch:
    """From [K, L, B, ...] to [K, B, L, ...], in which a run of steps is one sample of ``ppo``."""
    batch = jax.tree.map(lambda leaf: leaf.swapaxes(1, 2), batch)
    inputs, first = batch.observation
    return dataclasses.replace(batch, observation=Sequences(inputs, first, carry))
