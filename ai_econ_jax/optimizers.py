"""Optimiser and schedule builders over optax.

Every argument may be a traced array: build the optimiser inside the function that uses it, and
hyper-parameters can be vmapped. The optimiser's state holds no hyper-parameter.
"""

from __future__ import annotations

import jax
import optax

SCHEDULES = ("constant", "linear")


def learning_rate_schedule(
    kind: str, peak: jax.Array | float, total_steps: int
) -> optax.ScalarOrSchedule:
    """Learning rate over optimiser steps: ``constant``, or ``linear`` from ``peak`` to 0.

    Raises:
      ValueError: unknown ``kind``.
    """
    if kind == "constant":
        return peak
    if kind == "linear":
        return optax.linear_schedule(peak, 0.0, total_steps)
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
