"""Exact optima against the reference tables (specification, section 6.2) and brute force."""

import itertools
import time

import jax
import numpy as np
import pytest
from scipy import optimize

from ai_econ_jax.envs import one_step_economy as economy
from ai_econ_jax.envs.economy import brackets, skills, welfare

CUTOFFS = np.array(brackets.US_FEDERAL_CUTOFFS)
INVERSE, PRODUCT = "inverse_income_utility", "equality_times_productivity"

equilibrium = jax.jit(economy.equilibrium)

pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(scope="module")
def economies(x64):
    """The reference economies; the hundred workers of R2 in both Gini modes."""
    r1, r2 = economy.reference_economy("R1"), economy.reference_economy("R2")
    return {"R1": r1, "R2": r2, "R2 foundation": r2.replace(gini_mode="foundation")}


@pytest.fixture(scope="module")
def optima(economies):
    return {name: economy.bracket_optimum(params) for name, params in economies.items()}


@pytest.mark.parametrize(
    ("name", "function", "free", "us", "optimum", "rates"),
    [
        ("R1", INVERSE, 32.5120, 35.4505, 38.3921, (0.05, 1.0, 0.2)),
        ("R2", INVERSE, 28.6004, 30.3566, 30.9799, (0, 0.5, 0.25)),
        ("R1", PRODUCT, 51.9679, 50.9821, 54.6683, (0, 0, 0.3)),
        ("R2", PRODUCT, 38.2616, 37.8489, 38.8805, (0, 0.25, 0.25)),
        ("R2 foundation", PRODUCT, 38.5686, 38.0559, 39.0776, (0, 0.25, 0.25)),
        ("R1", "utilitarian", 41.8450, None, 41.8450, (0, 0, 0)),
        ("R2", "utilitarian", 35.8314, None, 35.8314, (0, 0, 0)),
    ],
)
def test_reference_table(economies, optima, name, function, free, us, optimum, rates):
    params = economies[name]
    welfare_free = equilibrium(params, np.zeros(7)).welfare[function]
    np.testing.assert_allclose(welfare_free, free, atol=1e-4)
    if us is not None:
        welfare_us = equilibrium(params, np.array(brackets.US_FEDERAL_RATES)).welfare[function]
        np.testing.assert_allclose(welfare_us, us, atol=1e-4)
    np.testing.assert_allclose(optima[name].welfare[function], optimum, atol=1e-4)
    np.testing.assert_array_equal(optima[name].rates[function], [0, *rates, 0, 0, 0])
    assert optima[name].num_schedules == 21**4


@pytest.mark.parametrize(
    ("name", "rate", "best"), [("R1", 0.28703, 35.3172), ("R2", 0.29171, 30.2606)]
)
def test_reference_flat_taxes(economies, name, rate, best):
    params = economies[name]
    np.testing.assert_allclose(economy.continuous_inverse_income_rate(params), rate, atol=5e-6)
    assert economy.continuous_equality_productivity_rate(params) == 0
    flat = economy.best_flat_tax(params)
    assert flat[INVERSE].rate == 0.25
    np.testing.assert_allclose(flat[INVERSE].welfare, best, atol=1e-4)
    assert flat["utilitarian"].rate == 0


@pytest.mark.parametrize(("name", "expected"), [("R1", 35.97), ("R2", 30.83)])
def test_reference_saez_fixed_point(economies, name, expected):
    fixed_point = economy.iterate_saez(economies[name])
    np.testing.assert_allclose(fixed_point.welfare[INVERSE], expected, atol=0.005)
    assert fixed_point.rates.shape == (7,)
    assert np.all((fixed_point.rates >= 0) & (fixed_point.rates <= 1))
    assert 0 < fixed_point.welfare_deviation[INVERSE] < 0.5


def test_saez_iteration_starts_at_the_free_market(economies):
    first = economy.iterate_saez(economies["R1"], num_iterations=1, num_averaged=1)
    np.testing.assert_array_equal(first.rates, np.zeros(7))
    np.testing.assert_allclose(first.welfare[INVERSE], 32.5120, atol=1e-4)


def test_the_first_bracket_is_a_lump_sum_at_the_reference_optima(economies, optima):
    for name, params in economies.items():
        for function in (INVERSE, PRODUCT):
            for first_rate in (0.0, 0.45, 1.0):
                rates = optima[name].rates[function].copy()
                rates[0] = first_rate
                value = equilibrium(params, rates).welfare[function]
                np.testing.assert_allclose(value, optima[name].welfare[function], rtol=1e-9)


def test_optimum_schedules_reach_their_welfare(economies, optima):
    for name, params in economies.items():
        for function in welfare.WELFARE_FUNCTIONS:
            value = equilibrium(params, optima[name].rates[function]).welfare[function]
            np.testing.assert_allclose(value, optima[name].welfare[function], rtol=1e-10)


