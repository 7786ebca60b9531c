"""Exact best responses and outcomes against brute force in plain numpy, and known hours."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_econ_jax.envs import one_step_economy as economy
from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.one_step_economy.best_response import first_best

CUTOFFS = np.array(brackets.US_FEDERAL_CUTOFFS)
FREE_MARKET = np.zeros(7)

respond = jax.jit(economy.respond, static_argnames="max_sweeps")
outcome_of = jax.jit(economy.outcome_of)

# Many exact ties, and rates at which work hardly pays.
schedules = st.lists(
    st.one_of(st.floats(0, 1, allow_subnormal=False), st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    min_size=7,
    max_size=7,
).map(np.array)

pytestmark = pytest.mark.usefixtures("x64")


def isoelastic_r1(labor_cost=1.2, **changes):
    skills = economy.reference_economy("R1").skills
    return economy.make_params(skills, labor_cost=labor_cost, utility="isoelastic", **changes)


def tax_by_loop(income, rates, cutoffs):
    upper = np.append(cutoffs[1:], np.inf)
    return sum(
        rate * (min(income, high) - low)
        for rate, low, high in zip(rates, cutoffs, upper, strict=True)
        if income > low
    )


def utilities_by_loop(params, hours, rates):
    """Utility of every worker, straight from the rules: pay tax, share it out, value coin."""
    skills, cutoffs = np.asarray(params.skills), np.asarray(params.cutoffs)
    income = skills * hours
    tax = np.array([tax_by_loop(z, rates, cutoffs) for z in income])
    coin = income - tax + tax.sum() / len(skills)
    cost = float(params.labor_cost)
    if params.utility == "isoelastic":
        eta = float(params.eta)
        return (coin ** (1 - eta) - 1) / (1 - eta) - cost * hours
    return coin - cost * hours ** float(params.labor_exponent)


def best_hours_by_loop(params, hours, worker, rates):
    """Fewest hours among the best of one worker, given the others'; values within 1e-9 tie."""
    values = []
    for choice in range(params.max_hours + 1):
        deviation = np.array(hours)
        deviation[worker] = choice
        values.append(utilities_by_loop(params, deviation, rates)[worker])
    return int(np.argmax(np.array(values) >= max(values) - 1e-9))


def test_free_market_hours_of_the_reference_economies():
    r1, r2 = (economy.reference_economy(name) for name in ("R1", "R2"))
    np.testing.assert_array_equal(respond(r1, FREE_MARKET).hours, [35, 41, 51, 70])
    hours = np.asarray(respond(r2, FREE_MARKET).hours)
    assert (hours[0], hours[-1]) == (26, 45)
    assert np.all(np.diff(hours) >= 0)


def test_us_federal_hours_of_r1_are_the_same_in_float32():
    def hours(enabled):
        with jax.enable_x64(enabled):
            rates = jnp.array(brackets.US_FEDERAL_RATES)
            return np.asarray(respond(economy.reference_economy("R1"), rates).hours)

    np.testing.assert_array_equal(hours(False), [32, 35, 43, 57])
    np.testing.assert_array_equal(hours(True), [32, 35, 43, 57])


@settings(max_examples=30)
@given(
    rates=schedules,
    skills=st.lists(st.sampled_from([0.5, 1.0, 1.25, 1.1, 2.2, 2.9]), min_size=4, max_size=4),
)
def test_best_response_equals_brute_force(rates, skills):
    params = economy.make_params(skills, labor_cost=1 / 64)
    response = respond(params, rates)
    expected = [best_hours_by_loop(params, np.zeros(4), worker, rates) for worker in range(4)]
    np.testing.assert_array_equal(response.hours, expected)
    assert response.converged


def test_own_share_of_the_rebate_lowers_the_effective_rate():
    # Two workers keep half of their own tax: a rate of 1 acts like 1/2, not like 1.
    params = economy.make_params([1.0, 2.0], labor_cost=1 / 64)
    hours = respond(params, np.ones(7)).hours
    halved = economy.make_params([0.5, 1.0], labor_cost=1 / 64)
    np.testing.assert_array_equal(hours, respond(halved, FREE_MARKET).hours)
    np.testing.assert_array_equal(hours, [16, 32])


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_flat_tax_hours_are_the_closed_form_rounded(rate):
    for name in ("R1", "R2"):
        params = economy.reference_economy(name)
        pay = params.skills * (1 - rate * (1 - 1 / params.num_workers))
        exponent = params.labor_exponent
        exact = (pay / (params.labor_cost * exponent)) ** (1 / (exponent - 1))
        hours = respond(params, np.full(7, rate)).hours
        assert np.all(np.abs(hours - exact) < 1)


