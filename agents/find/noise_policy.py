"""A diagonal Gaussian over the initial noise, in pixels or in its low frequencies. Spec 2.

The policy is over coordinates u of shape ``*P``; a basis turns u into the noise z of shape ``*D``
that the sampler takes. In the pixel basis they are the same. In a DCT basis u are the lowest
frequencies of z, and all others are drawn afresh for every image, so that z is exactly N(0, I) when
u is. Axes: B images, F frames of a clip, H and W sides, C channels.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from numpy.typing import NDArray

REDUCTIONS = ("mean", "sum")
DIVERGENCES = ("gaussian", "official")
_MOST_MEAN_SQUARE = 0.9  # of the mean, where the norm is preserved


@struct.dataclass
class NoisePolicy:
    """N(mean, diag std^2) over u."""

    mean: jax.Array  # f32[*P]
    std: jax.Array  # f32[*P], > 0


@dataclasses.dataclass(frozen=True)
class PixelBasis:
    """Every number of the noise is a coordinate."""

    latent_shape: tuple[int, ...]

    @property
    def coordinates(self) -> tuple[int, ...]:
        """Shape P of u."""
        return self.latent_shape

    def embed(self, u: jax.Array, keys: jax.Array) -> jax.Array:
        """The noise f32[B, *D] with coordinates u f32[B, *P]; nothing is left to draw from keys."""
        return u

    def project(self, z: jax.Array) -> jax.Array:
        """Coordinates f32[B, *P] of a noise f32[B, *D]."""
        return z


@dataclasses.dataclass(frozen=True)
class DctBasis:
    """The k lowest frequencies along each axis, of every channel, in the orthonormal DCT-II.

    The axes are the sides of an image, or the frames and sides of a clip.
    """

    latent_shape: tuple[int, ...]  # (H, W, C) or (F, H, W, C)
    k: int

    @property
    def coordinates(self) -> tuple[int, ...]:
        """Shape P of u: (k, k, C) or (k, k, k, C)."""
        return (*(self.k,) * (len(self.latent_shape) - 1), self.latent_shape[-1])

    def embed(self, u: jax.Array, keys: jax.Array) -> jax.Array:
        """The noise f32[B, *D] whose low frequencies are u, the others drawn from key[B]."""
        return self.replace_low(u, _normal(keys, self.latent_shape))

    def replace_low(self, u: jax.Array, fresh: jax.Array) -> jax.Array:
        """`fresh` f32[B, *D] with u f32[B, *P] as its low frequencies."""
        difference = u - self.project(fresh)
        for axis, size in enumerate(self.latent_shape[:-1], start=1):
            difference = _along(axis, jnp.asarray(dct_rows(size, self.k)).T, difference)
        return fresh + difference

    def project(self, z: jax.Array) -> jax.Array:
        """Low frequencies f32[B, *P] of a noise f32[B, *D]."""
        for axis, size in enumerate(self.latent_shape[:-1], start=1):
            z = _along(axis, jnp.asarray(dct_rows(size, self.k)), z)
        return z


def _along(axis: int, matrix: jax.Array, values: jax.Array) -> jax.Array:
    """A matrix f32[n, m] times values along an axis of size m."""
    return jnp.moveaxis(jnp.tensordot(matrix, values, (1, axis)), 0, axis)


Basis = PixelBasis | DctBasis


@functools.cache
def dct_rows(size: int, k: int) -> NDArray:
    """The k first rows of the orthonormal DCT-II of a length, f32[k, size]."""
    frequency, place = np.arange(k)[:, None], np.arange(size)[None]
    rows = np.sqrt(2 / size) * np.cos(np.pi * (2 * place + 1) * frequency / (2 * size))
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


def make_basis(name: str, latent_shape: tuple[int, ...]) -> Basis:
    """The basis called ``pixel`` or ``dct:k``.

    Raises:
      ValueError: Another name; a latent that is no image; k beyond the image's sides.
    """
    if name == "pixel":
        return PixelBasis(latent_shape)
    match = re.fullmatch(r"dct:([1-9]\d*)", name)
    if match is None:
        raise ValueError(f"field basis = {name!r}: must be pixel or dct:k with k a whole number")
    if len(latent_shape) < 3:
        raise ValueError(
            f"field basis = {name!r}: needs a latent of height, width and channels, but the "
            f"model's has shape {latent_shape}; use pixel"
        )
    k, side = int(match[1]), min(latent_shape[:-1])
    if k > side:
        raise ValueError(
            f"field basis = {name!r}: k must be at most {side}, the latent's shortest side"
        )
    return DctBasis(latent_shape, k)


def standard(basis: Basis) -> NoisePolicy:
    """N(0, I), with which a model is sampled and every search begins."""
    return NoisePolicy(jnp.zeros(basis.coordinates), jnp.ones(basis.coordinates))


def sample(policy: NoisePolicy, basis: Basis, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws a noise for each key; no gradient passes to the policy.

    Args:
      policy: Over the basis' coordinates.
      basis: Of the policy.
      keys: key[B].

    Returns:
      Coordinates u f32[B, *P] and noise z f32[B, *D].
    """
    keys = jax.vmap(jax.random.split)(keys)
    own = _normal(keys[:, 0], basis.coordinates)
    u = jax.lax.stop_gradient(policy.mean + policy.std * own)
    return u, basis.embed(u, keys[:, 1])


def _normal(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def log_prob(policy: NoisePolicy, u: jax.Array, reduction: str) -> jax.Array:
    """Log-density f32[B] of u f32[B, *P], summed over P or its mean over P.

    With the mean, the ratio of two policies is the P-th root of the true one: a tempered ratio.
    """
    density = distrax.Normal(policy.mean, policy.std).log_prob(u).reshape(u.shape[0], -1)
    return density.mean(1) if reduction == "mean" else density.sum(1)


def divergence(policy: NoisePolicy, kind: str, reduction: str) -> jax.Array:
    """How far the policy is from N(0, I), f32[].

    ``official`` is the mean over P of `mean^2 + (std - 1)^2`, the regulariser of FIND's released
    code. ``gaussian`` is the Kullback-Leibler divergence, reduced over P as the log-probability is:
    with both means or both sums the fixed points of the loss do not depend on the reduction.
    """
    if kind == "official":
        return jnp.mean(jnp.square(policy.mean) + jnp.square(policy.std - 1))
    base = distrax.Normal(jnp.zeros_like(policy.mean), jnp.ones_like(policy.std))
    terms = distrax.Normal(policy.mean, policy.std).kl_divergence(base)
    return terms.mean() if reduction == "mean" else terms.sum()


def norm_ratio(policy: NoisePolicy, basis: Basis) -> jax.Array:
    """`E|z|^2 / D`, f32[]: 1 for N(0, I), on which the denoiser was trained."""
    size, own = math.prod(basis.latent_shape), policy.mean.size
    return (jnp.sum(jnp.square(policy.mean) + jnp.square(policy.std)) + size - own) / size


def preserve_norm(policy: NoisePolicy) -> NoisePolicy:
    """Scales the mean to a mean square of 0.9 at most, then std so that `norm_ratio` is 1."""
    square = jnp.mean(jnp.square(policy.mean))
    shrink = jnp.sqrt(_MOST_MEAN_SQUARE / jnp.maximum(square, _MOST_MEAN_SQUARE))
    mean = shrink * policy.mean
    left = 1 - jnp.mean(jnp.square(mean))
    return NoisePolicy(mean, policy.std * jnp.sqrt(left / jnp.mean(jnp.square(policy.std))))
