import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.one_step_economy import make_params, outcome_of, reference_economy
from ai_econ_jax.envs.one_step_economy.environment import (
    WELFARE_NAMES,
    OneStepEconomy,
    PerRole,
    one_step_params,
)

CUTOFFS = np.array(brackets.US_FEDERAL_CUTOFFS)
SKILLS = np.array([1.5, 0.5, 2.0])  # not in order, so that sorting shows
STEP = 0.25  # rates 0, 0.25, 0.5, 0.75, 1
NUM_WORKERS, MAX_HOURS = 3, 60
RATES = np.array([0.25, 0.5, 0.75, 1.0, 0.0, 0.25, 0.5])
CHOICE = np.array([2, 3, 4, 5, 1, 2, 3])  # of RATES; a choice of 0 keeps the rate
HOURS = np.array([20, 10, 45])
KEY = jax.random.key(0)
IDLE = np.zeros(NUM_WORKERS, np.int32)


def make(skills=SKILLS, labor_cost=0.02, **options):
    fields = ("utility", "eta")
    economy = {name: options.pop(name) for name in fields if name in options}
    economy = make_params(skills, labor_cost=labor_cost, max_hours=MAX_HOURS, **economy)
    return one_step_params(economy, **options)


@jax.jit
def episode(choice, hours, params):
    """An episode's three timesteps, and the outcome; stray actions are given where they are out of
    turn: hours in the planner's step, rates in the workers' step.
    """
    environment = OneStepEconomy(STEP)
    state, first = environment.reset(KEY, params)
    stray_hours = jnp.full(NUM_WORKERS, 33)
    state, taxed = environment.step(KEY, state, PerRole(stray_hours, choice), params)
    stray_choice = jnp.full(len(CUTOFFS), 4)
    state, worked = environment.step(KEY, state, PerRole(hours, stray_choice), params)
    return first, taxed, worked, state


def by_hand(hours, rates, skills=SKILLS, labor_cost=0.02):
    """Income, tax, coin after the equal rebate, and utility, in NumPy."""
    income = hours * skills
    tax = np.zeros_like(income)
    for rate, low, high in zip(rates, CUTOFFS, [*CUTOFFS[1:], np.inf], strict=True):
        tax += rate * np.clip(income - low, 0.0, high - low)
    coin = income - tax + tax.mean()
    return income, tax, coin, coin - labor_cost * hours**2


def test_an_episode_equals_the_hand_computation():
    first, taxed, worked, state = episode(CHOICE, HOURS, make())
    income, tax, coin, utility = by_hand(HOURS, RATES)
    outcome = worked.info
    np.testing.assert_allclose(outcome.hours, HOURS)
    np.testing.assert_allclose(outcome.production, income, rtol=1e-6)
    np.testing.assert_allclose(outcome.tax, tax, rtol=1e-5)
    np.testing.assert_allclose(outcome.coin, coin, rtol=1e-5)
    np.testing.assert_allclose(outcome.utility, utility, rtol=1e-5)
    np.testing.assert_allclose(worked.reward.workers, utility, rtol=1e-5)
    np.testing.assert_allclose(state.rates, RATES)
    weights = 1 / income / (1 / income).sum()
    np.testing.assert_allclose(worked.reward.planner, (weights * utility).sum(), rtol=1e-5)
    for idle in (first, taxed):
        assert not idle.done
        assert (idle.info.hours == 0).all() and (idle.info.coin == 0).all()
    assert (taxed.reward.workers == 0).all() and taxed.reward.planner == 0
    assert worked.terminated and not worked.truncated and state.time == 2


@pytest.mark.parametrize("welfare_name", WELFARE_NAMES)
@pytest.mark.parametrize("utility", ["coin_minus_labor_cost", "isoelastic"])
def test_rewards_sum_to_what_the_episode_changed(welfare_name, utility):
    """u_T - u_0 for workers, goal_T - goal_0 for the planner, by ``outcome_of``. With isoelastic
    utility the beginning is not zero: no coin has utility -1 / (1 - eta).
    """
    params = make(welfare_name=welfare_name, utility=utility)
    _, taxed, worked, _ = episode(CHOICE, HOURS, params)
    idle = outcome_of(params.economy, IDLE, jnp.zeros(7))
    end = outcome_of(params.economy, HOURS, jnp.asarray(RATES, jnp.float32))
    np.testing.assert_allclose(
        taxed.reward.workers + worked.reward.workers, end.utility - idle.utility, rtol=1e-5
    )
    np.testing.assert_allclose(
        taxed.reward.planner + worked.reward.planner,
        end.welfare[welfare_name] - idle.welfare[welfare_name],
        rtol=1e-5,
    )
    if utility == "isoelastic":
        np.testing.assert_allclose(idle.utility, -1 / (1 - 0.23), rtol=1e-5)


