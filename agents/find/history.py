"""The rollouts of the recent past: a ring of M batches, with the policies that drew them. Spec 2.5.

Axes: M batches, B images of a batch; P is the shape of the policy's coordinates.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax.agents.find.noise_policy import NoisePolicy


@struct.dataclass
class Rollout:
    """A batch of noises and what became of them; a leading axis M where a history holds many."""

    u: jax.Array  # f32[B, *P], coordinates of the noise
    log_prob: jax.Array  # f32[B], under the policy that drew it
    reward: jax.Array  # f32[B]
    advantage: jax.Array  # f32[B]
    policy: NoisePolicy  # that drew it


@struct.dataclass
class History:
    """The last M rollouts; batch n is in row n mod M."""

    rollouts: Rollout
    num_seen: jax.Array  # i32[]


def empty(size: int, batch_size: int, policy: NoisePolicy) -> History:
    """Room for `size` rollouts of `batch_size` images."""
    rows = jnp.zeros((size, batch_size))
    coordinates = policy.mean.shape
    rollouts = Rollout(
        u=jnp.zeros((size, batch_size, *coordinates)),
        log_prob=rows,
        reward=rows,
        advantage=rows,
        policy=jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape)), policy),
    )
    return History(rollouts, jnp.int32(0))


def push(history: History, rollout: Rollout) -> History:
    """Remembers a rollout in place of the oldest."""
    row = history.num_seen % _size(history)
    rollouts = jax.tree.map(lambda all_, new: all_.at[row].set(new), history.rollouts, rollout)
    return History(rollouts, history.num_seen + 1)


def filled(history: History) -> jax.Array:
    """How many rollouts there are, i32[]; they are the first so many rows."""
    return jnp.minimum(history.num_seen, _size(history))


def oldest(history: History) -> jax.Array:
    """Row of the oldest rollout, i32[]."""
    full = history.num_seen >= _size(history)
    return jnp.where(full, history.num_seen % _size(history), 0)


def draw_past(history: History, key: jax.Array, count: int) -> tuple[Rollout, jax.Array]:
    """Rollouts drawn uniformly, with replacement, from all but the newest.

    Args:
      history: With at least one rollout.
      key: Drawn from.
      count: How many.

    Returns:
      Them, with a leading axis `count`, and weights f32[count]: 1, or 0 where there is no past yet.
    """
    past = filled(history) - 1
    newest = (history.num_seen - 1) % _size(history)
    behind = jax.random.randint(key, (count,), 1, jnp.maximum(past, 1) + 1)
    row = (newest - behind) % _size(history)
    drawn = jax.tree.map(lambda all_: all_[row], history.rollouts)
    return drawn, jnp.full(count, past > 0, jnp.float32)


def _size(history: History) -> int:
    return history.rollouts.reward.shape[0]
