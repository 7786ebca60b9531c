"""Inequality, and the social welfare functions of the planner.

Axis N, the last one of every array, runs over workers; leading axes are batch axes. All welfare
functions have one signature and stand in ``WELFARE_FUNCTIONS``, the only list of their names.

Sources: AI Economist, arXiv 2108.02755, ``social_metrics`` and ``rewards`` of the official code.
The utilitarian and Rawlsian functions are ours, for users who question equality x productivity.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

GINI_MODES = ("exact", "foundation")

# The official code switches from pairwise differences to cumulative sums at this many workers.
_FOUNDATION_CUMULATIVE_FROM = 30
_FOUNDATION_EPSILON = 1e-10


def gini(coin: jax.Array, mode: str = "exact") -> jax.Array:
    """Gini index, normalised so that one owner of everything gives 1.

    ``exact`` is ``sum_ij |x_i - x_j| / (2 (N-1) sum x)`` for every N. ``foundation`` is what the
    official code computes: the same below 30 workers; from 30 on another formula, which equals the
    exact value times ``(N-1)/(N+1)``, so that equality jumps up from N = 29 to N = 30, and which
    calls all-zero coin perfectly unequal (1), where the other formulas say 0.

    Args:
      coin: f32[..., N], non-negative, N >= 2.
      mode: An entry of ``GINI_MODES``; static.

    Returns:
      f32[...].

    Raises:
      ValueError: Unknown mode.
    """
    if mode not in GINI_MODES:
        raise ValueError(f"gini mode {mode!r} is unknown; valid: {', '.join(GINI_MODES)}")
    coin = jnp.asarray(coin)
    num_workers = coin.shape[-1]
    ascending = jnp.sort(coin, axis=-1)
    total = jnp.sum(coin, axis=-1)
    if mode == "foundation" and num_workers >= _FOUNDATION_CUMULATIVE_FROM:
        shares = jnp.cumsum(ascending, axis=-1) / (total[..., None] + _FOUNDATION_EPSILON)
        return 1.0 - 2.0 / (num_workers + 1) * jnp.sum(shares, axis=-1)
    # The gap between ranks k and k+1 counts once for each of the k (N-k) pairs across it. All terms
    # are non-negative, so equal coin gives exactly 0 in any precision.
    rank = jnp.arange(1, num_workers)
    pairs_across = (rank * (num_workers - rank)).astype(coin.dtype)
    differences = jnp.sum(pairs_across * jnp.diff(ascending, axis=-1), axis=-1)
    return differences / ((num_workers - 1) * (total + _FOUNDATION_EPSILON))


def equality(coin: jax.Array, mode: str = "exact") -> jax.Array:
    """One minus the Gini index of ``coin`` f32[..., N]; f32[...]."""
    return 1.0 - gini(coin, mode)


def utilitarian(coin, income, utility, gini_mode="exact"):
    """Mean utility."""
    del coin, income, gini_mode
    return jnp.mean(utility, axis=-1)


def inverse_income_utility(coin, income, utility, gini_mode="exact"):
    """Mean utility weighted by ``1 / max(income, 1)``; income is before tax and rebate."""
    del coin, gini_mode
    return jnp.sum(_inverse_weights(income) * utility, axis=-1)


def inverse_income_coin(coin, income, utility, gini_mode="exact"):
    """Mean coin weighted by ``1 / max(coin, 1)``: the harmonic mean where all own 1 or more."""
    del income, utility, gini_mode
    return jnp.sum(_inverse_weights(coin) * coin, axis=-1)


def equality_times_productivity(coin, income, utility, gini_mode="exact"):
    """Equality of coin times mean coin."""
    del income, utility
    return equality(coin, gini_mode) * jnp.mean(coin, axis=-1)


def rawlsian(coin, income, utility, gini_mode="exact"):
    """Utility of the worker who is worst off."""
    del coin, income, gini_mode
    return jnp.min(utility, axis=-1)


def productivity(coin, income, utility, gini_mode="exact"):
    """Mean coin: productivity per capita."""
    del income, utility, gini_mode
    return jnp.mean(coin, axis=-1)


# Signature: (coin f32[..., N], income f32[..., N], utility f32[..., N], gini_mode) -> f32[...].
# Coin is what a worker owns after tax and rebate, income what production brought before them. In
# the gather-trade-build economy both are the coin endowment.
WELFARE_FUNCTIONS: dict[str, Callable[..., jax.Array]] = {
    "utilitarian": utilitarian,
    "inverse_income_utility": inverse_income_utility,
    "inverse_income_coin": inverse_income_coin,
    "equality_times_productivity": equality_times_productivity,
    "rawlsian": rawlsian,
    "productivity": productivity,
}


def welfare_function(name: str) -> Callable[..., jax.Array]:
    """The social welfare function called ``name``.

    Raises:
      ValueError: Unknown name; the message lists the valid ones.
    """
    if name not in WELFARE_FUNCTIONS:
        raise ValueError(
            f"welfare function {name!r} is unknown; valid: {', '.join(WELFARE_FUNCTIONS)}"
        )
    return WELFARE_FUNCTIONS[name]


def all_welfare(
    coin: jax.Array, income: jax.Array, utility: jax.Array, gini_mode: str = "exact"
) -> dict[str, jax.Array]:
    """Every social welfare function of one allocation, by name."""
    return {
        name: function(coin, income, utility, gini_mode)
        for name, function in WELFARE_FUNCTIONS.items()
    }


def _inverse_weights(income: jax.Array) -> jax.Array:
    """Weights that sum to 1 and fall as ``1 / max(income, 1)``, f32[..., N]."""
    weights = 1.0 / jnp.maximum(income, 1.0)
    return weights / jnp.sum(weights, axis=-1, keepdims=True)