def test_default_precision_finds_the_same_optimum(optima):
    with jax.enable_x64(False):
        result = economy.bracket_optimum(economy.reference_economy("R1"))
    for function, value in optima["R1"].welfare.items():
        np.testing.assert_allclose(result.welfare[function], value, rtol=1e-6)
        np.testing.assert_array_equal(result.rates[function], optima["R1"].rates[function])


# --- brute force over schedules and hours ---------------------------------------------------------


def equilibrium_by_loop(params, rates):
    """Income, coin and utility at best responses, from the rules alone; values within 1e-9 tie."""
    worker_skills, cutoffs = np.asarray(params.skills), np.asarray(params.cutoffs)
    num_workers = len(worker_skills)
    widths = np.append(np.diff(cutoffs), np.inf)
    income = np.outer(worker_skills, np.arange(params.max_hours + 1))
    tax = np.clip(income[:, :, None] - cutoffs, 0, widths) @ rates
    cost = float(params.labor_cost) * np.arange(params.max_hours + 1.0) ** float(
        params.labor_exponent
    )
    gain = income - tax + tax / num_workers - cost
    hours = np.argmax(gain >= gain.max(axis=1, keepdims=True) - 1e-9, axis=1)
    chosen = (np.arange(num_workers), hours)
    coin = income[chosen] - tax[chosen] + tax[chosen].mean()
    return income[chosen], coin, coin - cost[hours]


def welfare_by_loop(income, coin, utility):
    spread = np.abs(coin[:, None] - coin).sum() / (2 * (len(coin) - 1) * coin.sum() + 1e-10)
    by_income, by_coin = 1 / np.maximum(income, 1), 1 / np.maximum(coin, 1)
    return {
        "utilitarian": utility.mean(),
        INVERSE: by_income @ utility / by_income.sum(),
        "inverse_income_coin": by_coin @ coin / by_coin.sum(),
        PRODUCT: (1 - spread) * coin.mean(),
        "rawlsian": utility.min(),
        "productivity": coin.mean(),
    }, 1 - spread


