"""From hours and rates to production, taxes, coin, utilities and welfare: the one definition.

The environment's step and the exact best responses both go through ``outcome_of``; the exhaustive
optimum, which tabulates for speed, is tested against it. Axes: N workers, B brackets.
"""

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax.envs.economy import brackets, utility, welfare
from ai_econ_jax.envs.one_step_economy.params import EconomyParams


@struct.dataclass
class Outcome:
    """The end of one economy.

    Attributes:
      hours: f32[N].
      production: f32[N], income before tax, in coin.
      tax: f32[N], paid, in coin.
      marginal_rate: f32[N], rate of the bracket that holds each income.
      coin: f32[N], income after tax and rebate.
      utility: f32[N].
      equality: f32[], one minus the Gini index of coin.
      welfare: f32[] for each name of ``welfare.WELFARE_FUNCTIONS``.
    """

    hours: jax.Array
    production: jax.Array
    tax: jax.Array
    marginal_rate: jax.Array
    coin: jax.Array
    utility: jax.Array
    equality: jax.Array
    welfare: dict[str, jax.Array]


def outcome_of(params: EconomyParams, hours: jax.Array, rates: jax.Array) -> Outcome:
    """What a choice of hours under a schedule leads to; tax comes back in equal shares.

    Args:
      params: The economy.
      hours: int or f32[N], hours of work, 0 to ``params.max_hours``.
      rates: f32[B], marginal rates in [0, 1].
    """
    skills = jnp.asarray(params.skills)
    hours = jnp.asarray(hours).astype(skills.dtype)
    production = hours * skills
    # Nobody owns coin before working, and rates are at most 1, so tax never exceeds what is there.
    tax = brackets.tax_due(production, rates, params.cutoffs)
    coin = production - tax + jnp.mean(tax)
    worker_utility = utility_of(params, coin, hours)
    return Outcome(
        hours=hours,
        production=production,
        tax=tax,
        marginal_rate=brackets.marginal_rate(production, rates, params.cutoffs),
        coin=coin,
        utility=worker_utility,
        equality=welfare.equality(coin, params.gini_mode),
        welfare=welfare.all_welfare(coin, production, worker_utility, params.gini_mode),
    )


def utility_of(params: EconomyParams, coin: jax.Array, hours: jax.Array) -> jax.Array:
    """Utility of ``coin`` f32[...] earned in ``hours`` f32[...] under the economy's utility."""
    if params.utility == "isoelastic":
        return utility.isoelastic(coin, hours, params.eta, params.labor_cost)
    return utility.coin_minus_labor_cost(coin, hours, params.labor_exponent, params.labor_cost)