def test_isoelastic_utility_by_hand():
    _, _, worked, _ = episode(CHOICE, HOURS, make(utility="isoelastic", eta=0.5, labor_cost=0.1))
    _, _, coin, _ = by_hand(HOURS, RATES)
    utility = (coin**0.5 - 1) / 0.5 - 0.1 * HOURS
    np.testing.assert_allclose(worked.info.utility, utility, rtol=1e-5)


# Observations, entry by entry (spec 3.9).


def test_worker_observations_entry_by_entry():
    timesteps = episode(CHOICE, HOURS, make())[:3]
    income, *_ = by_hand(HOURS, RATES)
    rates = [np.zeros(7), RATES, RATES]
    last_incomes = [np.zeros(3), np.zeros(3), np.sort(income) / 100]
    marginal = [0.0, RATES[0], RATES[0]]
    for time, timestep in enumerate(timesteps):
        features = np.asarray(timestep.observation.workers.features)
        day = time % 2 + 1
        assert features.shape == (NUM_WORKERS, NUM_WORKERS + 13)
        for worker, row in enumerate(features):
            np.testing.assert_allclose(row[:7], rates[time])
            assert row[7] == (day == 1)  # first day
            assert row[8] == (day == 2)  # tax day
            np.testing.assert_allclose(row[9:12], last_incomes[time], rtol=1e-6)
            np.testing.assert_allclose(row[12], marginal[time])
            np.testing.assert_allclose(row[13], day / 2)  # phase
            np.testing.assert_allclose(row[14], SKILLS[worker] / 3, rtol=1e-6)
            np.testing.assert_allclose(row[15], time / 2)


def test_planner_observation_entry_by_entry():
    timesteps = episode(CHOICE, HOURS, make())[:3]
    income, _, coin, _ = by_hand(HOURS, RATES)
    rates = [np.zeros(7), RATES, RATES]
    gini = np.abs(coin[:, None] - coin).sum() / (2 * (NUM_WORKERS - 1) * coin.sum())
    for time, timestep in enumerate(timesteps):
        row = np.asarray(timestep.observation.planner.features)
        assert row.shape == (NUM_WORKERS + 13 + 3 * NUM_WORKERS,)
        worked = time == 2
        np.testing.assert_allclose(row[:7], rates[time])
        assert row[7] == (time != 1) and row[8] == (time == 1)
        np.testing.assert_allclose(row[9:12], worked * np.sort(income) / 100, rtol=1e-6)
        np.testing.assert_allclose(row[12], [0.5, 1.0, 0.5][time])  # phase
        np.testing.assert_allclose(row[13], time / 2)
        np.testing.assert_allclose(row[14], 1 - gini * worked, rtol=1e-5)  # equality
        np.testing.assert_allclose(row[15], worked * coin.mean() / 1000, rtol=1e-5)
        per_worker = row[16:].reshape(NUM_WORKERS, 3)  # in the workers' own order
        np.testing.assert_allclose(per_worker[:, 0], rates[time][0])  # on this period's income: 0
        np.testing.assert_allclose(per_worker[:, 1], worked * income / 100, rtol=1e-6)
        bracket = np.searchsorted(CUTOFFS, income, side="right") - 1
        last_marginal = RATES[bracket] if worked else 0.0  # of a period that is over
        np.testing.assert_allclose(per_worker[:, 2], last_marginal)


def test_the_reference_sizes_are_those_of_the_official_scenario():
    """17 features and 101 actions for each of four workers; 154 for the planner."""
    params = one_step_params(reference_economy("R1"))
    _, first = jax.eval_shape(lambda: OneStepEconomy().reset(KEY, params))
    assert first.observation.workers.features.shape == (4, 17)
    assert first.observation.workers.action_mask.shape == (4, 101)
    assert first.observation.planner.features.shape == (29,)
    assert first.observation.planner.action_mask.shape == (154,)


# Masks and actions.


def test_workers_may_only_wait_while_the_planner_decides():
    first, taxed, worked, _ = episode(CHOICE, HOURS, make())
    for timestep in (first, worked):  # after the end the next period would begin
        mask = np.asarray(timestep.observation.workers.action_mask)
        assert mask[:, 0].all() and not mask[:, 1:].any()
    assert taxed.observation.workers.action_mask.all()
    assert (taxed.info.hours == 0).all()  # hours given in the planner's step were ignored


def test_the_planner_may_only_wait_while_the_workers_decide():
    first, taxed, _, state = episode(CHOICE, HOURS, make())
    assert first.observation.planner.action_mask.all()
    mask = taxed.observation.planner.action_mask.reshape(7, 6)
    assert mask[:, 0].all() and not mask[:, 1:].any()
    np.testing.assert_allclose(state.rates, RATES)  # rates given in the workers' step were ignored