def test_ties_go_to_the_fewest_hours():
    # Pay of 1 per hour and cost h^2 / 17: 8 and 9 hours both gain 72/17.
    params = economy.make_params([1.0, 1.0], labor_cost=1 / 17)
    np.testing.assert_array_equal(respond(params, FREE_MARKET).hours, [8, 8])
    # Nothing but ties: work that neither pays nor costs.
    params = economy.make_params([1.0, 1.0], [0.0, 5.0], labor_cost=0.0)
    free = respond(params, np.zeros(2)).hours
    np.testing.assert_array_equal(free, [100, 100])


def test_first_best_takes_rounding_for_a_tie_and_nothing_more():
    values = jnp.array([0.0, 50.0, 50.0 + 1e-13, 50.0])
    assert first_best(values, axis=0) == 1
    assert first_best(values.at[2].set(50 + 1e-10), axis=0) == 2
    with jax.enable_x64(False):
        values = jnp.array([0.0, 50.0, 50.00001, 50.0])
        assert first_best(values, axis=0) == 1
        assert first_best(values.at[2].set(50.001), axis=0) == 2


@settings(max_examples=15)
@given(rates=schedules)
def test_nobody_gains_by_leaving_the_isoelastic_equilibrium(rates):
    params = isoelastic_r1(labor_cost=0.8)
    response = respond(params, rates)
    assert response.converged
    hours = np.asarray(response.hours)
    expected = [best_hours_by_loop(params, hours, worker, rates) for worker in range(4)]
    np.testing.assert_array_equal(hours, expected)


def test_isoelastic_workers_mind_the_others_rebate():
    # The same worker at a high flat tax works less beside productive workers than beside poor ones.
    rates = np.full(7, 0.6)
    poor, rich = (
        economy.make_params([1.5, other], labor_cost=0.5, utility="isoelastic")
        for other in (1.0, 2.9)
    )
    assert respond(rich, rates).hours[0] < respond(poor, rates).hours[0]


def test_isoelastic_consumption_at_a_flat_tax_is_the_closed_form():
    params = isoelastic_r1(labor_cost=0.8)
    rate = 0.2
    end = jax.jit(economy.equilibrium)(params, np.full(7, rate))
    pay = params.skills * (1 - rate * (1 - 1 / 4))
    exact = (pay / params.labor_cost) ** (1 / params.eta)
    interior = (end.hours > 0) & (end.hours < 100)
    assert interior.sum() >= 2
    assert np.all(np.abs(end.coin - exact)[interior] < pay[interior])


def test_sweeps_are_capped_and_an_unfinished_search_says_so():
    rates = np.full(7, 0.6)
    done = respond(isoelastic_r1(), rates)
    assert done.converged and 2 <= done.sweeps < 100
    stopped = respond(isoelastic_r1(), rates, max_sweeps=1)
    assert stopped.sweeps == 1
    assert not stopped.converged


@pytest.mark.parametrize("utility", economy.UTILITIES)
def test_responses_vmap_over_schedules_and_economies(utility):
    costs = jnp.array([0.016, 0.9])
    rates = jax.random.uniform(jax.random.key(0), (3, 7))
    params = economy.make_params([1.1, 1.6, 2.3], labor_cost=1.0, utility=utility)

    def hours(cost, schedule):
        return economy.respond(params.replace(labor_cost=cost), schedule).hours

    chex.clear_trace_counter()
    compiled = jax.jit(chex.assert_max_traces(hours, n=1))
    batch = jax.jit(jax.vmap(jax.vmap(hours, (None, 0)), (0, None)))(costs, rates)
    assert batch.shape == (2, 3, 3)
    for i, j in np.ndindex(2, 3):
        np.testing.assert_array_equal(batch[i, j], compiled(costs[i], rates[j]))


@settings(max_examples=30)
@given(
    hours=st.lists(st.integers(0, 100), min_size=4, max_size=4).map(np.array),
    rates=schedules,
    utility=st.sampled_from(economy.UTILITIES),
)
def test_outcome_follows_the_rules(hours, rates, utility):
    params = isoelastic_r1(labor_cost=0.02).replace(utility=utility)
    end = outcome_of(params, hours, rates)
    expected_tax = [tax_by_loop(z, rates, CUTOFFS) for z in np.asarray(params.skills) * hours]
    np.testing.assert_allclose(end.tax, expected_tax, atol=1e-9)
    np.testing.assert_allclose(end.coin.sum(), end.production.sum(), rtol=1e-12)
    np.testing.assert_allclose(end.utility, utilities_by_loop(params, hours, rates), atol=1e-9)
    np.testing.assert_allclose(end.production, params.skills * hours, rtol=1e-12)
    for rate, income in zip(end.marginal_rate, end.production, strict=True):
        assert rate == rates[np.searchsorted(CUTOFFS, income, side="right") - 1]


