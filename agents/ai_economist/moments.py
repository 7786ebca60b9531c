"""Running moments of returns: the unit in which critics work."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax import devices, losses

# Weight of the past in the running moments of returns.
_MOMENT_DECAY = 0.99


@struct.dataclass
class ReturnMoments:
    """Running mean and variance of returns.

    Critics work in units of the standard deviation, so that learning does not depend on the
    economy's unit of coin.
    """

    mean: Any
    variance: Any
    num_batches: jax.Array  # i32[], seen so far

    def normalize(self, returns: jax.Array) -> jax.Array:
        """Returns in standard deviations from the mean."""
        return (returns - self.mean) / jnp.sqrt(self.variance + 1e-8)

    def updated(
        self, returns: jax.Array, mask: jax.Array | None, axis_name: str | None
    ) -> ReturnMoments:
        """Moments after one more batch ``f32[B, ...]``; the first batch starts them.

        ``mask`` ``f32[B]`` is 1 for the environments that count, None for all.
        """

        def mean_of(x: jax.Array) -> jax.Array:
            if mask is not None:  # of a planner: one return per environment
                return losses.masked_mean(x, mask, axis_name)
            return devices.mean_over(jnp.mean(x, axis=0), axis_name)

        mean = mean_of(returns)
        square = mean_of((returns - mean) ** 2)
        decay = jnp.where(self.num_batches == 0, 0.0, _MOMENT_DECAY)
        return ReturnMoments(
            mean=decay * self.mean + (1.0 - decay) * mean,
            variance=decay * self.variance + (1.0 - decay) * square,
            num_batches=self.num_batches + 1,
        )