def random_economy(seed):
    """Small economies with brackets too narrow for any whole hour, equal skills, exact ties."""
    random = np.random.default_rng(seed)
    num_workers = [2, 5][seed // 2 % 2]
    cutoffs = [[0, 2.5, 6, 9], [0, 1.0, 1.01, 4], [0, 3, 3.5, 8], [0, 100, 200, 300]][seed % 4]
    if seed % 2:
        worker_skills = random.choice([0.5, 1.0, 1.5, 2.0], num_workers)
    else:
        worker_skills = random.uniform(0.5, 3, num_workers)
    return economy.make_params(
        worker_skills,
        cutoffs,
        labor_cost=[1 / 16, 1 / 64, 0.11][seed % 3],
        labor_exponent=[2.0, 3.0, 1.7, 2.0][seed % 4],
        max_hours=12,
    )


@pytest.mark.parametrize("seed", range(12))
def test_optimum_equals_brute_force_over_schedules_and_hours(seed):
    params = random_economy(seed)
    result = economy.bracket_optimum(params, rate_step=0.25)
    grid = brackets.rate_grid(0.25)
    # All four brackets, also those that the search leaves out as unreachable.
    allocations = [
        equilibrium_by_loop(params, np.array(rates)) for rates in itertools.product(grid, repeat=4)
    ]
    values, equality = zip(*(welfare_by_loop(*a) for a in allocations), strict=True)
    for function in welfare.WELFARE_FUNCTIONS:
        best = max(value[function] for value in values)
        np.testing.assert_allclose(result.welfare[function], best, rtol=1e-9, err_msg=function)
        reached, _ = welfare_by_loop(*equilibrium_by_loop(params, result.rates[function]))
        np.testing.assert_allclose(reached[function], best, rtol=1e-9, err_msg=function)

    pairs = zip(values, equality, strict=True)
    points = {(round(v["productivity"], 7), round(e, 7)) for v, e in pairs}
    efficient = {
        (p, e)
        for p, e in points
        if not any(q >= p and f >= e and (q, f) != (p, e) for q, f in points)
    }
    frontier = result.frontier
    found = zip(np.round(frontier.productivity, 7), np.round(frontier.equality, 7), strict=True)
    np.testing.assert_allclose(sorted(found), sorted(efficient), atol=2e-7)


def test_frontier_schedules_reach_their_points(optima, economies):
    frontier = optima["R2"].frontier
    assert len(frontier.productivity) > 50
    assert np.all(np.diff(frontier.productivity) <= 0) and np.all(np.diff(frontier.equality) > 0)
    for index in range(0, len(frontier.productivity), 20):
        end = equilibrium(economies["R2"], frontier.rates[index])
        np.testing.assert_allclose(end.coin.mean(), frontier.productivity[index], rtol=1e-10)
        np.testing.assert_allclose(end.equality, frontier.equality[index], rtol=1e-9)
    product = np.max(frontier.productivity * frontier.equality)
    np.testing.assert_allclose(product, optima["R2"].welfare[PRODUCT], rtol=1e-10)


def test_chunks_do_not_change_the_result(monkeypatch, economies):
    params = economies["R1"].replace(labor_cost=np.float64(0.03))
    whole = economy.bracket_optimum(params, rate_step=0.25)
    monkeypatch.setattr("ai_econ_jax.envs.one_step_economy.optimum._CHUNK_ENTRIES", 7 * 4 * 4)
    chunked = economy.bracket_optimum(params, rate_step=0.25)
    assert whole.num_schedules % 7 != 0
    for function, value in whole.welfare.items():
        np.testing.assert_allclose(chunked.welfare[function], value, rtol=1e-12)
        np.testing.assert_array_equal(chunked.rates[function], whole.rates[function])
    np.testing.assert_allclose(chunked.frontier.equality, whole.frontier.equality, rtol=1e-12)


def test_too_many_schedules_are_refused_with_their_number():
    params = economy.make_params([1.0, 40.0], labor_cost=0.016)
    message = r"1801088541 schedules \(21 rates in 7 reachable brackets\) .* coarser rate_step than"
    with pytest.raises(ValueError, match=message):
        economy.bracket_optimum(params)


def test_isoelastic_utility_and_bad_steps_are_refused(economies):
    isoelastic = economies["R1"].replace(utility="isoelastic")
    with pytest.raises(ValueError, match="needs utility 'coin_minus_labor_cost', got 'isoelastic'"):
        economy.bracket_optimum(isoelastic)
    with pytest.raises(ValueError, match=r"rate_step is 0\.3, must divide 1"):
        economy.bracket_optimum(economies["R1"], rate_step=0.3)
    with pytest.raises(ValueError, match="elasticity is None, must be given with utility"):
        economy.iterate_saez(isoelastic)
    with pytest.raises(ValueError, match=r"num_averaged is 9, must lie in \[1, 5\]"):
        economy.iterate_saez(economies["R1"], num_iterations=5, num_averaged=9)


# --- closed forms of flat taxes -------------------------------------------------------------------


def flat_welfare(params, rate):
    """Welfare at a flat rate with continuous hours, from each worker's first-order condition."""
    worker_skills, exponent = np.asarray(params.skills), float(params.labor_exponent)
    num_workers, cost = len(worker_skills), float(params.labor_cost)
    pay = worker_skills * (1 - rate * (1 - 1 / num_workers))
    hours = (pay / (cost * exponent)) ** (1 / (exponent - 1))
    income = worker_skills * hours
    coin = (1 - rate) * income + rate * income.mean()
    return welfare_by_loop(income, coin, coin - cost * hours**exponent)[0]


@pytest.mark.parametrize("exponent", [2.0, 3.0, 6.0])
@pytest.mark.parametrize("worker_skills", [[1.0, 5.0], [1.1, 1.3, 1.6, 4.0], [2.0, 2.1, 9.0]])
def test_closed_forms_maximise_welfare_over_flat_rates(worker_skills, exponent):
    params = economy.make_params(worker_skills, labor_cost=0.01, labor_exponent=exponent)
    closed_forms = {
        INVERSE: float(economy.continuous_inverse_income_rate(params)),
        PRODUCT: float(economy.continuous_equality_productivity_rate(params)),
    }
    for function, rate in closed_forms.items():
        best = optimize.minimize_scalar(
            lambda r, function=function: -flat_welfare(params, r)[function],
            bounds=(0, 1),
            method="bounded",
            options={"xatol": 1e-9},
        )
        np.testing.assert_allclose(rate, best.x, atol=2e-5, err_msg=function)


def test_gini_mode_moves_the_closed_form():
    params = economy.make_params(np.linspace(1, 9, 40), labor_cost=0.01, labor_exponent=6.0)
    exact, foundation = (
        float(economy.continuous_equality_productivity_rate(params.replace(gini_mode=mode)))
        for mode in ("exact", "foundation")
    )
    assert 0 < foundation < exact


@pytest.mark.slow
def test_a_thousand_workers_take_less_than_a_minute():
    params = economy.make_params(
        skills.expected_order_statistics(1000), labor_cost=0.0005, labor_exponent=3.0
    )
    start = time.perf_counter()
    result = economy.bracket_optimum(params)
    assert time.perf_counter() - start < 60
    np.testing.assert_array_equal(result.rates[INVERSE], [0, 0, 0.45, 0.25, 0, 0, 0])
    np.testing.assert_allclose(result.welfare[INVERSE], 30.9264, atol=1e-3)
