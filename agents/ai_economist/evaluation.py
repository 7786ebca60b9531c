"""How well a trained pair of levels does: greedy play, and the workers' regret off the rate grid.

Axes: S seeds, K random schedules, N workers, L possible hours, B brackets.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ai_econ_jax.agents.ai_economist.two_level import TwoLevel, TwoLevelState
from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.one_step_economy import (
    EconomyParams,
    Outcome,
    equilibrium,
    outcome_of,
    utility_of,
)

NUM_REGRET_SCHEDULES = 100

# Of the random schedules; the same for every run, so that regrets compare.
_REGRET_KEY = 2_108_02755


class Play(NamedTuple):
    """One greedy episode: no sampling, every decision the most probable one."""

    rates: jax.Array  # f32[B], in force
    learned: Outcome  # with the workers as trained
    exact: Outcome  # under the same schedule with exact best responses


def play(
    learner: TwoLevel, economy: EconomyParams, state: TwoLevelState, rates: ArrayLike | None = None
) -> Play:
    """Play greedily; pure, for jit and vmap over seeds.

    Args:
      learner: What trained.
      economy: Where to play.
      state: One trained state.
      rates: f32[B], the schedule; None for the state's own, a planner's or the posted one.
    """
    rates = learner.schedule(state) if rates is None else jnp.asarray(rates, jnp.float32)
    hours = learner.hours(state, rates)
    return Play(rates, outcome_of(economy, hours, rates), equilibrium(economy, rates))


def evaluate(
    learner: TwoLevel,
    economy: EconomyParams,
    states: TwoLevelState,
    rates: np.ndarray | None = None,
) -> Play:
    """``play`` for the states ``[S, ...]`` of all seeds; NumPy leaves ``[S, ...]``."""
    one_seed = partial(play, learner, economy, rates=rates)
    return jax.device_get(jax.jit(jax.vmap(one_seed))(states))


def regret(
    learner: TwoLevel,
    economy: EconomyParams,
    states: TwoLevelState,
    num_schedules: int = NUM_REGRET_SCHEDULES,
) -> np.ndarray:
    """What workers lose to their exact best response, as a share of utility, ``f64[S]``.

    Mean loss over workers and random schedules, divided by the mean utility of best responses. The
    schedules are uniform in [0, 1] per bracket and off the grid of rates: none was trained on.
    """
    key = jax.random.key(_REGRET_KEY)
    schedules = jax.random.uniform(key, (num_schedules, economy.num_brackets))

    def under_schedule(state: TwoLevelState, rates: jax.Array) -> tuple[jax.Array, jax.Array]:
        hours = learner.hours(state, rates)
        best = best_utility(economy, hours, rates)
        return jnp.mean(best - outcome_of(economy, hours, rates).utility), jnp.mean(best)

    @jax.jit
    @jax.vmap
    def of_seed(state: TwoLevelState) -> jax.Array:
        # One schedule at a time: with 1,000 workers all at once would not fit into memory.
        loss, best = jax.lax.map(lambda rates: under_schedule(state, rates), schedules)
        return jnp.mean(loss) / jnp.mean(best)

    return np.asarray(of_seed(states), np.float64)


def best_utility(economy: EconomyParams, hours: jax.Array, rates: jax.Array) -> jax.Array:
    """Utility ``f32[N]`` of each worker who alone changes to the best hours, for any utility.

    Args:
      economy: The economy.
      hours: i32[N], what all work now.
      rates: f32[B], the schedule.
    """
    grid = jnp.arange(economy.max_hours + 1, dtype=economy.skills.dtype)
    income = economy.skills[:, None] * grid  # f32[N, L]
    tax = brackets.tax_due(income, rates, economy.cutoffs)
    paid = jnp.take_along_axis(tax, hours.astype(jnp.int32)[:, None], axis=1)
    rebate = (jnp.sum(paid) - paid + tax) / economy.num_workers
    return jnp.max(utility_of(economy, income - tax + rebate, grid), axis=1)


def span_of_gain(free: ArrayLike, best: ArrayLike) -> np.ndarray:
    """What a gain is a share of, ``best - free``; NaN where the free market is the optimum."""
    span = np.asarray(best, np.float64) - np.asarray(free, np.float64)
    return np.where(span > 1e-6 * np.abs(best), span, np.nan)
