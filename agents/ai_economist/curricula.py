"""The curricula of two-level learning, as pure functions of counters.

Counters live in the learner's state, so they survive auto-reset and restarts.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def labor_cost_weight(completed_episodes: jax.Array, warmup_episodes: Any) -> jax.Array:
    """Weight of labor cost, ``1 - exp(-k / K)``; 1 throughout where ``K`` is 0. ``f32[]``."""
    safe = jnp.where(warmup_episodes > 0, warmup_episodes, 1.0)
    return jnp.where(warmup_episodes > 0, 1.0 - jnp.exp(-completed_episodes / safe), 1.0)


def tax_cap(completed_episodes: jax.Array, warmup: Any, slope: Any, rate_max: Any) -> jax.Array:
    """Highest rate allowed, ``rate_max * clip(slope * (k - warmup), 0, 1)``. ``f32[]``."""
    return rate_max * jnp.clip(slope * (completed_episodes - warmup), 0.0, 1.0)


def linear_anneal(progress: jax.Array, start: Any, end: Any, until: Any) -> jax.Array:
    """From ``start`` to ``end`` linearly while ``progress`` runs from 0 to ``until``. ``f32[]``."""
    return start + (end - start) * jnp.clip(progress / until, 0.0, 1.0)
