"""Expectations over a Kullback-Leibler ball around an empirical law: the one-step KL backups.

Axes: X next states come first, then any cells (states, actions), lanes (seeds) come last, so that a
CPU's vector units run over seeds. Spec section 2.3.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

BISECTIONS = 8
# Where the dual's minimiser is looked for, in units of the span of the values.
_LOG_LOW, _LOG_HIGH = math.log(1e-6), math.log(1e5)
_TINY_SPAN = 1e-12


def log_radius(count: jax.Array, cells: int, delta: float, support: int) -> jax.Array:
    """Threshold beta(n) such that n KL(phat_n || P) <= beta(n) for all cells and all n at once.

    beta(n) = log(cells / delta) + log binom(n + m - 1, m - 1), with probability at least 1 - delta
    (proved in the spec, section 2.3, by a mixture martingale and Ville's inequality). The binomial
    is the product of 1 + n / i over i < m: as a difference of lgamma it would lose all its digits
    in float32 once n is some ten thousand.

    Args:
      count: f[...], n, from 0 to 2^24.
      cells: How many laws are estimated.
      delta: Probability that any bound ever fails, in (0, 1).
      support: m, the number of next states that a law may have.

    Returns:
      f[...].
    """
    total = jnp.full_like(count, math.log(cells / delta))
    # Products of five factors, none above 2^24, stay below the largest float: fewer logarithms.
    for first in range(1, support, 5):
        factors = (1 + count / i for i in range(first, min(first + 5, support)))
        total += jnp.log(math.prod(factors))
    return total


def upper(
    probabilities: jax.Array, radius: jax.Array, values: jax.Array, bisections: int = BISECTIONS
) -> jax.Array:
    """Largest mean of ``values`` over the laws q with KL(probabilities || q) <= radius.

    Solves the dual min over x > 0 of M - x expm1(sum_i p_i log1p((M - v_i) / x) - radius), M being
    the largest value, by bisection on log x. The dual is convex in x, and by Jensen's inequality
    every x bounds the maximum from above: what the bisection leaves undone costs width and never
    validity.

    Args:
      probabilities: f[X, ..., B], the empirical law; its zeros are allowed.
      radius: f[..., B], >= 0.
      values: f[X, ..., B], broadcastable against ``probabilities``.
      bisections: How many; fixed, so that the program's shape never depends on data.

    Returns:
      f[..., B], at most ``values.max(0)``.
    """
    top = values.max(0)
    span = top - values.min(0)
    scale = jnp.maximum(span, _TINY_SPAN)
    gap = (top - values) / scale

    def bisect(inverse, move):  # 1 / x, in spans
        # The sign of the dual's slope needs no accurate logarithm, the value below does.
        ratio = 1 + gap * inverse
        exponent = (probabilities * jnp.log(ratio)).sum(0) - radius
        falling = jnp.exp(exponent) * (probabilities / ratio).sum(0) > 1
        return inverse * jnp.where(falling, 1 / move, move), None

    shape = jnp.broadcast_shapes(radius.shape, top.shape)
    middle = jnp.full(shape, math.exp(-(_LOG_LOW + _LOG_HIGH) / 2), probabilities.dtype)
    moves = np.exp((_LOG_HIGH - _LOG_LOW) / 4 * 0.5 ** np.arange(bisections))
    # A loop, for XLA would fuse unrolled steps, computing every step again in each later one.
    inverse, _ = jax.lax.scan(bisect, middle, jnp.asarray(moves, middle.dtype))
    exponent = (probabilities * jnp.log1p(gap * inverse)).sum(0) - radius
    bound = jnp.minimum(top - scale / inverse * jnp.expm1(exponent), top)
    return jnp.where(span < _TINY_SPAN, top, bound)


def lower(
    probabilities: jax.Array, radius: jax.Array, values: jax.Array, bisections: int = BISECTIONS
) -> jax.Array:
    """Smallest mean of ``values`` over the same ball; arguments and result as of ``upper``."""
    return -upper(probabilities, radius, -values, bisections)