@pytest.mark.parametrize(
    ("cap", "num_allowed"), [(0.0, 1), (0.1, 3), (0.2, 5), (0.6, 13), (0.9, 19), (1.0, 21)]
)
def test_rates_above_the_cap_are_masked(cap, num_allowed):
    """Compared with 1e-6 of slack, so that 0.6 is allowed where the cap is 0.6 but for rounding."""
    params = one_step_params(reference_economy("R1"), rate_cap=cap)
    for rounding in (0.0, -5e-7, 5e-7):
        rounded = params.replace(rate_cap=params.rate_cap + rounding)
        _, first = OneStepEconomy().reset(KEY, rounded)
        mask = np.asarray(first.observation.planner.action_mask).reshape(7, 22)
        assert (mask == (np.arange(22) <= num_allowed)).all()


def test_a_rate_above_the_cap_has_no_effect():
    _, taxed, _, _ = episode(CHOICE, HOURS, make(rate_cap=0.5))
    expected = np.where(RATES <= 0.5, RATES, 0.0)
    np.testing.assert_allclose(taxed.observation.workers.features[0, :7], expected)


def test_choice_zero_keeps_the_rate():
    choice = np.where(np.arange(7) % 2 == 0, CHOICE, 0)
    _, _, _, state = episode(choice, HOURS, make())
    np.testing.assert_allclose(state.rates, np.where(np.arange(7) % 2 == 0, RATES, 0.0))


def test_actions_out_of_range_do_nothing():
    choice = np.array([-1, 6, 1000, 5, 1, 2, 3])  # 0 .. 5 exist
    _, _, worked, state = episode(choice, np.array([-5, 1000, 60]), make())
    np.testing.assert_allclose(worked.info.hours, [0, 0, MAX_HOURS])
    np.testing.assert_allclose(state.rates, [0, 0, 0, 1.0, 0, 0.25, 0.5])


@pytest.mark.parametrize(
    ("choice", "hours", "message"),
    [
        (CHOICE, np.array([20, 61, 45]), "hours out of range"),
        (np.array([6, 0, 0, 0, 0, 0, 0]), HOURS, r"must lie in \[0, 5\]"),
        (CHOICE, HOURS, None),
    ],
)
def test_with_debug_actions_out_of_range_are_errors(choice, hours, message):
    environment, params = OneStepEconomy(STEP, debug=True), make()
    state, _ = environment.reset(KEY, params)
    step = jax.jit(checkify.checkify(environment.step))
    error, _ = step(KEY, state, PerRole(hours, choice), params)
    if message is None:
        assert error.get() is None
    else:
        assert re.search(message, error.get())


def test_fixed_rates_override_the_planner():
    fixed = np.array([0.1, 0.12, 0.22, 0.24, 0.32, 0.35, 0.37])  # not on the planner's grid
    first, taxed, worked, state = episode(CHOICE, HOURS, make(fixed_rates=fixed, rate_cap=0.2))
    np.testing.assert_allclose(state.rates, fixed, rtol=1e-6)
    np.testing.assert_allclose(worked.info.utility, by_hand(HOURS, fixed)[3], rtol=1e-5)
    for timestep in (first, taxed):
        mask = timestep.observation.planner.action_mask.reshape(7, 6)
        assert mask[:, 0].all() and not mask[:, 1:].any()


# Sweeps.


def test_goals_and_economies_are_swept_in_one_program():
    skills = np.array([SKILLS, 2 * SKILLS])
    names = ["rawlsian", "productivity"]
    each = [make(s, welfare_name=name) for s, name in zip(skills, names, strict=True)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    _, _, worked, _ = jax.vmap(episode, (None, None, 0))(CHOICE, HOURS, batch)
    poorest = by_hand(HOURS, RATES, skills[0])[3].min()
    mean_coin = by_hand(HOURS, RATES, skills[1])[2].mean()
    np.testing.assert_allclose(worked.reward.planner, [poorest, mean_coin], rtol=1e-5)


def test_welfare_weights_mix_goals():
    params = make()
    weights = jnp.asarray(
        [0.3 * (n == "rawlsian") + 0.7 * (n == "productivity") for n in WELFARE_NAMES]
    )
    _, _, worked, _ = episode(CHOICE, HOURS, params.replace(welfare_weights=weights))
    _, _, coin, utility = by_hand(HOURS, RATES)
    np.testing.assert_allclose(
        worked.reward.planner, 0.3 * utility.min() + 0.7 * coin.mean(), rtol=1e-5
    )


# Errors.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"welfare_name": "happiness"}, "'happiness' is unknown; valid: utilitarian, inverse"),
        ({"rate_cap": 1.5}, r"rate_cap is 1.5, must lie in \[0, 1\]"),
        ({"rate_cap": float("nan")}, "rate_cap is nan, must lie"),
        ({"fixed_rates": [0.1, 0.2]}, r"rates has shape \(2,\), must be one rate for each of 7"),
        ({"fixed_rates": [1.5] * 7}, "1.5"),
        ({"fixed_rates": [float("nan")] * 7}, "nan"),
    ],
)
def test_bad_parameters_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        one_step_params(reference_economy("R1"), **options)


def test_a_rate_step_that_does_not_divide_one_is_refused():
    with pytest.raises(ValueError, match=r"rate_step is 0\.3, must divide 1"):
        OneStepEconomy(0.3).reset(KEY, make())
