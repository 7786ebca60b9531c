"""Rollouts: a policy and a batch of environments, scanned over time.

Randomness is drawn per environment from its *global* index, so the same experience comes out
whether the batch is on one device or cut into shards over an axis (``axis_name``). Axes: T time,
B environments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax.environment import Environment

# policy(keys [B], carry, observation [B, ...], first bool[B]) -> (carry, action [B, ...], extras).
# `carry` is the hidden state of a recurrent policy (() for a feed-forward one); a recurrent policy
# zeroes it where `first` says that an episode starts. `extras` is what the learner wants back
# (log-probabilities, values, ...).
Policy = Callable[[jax.Array, Any, Any, jax.Array], tuple[Any, Any, Any]]


@struct.dataclass
class EnvironmentBatch:
    """A batch of running environments; every leaf has a leading axis B, the one that is sharded."""

    state: Any
    observation: Any
    first: jax.Array  # bool[B], the observation is the first of an episode
    episode_return: Any  # f32[B, ...], reward summed since the episode began, one per actor
    episode_length: jax.Array  # i32[B]
    policy_carry: Any


@struct.dataclass
class Trajectory:
    """Time-major experience; leaves are ``[T, B, ...]``."""

    observation: Any
    action: Any
    extras: Any
    reward: Any
    terminated: jax.Array
    truncated: jax.Array
    first: jax.Array
    final_observation: Any  # None unless asked for
    episode_return: Any  # of the episode so far, this step included
    episode_length: jax.Array
    info: Any


def global_indices(batch_size: int, axis_name: str | None) -> jax.Array:
    """Indices ``i32[B]`` of this device's environments in the whole batch."""
    offset = 0 if axis_name is None else jax.lax.axis_index(axis_name) * batch_size
    return offset + jnp.arange(batch_size)


def per_environment_keys(key: jax.Array, batch_size: int, axis_name: str | None) -> jax.Array:
    """One key for each environment of this device, ``key[B]``, independent of the sharding."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, global_indices(batch_size, axis_name))


def init_batch(
    key: jax.Array,
    environment: Environment,
    params: Any,
    batch_size: int,
    policy_carry: Any = (),
    axis_name: str | None = None,
) -> EnvironmentBatch:
    """Reset ``batch_size`` environments. ``policy_carry`` has a leading axis B."""
    keys = per_environment_keys(key, batch_size, axis_name)
    state, first = jax.vmap(environment.reset, (0, None))(keys, params)
    return EnvironmentBatch(
        state=state,
        observation=first.observation,
        first=jnp.ones((batch_size,), bool),
        episode_return=jax.tree.map(jnp.zeros_like, first.reward),
        episode_length=jnp.zeros((batch_size,), jnp.int32),
        policy_carry=policy_carry,
    )


def rollout(
    key: jax.Array,
    policy: Policy,
    environment: Environment,
    params: Any,
    batch: EnvironmentBatch,
    num_steps: int,
    *,
    keep_final_observation: bool = False,
    keep: Callable[[Any], Any] = lambda observation: observation,
    axis_name: str | None = None,
) -> tuple[EnvironmentBatch, Trajectory]:
    """Act for ``num_steps`` in every environment of ``batch``.

    The environment auto-resets, or the caller ends a rollout where episodes end and calls
    :func:`restart_finished`.

    Args:
      key: drawn from, once.
      policy: see :data:`Policy`.
      environment: an auto-resetting environment.
      params: its parameters.
      batch: where to start from.
      num_steps: T.
      keep_final_observation: store the observation that each step led to. Needed where episodes are
        truncated; costs one more copy of the observations.
      keep: what the trajectory holds of an observation ``[B, ...]``: parts, narrower types.
      axis_name: the mapped axis over which B is sharded, if any.

    Returns:
      The batch after the last step, and the trajectory ``[T, B, ...]``.
    """
    batch_size = batch.first.shape[0]
    # All keys at once: one vectorised hash instead of one per step.
    keys = per_environment_keys(key, batch_size, axis_name)
    keys = jax.vmap(lambda k: jax.random.split(k, (num_steps, 2)), out_axes=1)(keys)  # [T, B, 2]

    def one_step(batch: EnvironmentBatch, keys: jax.Array) -> tuple[EnvironmentBatch, Trajectory]:
        with jax.named_scope("act"):  # names for profiles
            carry, action, extras = policy(
                keys[:, 0], batch.policy_carry, batch.observation, batch.first
            )
        with jax.named_scope("environment"):
            step = jax.vmap(environment.step, (0, 0, 0, None))
            state, after = step(keys[:, 1], batch.state, action, params)
        done = after.done
        episode_return = jax.tree.map(jnp.add, batch.episode_return, after.reward)
        episode_length = batch.episode_length + 1
        transition = Trajectory(
            observation=keep(batch.observation),
            action=action,
            extras=extras,
            reward=after.reward,
            terminated=after.terminated,
            truncated=after.truncated,
            first=batch.first,
            final_observation=keep(after.final_observation) if keep_final_observation else None,
            episode_return=episode_return,
            episode_length=episode_length,
            info=after.info,
        )
        batch = EnvironmentBatch(
            state=state,
            observation=after.observation,
            first=done,
            episode_return=jax.tree.map(
                lambda total: jnp.where(_expand(done, total), 0.0, total), episode_return
            ),
            episode_length=jnp.where(done, 0, episode_length),
            policy_carry=carry,
        )
        return batch, transition

    return jax.lax.scan(one_step, batch, keys)


def restart_finished(
    key: jax.Array,
    environment: Any,
    params: Any,
    batch: EnvironmentBatch,
    axis_name: str | None = None,
) -> EnvironmentBatch:
    """Start the next episode in every environment whose episode the last step has ended.

    In place of auto-reset where all episodes have one length: a reset after every rollout is
    cheaper than one in every step. The environment has a method ``restart(key, state, params)``.
    """
    keys = per_environment_keys(key, batch.first.shape[0], axis_name)
    with jax.named_scope("environment"):
        state, first = jax.vmap(environment.restart, (0, 0, None))(keys, batch.state, params)
    state, observation = jax.tree.map(
        lambda new, old: jnp.where(_expand(batch.first, new), new, old),
        (state, first.observation),
        (batch.state, batch.observation),
    )
    return dataclasses.replace(batch, state=state, observation=observation)


def _expand(flag: jax.Array, like: jax.Array) -> jax.Array:
    """Add trailing axes to ``flag`` ``[B]`` so that it broadcasts against ``like`` ``[B, ...]``."""
    return flag.reshape(flag.shape + (1,) * (like.ndim - flag.ndim))
