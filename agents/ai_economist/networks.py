"""Policies and critics of workers in the one-step economy. Axes: L hours, F features."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.one_step_economy.environment import SKILL_UNIT
from ai_econ_jax.envs.one_step_economy.params import EconomyParams
from ai_econ_jax.networks import MLP

# Logits are sums of terms of order 1 times weights; a policy that is sure needs differences of ten.
_LOGIT_GAIN = 10.0


@struct.dataclass
class BudgetSet:
    """What a worker can read off the posted schedule about each choice of hours, ``f32[..., L]``.

    It holds nothing that the official observation does not: rates and own skill are in there. The
    unit of coin is the income of an average worker who works the most hours.
    """

    income: jax.Array
    tax: jax.Array


def budget_set(features: jax.Array, economy: EconomyParams) -> BudgetSet:
    """The budget sets behind official worker observations ``features`` ``f32[..., F]``."""
    rates = features[..., : economy.num_brackets]
    skill = features[..., -2] * SKILL_UNIT
    hours = jnp.arange(economy.max_hours + 1, dtype=features.dtype)
    income = skill[..., None] * hours
    tax_due = jnp.vectorize(
        lambda z, r: brackets.tax_due(z, r, economy.cutoffs), signature="(l),(b)->(l)"
    )
    unit = jnp.mean(economy.skills) * economy.max_hours
    return BudgetSet(income=income / unit, tax=tax_due(income, rates) / unit)


class BudgetSetActorCritic(nn.Module):
    """Scores each choice of hours by its budget set, with weights that depend on the observation.

    ``logit(h) = w_1 h + w_2 h^2 + w_3 h^3 + w_4 income(h) + w_5 tax(h)`` with ``h`` the share of
    the most hours and ``w = w(features)`` a small tower. A plain tower with one output
    per hour (``MLPActorCritic``) must rediscover for every schedule where its kinks lie, and stays
    at several percent regret on schedules that it has not seen (BUILD_NOTES.md).
    """

    hidden: Sequence[int] = (64, 64)
    activation: str = "tanh"

    @nn.compact
    def __call__(self, features: jax.Array, budget: BudgetSet) -> tuple[jax.Array, jax.Array]:
        """Return logits ``f32[..., L]`` and value ``f32[...]``."""
        hidden = tuple(self.hidden)
        policy = MLP((*hidden, 5), self.activation, output_gain=0.01, name="policy")
        critic = MLP((*hidden, 1), self.activation, name="critic")
        weights = jnp.split(_LOGIT_GAIN * policy(features), 5, axis=-1)  # each [..., 1]
        hours = jnp.linspace(0.0, 1.0, budget.income.shape[-1])
        terms = (hours, hours**2, hours**3, budget.income, budget.tax)
        scores = [weight * term for weight, term in zip(weights, terms, strict=True)]
        logits = functools.reduce(jnp.add, scores)
        return logits, jnp.squeeze(critic(features), axis=-1)


class MLPActorCritic(nn.Module):
    """One output per choice of hours; the budget set is not looked at."""

    hidden: Sequence[int] = (64, 64)
    activation: str = "tanh"

    @nn.compact
    def __call__(self, features: jax.Array, budget: BudgetSet) -> tuple[jax.Array, jax.Array]:
        """Return logits ``f32[..., L]`` and value ``f32[...]``."""
        hidden = tuple(self.hidden)
        policy = MLP(
            (*hidden, budget.income.shape[-1]), self.activation, output_gain=0.01, name="policy"
        )
        critic = MLP((*hidden, 1), self.activation, name="critic")
        return policy(features), jnp.squeeze(critic(features), axis=-1)


WORKER_NETWORKS = {"budget_set": BudgetSetActorCritic, "mlp": MLPActorCritic}
