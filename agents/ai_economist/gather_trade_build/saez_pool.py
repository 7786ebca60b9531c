"""One buffer of Saez samples for all environments, as in the official distributed training.

Source: spec section 2.5: after every iteration in which an episode ended, the buffers of all
replicas are joined, and estimates use the joint one with the replica's newer samples. Every sample
counts once here, where the official code counts some twice. Axes: B environments, M samples.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.economy.saez import SaezState


def pool(
    memory: SaezState, num_shared: jax.Array, axis_name: str | None = None
) -> tuple[SaezState, jax.Array]:
    """Gives every environment the newest M samples of all.

    Args:
      memory: Of all environments, leaves [B, ...]; all have recorded equally often.
      num_shared: i32[], the count at which they were joined last, 0 at first.
      axis_name: The mapped axis over which B is sharded, if any.

    Returns:
      The memory with joint buffers (each keeps its own elasticity and running rates), and the count
      of now, for the next call.
    """
    samples = jnp.stack([memory.incomes, memory.marginal_rates], axis=-1)  # [B, M, 2]
    if axis_name is not None:
        samples = jax.lax.all_gather(samples, axis_name, tiled=True)
    num_environments, size, _ = samples.shape
    count = memory.count[0]
    # Age 0 is the newest. What came since the last call is each environment's own; the rest they
    # have in common.
    age = jnp.arange(size)
    by_age = samples[:, (count - 1 - age) % size]
    is_own = age < jnp.minimum(count - num_shared, size)
    is_shared = ~is_own & (age < count)
    # Newest first: rows of equal age side by side, then what is shared, from the first environment.
    own = by_age.swapaxes(0, 1).reshape(-1, 2)
    candidates = jnp.concatenate([own, by_age[0]])
    exists = jnp.concatenate([jnp.repeat(is_own, num_environments), is_shared])
    newest = jnp.argsort(~exists, stable=True)[:size]
    new_count = jnp.minimum(jnp.sum(exists), size).astype(memory.count.dtype)
    # The ring is written next at count mod M: in a full one, slot 0 holds the oldest.
    slots = (new_count - 1 - jnp.arange(size)) % size
    joint = jnp.zeros_like(samples[0]).at[slots].set(candidates[newest])
    return dataclasses.replace(
        memory,
        incomes=jnp.broadcast_to(joint[:, 0], memory.incomes.shape),
        marginal_rates=jnp.broadcast_to(joint[:, 1], memory.marginal_rates.shape),
        count=jnp.full_like(memory.count, new_count),
    ), new_count
