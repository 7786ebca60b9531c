"""Running moments of returns: the unit in which critics work."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax import devices

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

    def updated(self, returns: jax.Array, axis_name: str | None) -> ReturnMoments:
        """Moments after one more batch ``f32[B, ...]``; the first batch starts them."""
        mean = devices.mean_over(jnp.mean(returns, axis=0), axis_name)
        square = devices.mean_over(jnp.mean((returns - mean) ** 2, axis=0), axis_name)
        decay = jnp.where(self.num_batches == 0, 0.0, _MOMENT_DECAY)
        return ReturnMoments(
            mean=decay * self.mean + (1.0 - decay) * mean,
            variance=decay * self.variance + (1.0 - decay) * square,
            num_batches=self.num_batches + 1,
        )
