"""Utilities of a worker: coin against labor.

All arguments broadcast; coefficients may be traced. Source: AI Economist, arXiv 2108.02755,
``isoelastic_coin_minus_labor`` and ``coin_minus_labor_cost`` of the official code.
"""

import jax
import jax.numpy as jnp


def isoelastic(coin: jax.Array, labor: jax.Array, eta: jax.Array, labor_cost: jax.Array):
    """Isoelastic utility of coin minus linear labor, ``(x^(1-eta) - 1) / (1-eta) - cost * l``.

    At ``eta = 1`` the utility of coin is ``ln(max(1, x))``; the official code states that rule, but
    raises a TypeError there.

    Args:
      coin: f32[...], non-negative.
      labor: f32[...], cumulative labor (hours, in the one-step economy).
      eta: f32[], curvature in [0, 1]; 0 is linear in coin.
      labor_cost: f32[], utility lost per unit of labor.

    Returns:
      f32[...], utility.
    """
    is_log = jnp.asarray(eta) == 1
    exponent = jnp.where(is_log, 1.0, 1.0 - eta)
    # expm1 keeps its precision in float32 as eta approaches 1, where x^(1-eta) - 1 cancels.
    power = jnp.expm1(exponent * jnp.log(coin)) / exponent
    return jnp.where(is_log, jnp.log(jnp.maximum(coin, 1.0)), power) - labor_cost * labor


def coin_minus_labor_cost(
    coin: jax.Array, labor: jax.Array, labor_exponent: jax.Array, labor_cost: jax.Array
):
    """Coin minus a power of labor, ``x - cost * l^exponent``, in coin.

    Args:
      coin: f32[...], in coin.
      labor: f32[...], hours.
      labor_exponent: f32[], greater than 1.
      labor_cost: f32[], in coin per hour to the power of the exponent.

    Returns:
      f32[...], utility, in coin.
    """
    return coin - labor_cost * jnp.asarray(labor) ** labor_exponent
