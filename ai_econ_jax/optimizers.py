"""Optimiser and schedule builders over optax.

Every argument may be a traced array: build the optimiser inside the function that uses it, and
hyper-parameters can be vmapped. The optimiser's state holds no hyper-parameter.
"""

from __future__ import annotations

import jax
import optax

SCHEDULES = ("constant", "linear", "cosine")


def learning_rate_schedule(
    kind: str, peak: jax.Array | float, total_steps: int
) -> optax.ScalarOrSchedule:
    """Learning rate over steps: ``constant``, or to 0 on a line or along half a ``cosine``.

    Raises:
      ValueError: unknown ``kind``.
    """
    if kind == "constant":
        return peak
    if kind == "linear":
        return optax.linear_schedule(peak, 0.0, total_steps)
    if kind == "cosine":
        return optax.cosine_decay_schedule(peak, total_steps)  # type: ignore[arg-type]
    raise ValueError(f"field schedule = {kind!r}: must be one of {', '.join(SCHEDULES)}")


def adam(
    learning_rate: optax.ScalarOrSchedule,
    max_gradient_norm: jax.Array | float,
    epsilon: float = 1e-5,
) -> optax.GradientTransformation:
    """Adam behind a global-norm gradient clip: PPO's usual optimiser."""
    return optax.chain(
        optax.clip_by_global_norm(max_gradient_norm),
        optax.adam(learning_rate, eps=epsilon),
    )
