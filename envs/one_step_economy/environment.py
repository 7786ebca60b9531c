"""The one-step economy as an environment of two steps: the planner taxes, then the workers work.

Step 1: the planner picks a rate for each bracket; workers can only wait. Step 2: each worker picks
hours of work; incomes are taxed, taxes come back in equal shares, the episode ends. Observations,
masks and timing are those of the official scenario ``one-step-economy``; the economics are
``outcome_of``'s. Axes: N workers, B brackets, R rates, W welfare functions.

Source: AI Economist, arXiv 2108.02755, official code.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental import checkify

from ai_econ_jax import spaces
from ai_econ_jax.environment import TimeStep, timestep
from ai_econ_jax.envs.economy import brackets, welfare
from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.one_step_economy.outcome import Outcome, outcome_of
from ai_econ_jax.envs.one_step_economy.params import EconomyParams

EPISODE_LENGTH = 2
WELFARE_NAMES = tuple(welfare.WELFARE_FUNCTIONS)

# Units of the official observations: incomes in 100 coin, productivity in 1000, skills in 3.
_INCOME_UNIT, _PRODUCTIVITY_UNIT, SKILL_UNIT = 100.0, 1000.0, 3.0

# Rates above the cap by rounding only are allowed.
_CAP_SLACK = 1e-6


@struct.dataclass
class OneStepParams:
    """Everything that may be swept: vmap over economies, goals of the planner, or tax models."""

    economy: EconomyParams
    welfare_weights: jax.Array  # f32[W], the planner maximises this mix of welfare functions
    planner_sets_rates: jax.Array  # bool[]; else `fixed_rates` apply and the planner only waits
    fixed_rates: jax.Array  # f32[B]
    rate_cap: jax.Array  # f32[], highest rate that the planner may choose


def one_step_params(
    economy: EconomyParams,
    welfare_name: str = "inverse_income_utility",
    fixed_rates: Any = None,
    rate_cap: float = 1.0,
) -> OneStepParams:
    """Parameters for one welfare function; with ``fixed_rates`` the planner has no say.

    Raises:
      ValueError: unknown welfare function, or rates or a cap that are not valid.
    """
    welfare.welfare_function(welfare_name)
    if not 0.0 <= rate_cap <= 1.0:
        raise ValueError(f"rate_cap is {rate_cap:g}, must lie in [0, 1]")
    dtype = economy.skills.dtype
    num_brackets = economy.num_brackets
    if fixed_rates is None:
        rates = np.zeros(num_brackets)
    else:
        rates = brackets.validate_rates(fixed_rates, num_brackets)
    return OneStepParams(
        economy=economy,
        welfare_weights=jnp.asarray([name == welfare_name for name in WELFARE_NAMES], dtype),
        planner_sets_rates=jnp.asarray(fixed_rates is None),
        fixed_rates=jnp.asarray(rates, dtype),
        rate_cap=jnp.asarray(rate_cap, dtype),
    )


@struct.dataclass
class State:
    """One running episode."""

    time: jax.Array  # i32[], steps taken
    rates: jax.Array  # f32[B], in force
    last: Outcome  # of the work done so far: zero hours before the second step


@struct.dataclass
class RoleObservation:
    """What one role sees, or its space; for workers both fields have a leading axis N."""

    features: Any  # f32[F]
    action_mask: Any  # bool[A], True where the action is allowed


@dataclasses.dataclass(frozen=True)
class OneStepEconomy:
    """The environment.

    Worker actions: hours ``0 .. max_hours``. Planner actions: per bracket, 0 keeps the rate (0 at
    the start), ``k`` sets it to ``(k - 1) * rate_step``. An action out of range does nothing; with
    ``debug`` it is an error.
    """

    rate_step: float = 0.05
    # Checks actions and coin; the caller then maps `step` through `jax.experimental.checkify`.
    debug: bool = False

    @property
    def rates(self) -> np.ndarray:
        """The rates that the planner can choose from, f64[R]."""
        return brackets.rate_grid(self.rate_step)

    def reset(self, key: jax.Array, params: OneStepParams) -> tuple[State, TimeStep]:
        """Start an episode; nothing is random."""
        del key
        economy = params.economy
        rates = jnp.zeros_like(economy.cutoffs)
        idle = outcome_of(economy, jnp.zeros_like(economy.skills), rates)
        state = State(time=jnp.zeros((), jnp.int32), rates=rates, last=idle)
        rewards = PerRole(workers=jnp.zeros_like(idle.utility), planner=jnp.zeros_like(rates[0]))
        return state, self._timestep(state, rewards, params)

    def step(
        self, key: jax.Array, state: State, action: PerRole, params: OneStepParams
    ) -> tuple[State, TimeStep]:
        """Advance one step; actions that the mask forbids have no effect."""
        del key
        economy = params.economy
        taxing = state.time == 0
        rates = jnp.where(taxing, self._chosen_rates(state, action.planner, params), state.rates)
        exists = (action.workers >= 0) & (action.workers <= economy.max_hours)
        hours = jnp.where(exists & ~taxing, action.workers, 0)
        outcome = outcome_of(economy, hours, rates)
        if self.debug:
            self._check(action, exists, outcome)
        rewards = PerRole(
            workers=outcome.utility - state.last.utility,
            planner=_goal(outcome, params) - _goal(state.last, params),
        )
        state = State(time=state.time + 1, rates=rates, last=outcome)
        return state, self._timestep(state, rewards, params)

    def _chosen_rates(self, state: State, choice: jax.Array, params: OneStepParams) -> jax.Array:
        """Rates f32[B] after the planner's ``choice`` i32[B]."""
        num_rates = len(self.rates)
        chosen = jnp.asarray(self.rates, state.rates.dtype)[jnp.clip(choice - 1, 0, num_rates - 1)]
        exists = (choice > 0) & (choice <= num_rates)
        allowed = exists & (chosen <= params.rate_cap + _CAP_SLACK)
        by_planner = jnp.where(allowed, chosen, state.rates)
        return jnp.where(params.planner_sets_rates, by_planner, params.fixed_rates)

    def _check(self, action: PerRole, hours_exist: jax.Array, outcome: Outcome) -> None:
        choice, num_rates = action.planner, len(self.rates)
        checkify.check(
            jnp.all(hours_exist), "worker actions {hours}: hours out of range", hours=action.workers
        )
        checkify.check(
            jnp.all((choice >= 0) & (choice <= num_rates)),
            f"planner actions {{choice}}: must lie in [0, {num_rates}]",
            choice=choice,
        )
        checkify.check(jnp.all(outcome.coin >= 0), "coin {coin}: negative", coin=outcome.coin)

    def _timestep(self, state: State, rewards: PerRole, params: OneStepParams) -> TimeStep:
        observation = PerRole(
            workers=self._worker_observation(state, params),
            planner=self._planner_observation(state, params),
        )
        ended = state.time >= EPISODE_LENGTH
        return timestep(observation, rewards, terminated=ended, info=state.last)

    def _tax_features(self, state: State) -> tuple[jax.Array, jax.Array, jax.Array]:
        """What both roles see of the calendar and the last period.

        The tax period is the episode; day 1 of the next one follows its end.

        Returns:
          First day, tax day and sorted last incomes f32[2 + N]; current marginal rates f32[N];
          phase of the period f32[1].
        """
        day = state.time % EPISODE_LENGTH + 1
        calendar = jnp.stack([day == 1, day == EPISODE_LENGTH]).astype(state.rates.dtype)
        incomes = jnp.sort(self._last_income(state)) / _INCOME_UNIT
        # Until hours are chosen, income is 0; after the tax is collected the next period's is 0.
        current = jnp.broadcast_to(state.rates[0], state.last.hours.shape)
        phase = (day / EPISODE_LENGTH).astype(state.rates.dtype)[None]
        return jnp.concatenate([calendar, incomes]), current, phase

    @staticmethod
    def _last_income(state: State) -> jax.Array:
        """Taxed incomes of the last finished period, f32[N]: zero until the second step."""
        return state.last.production

    def _worker_observation(self, state: State, params: OneStepParams) -> RoleObservation:
        """What each worker sees.

        Features f32[N, N + 13] (for seven brackets): rates, first day, tax day, sorted last
        incomes, marginal rate, phase, skill, time. Mask bool[N, max_hours + 1].
        """
        economy = params.economy
        num_workers = economy.num_workers
        shared, current, phase = self._tax_features(state)
        before = jnp.concatenate([state.rates, shared])
        own = jnp.stack(
            [
                current,
                jnp.broadcast_to(phase, (num_workers,)),
                economy.skills / SKILL_UNIT,
                jnp.broadcast_to(state.time / EPISODE_LENGTH, (num_workers,)),
            ],
            axis=-1,
        )
        features = jnp.concatenate(
            [jnp.broadcast_to(before, (num_workers, before.shape[0])), own], axis=-1
        )
        hours = jnp.arange(economy.max_hours + 1)
        mask = jnp.where(state.time == 1, True, hours == 0)
        return RoleObservation(
            features=features.astype(state.rates.dtype),
            action_mask=jnp.broadcast_to(mask, (num_workers, economy.max_hours + 1)),
        )

    def _planner_observation(self, state: State, params: OneStepParams) -> RoleObservation:
        """What the planner sees.

        Features f32[N + 13 + 3 N] (for seven brackets): rates, first day, tax day, sorted last
        incomes, phase, time, equality, productivity; then per worker the current marginal rate,
        last income, last marginal rate. Mask bool[B * (R + 1)].
        """
        economy = params.economy
        shared, current, phase = self._tax_features(state)
        taxed_once = state.time >= EPISODE_LENGTH
        last_marginal = jnp.where(taxed_once, state.last.marginal_rate, 0.0)
        per_worker = jnp.stack(
            [current, self._last_income(state) / _INCOME_UNIT, last_marginal], axis=-1
        )
        society = jnp.stack(
            [
                state.time / EPISODE_LENGTH,
                state.last.equality,
                jnp.mean(state.last.coin) / _PRODUCTIVITY_UNIT,
            ]
        )
        features = jnp.concatenate([state.rates, shared, phase, society, per_worker.reshape(-1)])
        rates = jnp.asarray(self.rates, state.rates.dtype)
        may_set = (state.time == 0) & params.planner_sets_rates
        allowed = may_set & (rates <= params.rate_cap + _CAP_SLACK)
        per_bracket = jnp.concatenate([jnp.ones(1, bool), allowed])
        return RoleObservation(
            features=features.astype(state.rates.dtype),
            action_mask=jnp.tile(per_bracket, economy.num_brackets),
        )

    def observation_space(self, params: OneStepParams) -> PerRole:
        """Boxes of the features, and of the masks as 0/1."""
        num_workers, num_brackets = params.economy.num_workers, params.economy.num_brackets

        def role(shape: tuple[int, ...], num_features: int, num_actions: int) -> RoleObservation:
            return RoleObservation(
                features=spaces.Box(-np.inf, np.inf, (*shape, num_features)),
                action_mask=spaces.Box(0, 1, (*shape, num_actions)),
            )

        flat = num_brackets + num_workers + 6
        return PerRole(
            workers=role((num_workers,), flat, params.economy.max_hours + 1),
            planner=role((), flat + 3 * num_workers, num_brackets * (len(self.rates) + 1)),
        )

    def action_space(self, params: OneStepParams) -> PerRole:
        """Hours of each worker; one of ``R + 1`` choices per bracket for the planner."""
        economy = params.economy
        return PerRole(
            workers=spaces.MultiDiscrete((economy.max_hours + 1,) * economy.num_workers),
            planner=spaces.MultiDiscrete((len(self.rates) + 1,) * economy.num_brackets),
        )


def _goal(outcome: Outcome, params: OneStepParams) -> jax.Array:
    """The planner's objective, f32[]."""
    values = jnp.stack([outcome.welfare[name] for name in WELFARE_NAMES])
    return jnp.sum(params.welfare_weights * values)
