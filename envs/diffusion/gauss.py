"""A diffusion model with everything in closed form: the data are one Gaussian. Spec 2.9.

For data N(m, diag tau^2) the best denoiser is linear, so DDIM without noise is an affine map of the
initial noise, and for a linear reward the best noise policy can be written down.
Axes: B samples, D dimensions.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from numpy.typing import ArrayLike, NDArray

from ai_econ_jax.envs.diffusion.schedule import (
    SamplerConfig,
    ScheduleConfig,
    alphas_cumprod,
    make_steps,
)


@struct.dataclass
class GaussWeights:
    """The data's distribution."""

    mean: jax.Array  # m, f32[D]
    std: jax.Array  # tau, f32[D], > 0


@dataclasses.dataclass(frozen=True)
class GaussModel:
    """The exact noise predictor of Gaussian data, in place of a network; it knows no prompts."""

    dim: int
    schedule: ScheduleConfig = ScheduleConfig(steps_offset=0, set_alpha_to_one=True)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of the initial noise."""
        return (self.dim,)

    def denoise(
        self, weights: GaussWeights, condition: jax.Array, x: jax.Array, timestep: jax.Array
    ) -> jax.Array:
        """`E[noise | x] = sqrt(1 - a) (x - sqrt(a) m) / (a tau^2 + 1 - a)`, f32[B, D].

        Args:
          weights: The data's distribution.
          condition: Not read.
          x: f32[B, D].
          timestep: i32[B].
        """
        table = jnp.asarray(alphas_cumprod(self.schedule), jnp.float32)
        alpha_bar = table[timestep][:, None]
        variance = alpha_bar * jnp.square(weights.std) + 1 - alpha_bar
        return jnp.sqrt(1 - alpha_bar) * (x - jnp.sqrt(alpha_bar) * weights.mean) / variance

    def null_condition(self, weights: GaussWeights) -> jax.Array:
        """The empty prompt, f32[0]."""
        return jnp.zeros(0)

    def feature(self, condition: jax.Array) -> jax.Array:
        """What a prompt tells a learner, f32[0]: nothing."""
        return jnp.zeros(0)

    def decode(self, weights: GaussWeights, x: jax.Array) -> jax.Array:
        """A sample is its own image."""
        return x


def affine_map(
    schedule: ScheduleConfig, sampler: SamplerConfig, mean: ArrayLike, std: ArrayLike
) -> tuple[NDArray, NDArray]:
    """DDIM at eta 0 on Gaussian data as `x0 = scale * z + shift`, each f64[D].

    The denoiser keeps `u = (x - sqrt(a) m) / sqrt(a tau^2 + 1 - a)` almost fixed; one step
    multiplies `x - sqrt(a) m` by a number, whose product over the steps is the scale.

    Raises:
      ValueError: The sampler adds noise, so that there is no such map.
    """
    if sampler.eta > 0:
        raise ValueError(f"affine_map needs eta 0, got {sampler.eta}")
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    steps = make_steps(schedule, sampler)
    alpha, alpha_prev = steps.alpha_bar[:, None], steps.alpha_bar_prev[:, None]
    variance = alpha * std**2 + 1 - alpha
    # Of y = x - sqrt(a) m: x0 - m = sqrt(a) tau^2 y / variance, noise = sqrt(1 - a) y / variance.
    factor = np.sqrt(alpha_prev * alpha) * std**2 + np.sqrt((1 - alpha_prev) * (1 - alpha))
    scale = np.prod(factor / variance, axis=0)
    last = steps.alpha_bar_prev[-1]
    return scale, np.sqrt(last) * mean - scale * np.sqrt(steps.alpha_bar[0]) * mean


def linear_optimum(
    slope: ArrayLike, reward_weight: float, kl_weight: float
) -> tuple[NDArray, float]:
    """Best Gaussian policy N(mu, I) over the noise, for a reward that is linear in it.

    Maximises `reward_weight E[slope . z] - kl_weight KL(N(mu, diag sigma^2) || N(0, I))`, whose
    maximiser has `mu = (reward_weight / kl_weight) slope` and sigma 1.

    Args:
      slope: f[D]; for a reward `w . x0` of DDIM at eta 0, `w * scale` of `affine_map`.
      reward_weight: >= 0.
      kl_weight: > 0.

    Returns:
      mu f64[D], and by how much the objective there exceeds that of N(0, I).
    """
    slope = np.asarray(slope, np.float64)
    best = reward_weight / kl_weight * slope
    return best, float(reward_weight**2 * (slope @ slope) / (2 * kl_weight))