@pytest.mark.parametrize(
    ("skills", "hours", "rates", "coin", "name", "welfare"),
    [
        (
            [1.130455531836827, 1.3262954621994465, 1.6501295648717538, 2.2443002628221276],
            [41, 10, 21, 38],
            [0.5, 0.15, 0.4, 0.0, 0.95, 0.5, 0.55],
            [47.59528659437824, 21.190841939887584, 39.372143244153094, 71.38949049843313],
            "inverse_income_utility",
            24.88029745827992,
        ),
        (
            [1.1326964357262372, 1.3231428829846101, 1.627172463373894, 2.225878106825531],
            [2, 63, 60, 1],
            [0.0, 1.0, 0.6, 0.35, 0.7, 0.85, 0.1],
            [31.61924854836998, 56.60705632812969, 65.67358174849937, 31.579733783743038],
            "equality_times_productivity",
            35.76412579601718,
        ),
    ],
)
def test_outcome_is_that_of_the_official_package(skills, hours, rates, coin, name, welfare):
    # ai-economist 1.7.1, one-step-economy with SimpleLabor and fixed bracket rates, period 2.
    params = economy.make_params(skills, labor_cost=0.016, gini_mode="foundation")
    end = outcome_of(params, np.array(hours), np.array(rates))
    np.testing.assert_allclose(end.coin, coin, rtol=1e-12)
    np.testing.assert_allclose(end.welfare[name], welfare, rtol=1e-11)


def test_outcome_weighs_utility_by_income_before_tax_and_coin_by_coin():
    # The official one-step scenario passes "production" as the incomes of its utility weights.
    params = economy.reference_economy("R1")
    end = outcome_of(params, np.array([10, 20, 40, 60]), np.full(7, 0.5))
    income, coin, utility = (np.asarray(a) for a in (end.production, end.coin, end.utility))
    by_income, by_coin = 1 / income, 1 / coin
    np.testing.assert_allclose(
        end.welfare["inverse_income_utility"], by_income @ utility / by_income.sum(), rtol=1e-12
    )
    np.testing.assert_allclose(
        end.welfare["inverse_income_coin"], by_coin @ coin / by_coin.sum(), rtol=1e-12
    )
    assert list(end.welfare) == sorted(end.welfare)
    np.testing.assert_allclose(
        end.welfare["equality_times_productivity"], end.equality * coin.mean(), rtol=1e-12
    )


def test_outcome_uses_the_gini_mode_of_the_economy():
    params = economy.make_params(np.linspace(1, 3, 40), labor_cost=0.01)
    exact, foundation = (
        outcome_of(params.replace(gini_mode=mode), np.full(40, 10), FREE_MARKET).equality
        for mode in ("exact", "foundation")
    )
    np.testing.assert_allclose(1 - foundation, (1 - exact) * 39 / 41, rtol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skills": [1.0]}, "skills: 1 skills, must be at least 2"),
        ({"skills": [1.0, np.nan]}, "skills, entry 2: nan is not a positive finite number"),
        ({"skills": [-1.0, 1.0]}, "skills, entry 1: -1.0 is not a positive finite number"),
        ({"cutoffs": [1.0, 2.0]}, "cutoffs starts at 1, must start at 0"),
        ({"cutoffs": [0.0, 9.0, 3.0]}, "must ascend strictly"),
        ({"labor_cost": -0.1}, "labor_cost is -0.1, must be 0 or more"),
        ({"labor_cost": np.nan}, "labor_cost is nan, must be 0 or more"),
        ({"labor_exponent": 1.0}, "labor_exponent is 1, must be greater than 1"),
        ({"eta": 1.1}, r"eta is 1.1, must lie in \[0, 1\]"),
        ({"eta": -0.1}, r"eta is -0.1, must lie in \[0, 1\]"),
        ({"max_hours": 0}, "max_hours is 0, must be at least 1"),
        ({"utility": "leisure"}, "utility 'leisure' is unknown; valid: coin_minus_labor_cost, iso"),
        ({"gini_mode": "fast"}, "gini_mode 'fast' is unknown; valid: exact, foundation"),
    ],
)
def test_bad_parameters_are_refused_with_one_line(changes, message):
    arguments = {"skills": [1.0, 2.0], "labor_cost": 0.016} | changes
    with pytest.raises(ValueError, match=message) as error:
        economy.make_params(**arguments)
    assert "\n" not in str(error.value)


def test_unknown_reference_economy_lists_the_valid_ones():
    with pytest.raises(ValueError, match="'R3' is unknown; valid: R1, R2"):
        economy.reference_economy("R3")


def test_parameters_are_a_pytree_of_numbers_with_static_names():
    params = economy.reference_economy("R2")
    assert len(jax.tree.leaves(params)) == 5
    assert (params.num_workers, params.num_brackets) == (100, 7)
    with jax.enable_x64(False):
        leaves = jax.tree.leaves(economy.reference_economy("R1"))
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
