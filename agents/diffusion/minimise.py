"""AdamW on a loss of fresh draws: how the small networks beside a model are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from ai_econ_jax import optimizers


def minimise(
    loss: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    rate: float,
    steps: int,
    key: jax.Array,
) -> Any:
    """Parameters after AdamW steps, the rate falling along a cosine.

    Args:
      loss: `(params, key) -> f32[]`, of a batch that it draws itself.
      params: Where to start.
      rate: At the start.
      steps: Of AdamW.
      key: Drawn from.
    """
    schedule = optimizers.learning_rate_schedule("cosine", rate, steps)
    optimizer = optax.adamw(schedule, weight_decay=0.01)

    @jax.jit
    def run(params: Any, key: jax.Array) -> Any:
        def one_step(carry: tuple[Any, Any], key: jax.Array):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params, key), state, params)
            return (optax.apply_updates(params, updates), state), None

        start = (params, optimizer.init(params))
        return jax.lax.scan(one_step, start, jax.random.split(key, steps))[0][0]

    return run(params, key)
