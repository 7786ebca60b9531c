"""The Saez baseline against official figures (appendix B.3) and a plain-numpy restatement."""

import collections

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ai_econ_jax.envs.economy import brackets, saez

CUTOFFS = np.array(brackets.US_FEDERAL_CUTOFFS)
QUANTILES = (np.arange(2000) + 0.5) / 2000
INCOMES = {
    "F1": 20 * (1 - QUANTILES) ** -0.5,
    "F2": np.exp(3.5 + 0.7 * stats.norm.ppf(QUANTILES)),
    "F3": np.array([12, 15, 33, 34.5, 80, 81, 120, 400, 600, 900]),
    "F4": np.array([60.0, 95, 210, 640]),
}
OFFICIAL_RATES = [
    ("F1", 0.25, [0.105256, 0.322265, 0.566974, 0.625524, 0.641317, 0.318648, 0.607134]),
    ("F1", 0.5, [0.061397, 0.198043, 0.396221, 0.455689, 0.475269, 0.201066, 0.435888]),
    ("F1", 1, [0.033489, 0.112260, 0.247430, 0.295560, 0.314425, 0.117138, 0.278681]),
    ("F2", 0.25, [0.912000, 0.693254, 0.582052, 0.513276, 0.473776, 0.303272, 1.0]),
    ("F2", 0.5, [0.844624, 0.532699, 0.410881, 0.345890, 0.313118, 0.262489, 1.0]),
    ("F2", 1, [0.746211, 0.365322, 0.258838, 0.209483, 0.187074, 0.237619, 1.0]),
    ("F3", 0.25, [0.319286, 0.602041, 0.431663, 0.338120, 0.294997, 0.238232, 0.547313]),
    ("F3", 0.5, [0.236486, 0.433314, 0.282203, 0.204290, 0.176820, 0.147241, 0.376759]),
    ("F3", 1, [0.155720, 0.278112, 0.168050, 0.114049, 0.098293, 0.084565, 0.232103]),
    ("F4", 0.5, [0.011412, 0.041246, 0.091270, 0.098917, 0.066149, 0.145785, 0.248473]),
]

pytestmark = pytest.mark.usefixtures("x64")

fit_elasticity = jax.jit(saez.fit_elasticity)
merge_bins = jax.jit(saez.merge_bins)
record = jax.jit(saez.record)
update_elasticity = jax.jit(saez.update_elasticity)
next_rates_with_noise = jax.jit(saez.next_rates_with_noise)
compiled_bins = jax.jit(saez.welfare_weights_and_pareto_parameters)
compiled_schedule = jax.jit(saez.schedule, static_argnames="pareto_weights")


def everyone(incomes):
    return np.ones(len(incomes), dtype=bool)


def schedule(incomes, elasticity, pareto_weights="inverse_income", dtype=float):
    """The schedule for a whole sample, padded to one length so that it compiles once."""
    is_used = np.arange(2000) < len(incomes)
    padded = jnp.zeros(2000, dtype).at[: len(incomes)].set(incomes)
    return compiled_schedule(padded, is_used, elasticity, CUTOFFS, pareto_weights)


def schedule_by_loop(incomes, elasticity, uniform=False):
    """The official Saez computation in plain numpy, with NaN for empty bins."""

    def weigh(z):
        return np.ones_like(z) if uniform else 1 / np.maximum(1, z)

    edges = np.linspace(0, CUTOFFS[-1], 101)
    middles = (edges[1:] + edges[:-1]) / 2
    counts, _ = np.histogram(incomes, bins=edges)
    above, below = incomes[incomes > CUTOFFS[-1]], incomes[incomes < 0]
    probability = np.append(counts, len(above)) / len(incomes)
    weight = np.append(counts * weigh(middles), weigh(above).sum())
    weight = weight / (weight.sum() + weigh(np.maximum(below, 0)).sum() + 1e-9)
    g_edge = [weight[j:].sum() / (probability[j:].sum() + 1e-9) for j in range(101)]
    cumulative = np.cumsum(probability) + len(below) / len(incomes)
    taus = []
    for j in range(100):
        at_or_above = np.clip(1 - cumulative[j] + probability[j] / 2, 0, 1) + 1e-9
        a = middles[j] * probability[j] / (at_or_above * (edges[j + 1] - edges[j]))
        g = (g_edge[j] + g_edge[j + 1]) / 2
        taus.append((1 - g) / (1 - g + a * elasticity + 1e-9) if counts[j] else np.nan)
    a = above.mean() / (above.mean() - CUTOFFS[-1] + 1e-9) if len(above) else 0
    taus.append((1 - g_edge[-1]) / (1 - g_edge[-1] + a * elasticity + 1e-9))
    known = [-1] + [j for j in range(101) if not np.isnan(taus[j])]
    taus = np.interp(np.arange(101), known, [0.0] + [taus[j] for j in known[1:]])
    due = [np.sum(taus[:-1] * np.clip(z - edges[:-1], 0, np.diff(edges))) for z in CUTOFFS]
    return np.append(np.diff(np.maximum(due, 0)) / np.diff(CUTOFFS), taus[-1])


@pytest.mark.parametrize(("name", "elasticity", "expected"), OFFICIAL_RATES)
def test_bracket_rates_are_the_official_ones(name, elasticity, expected):
    incomes = INCOMES[name]
    rates = schedule(incomes, elasticity)
    np.testing.assert_allclose(rates, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "g", "a"),
    [("F1", 0.039412, 2.486320), ("F3", 0.054261, 3.128911), ("F4", 0.184271, 4.934464)],
)
def test_top_bin_is_the_official_one(name, g, a):
    incomes = INCOMES[name]
    is_used = np.arange(2000) < len(incomes)
    bins = compiled_bins(np.resize(incomes, 2000), is_used, CUTOFFS[-1])
    np.testing.assert_allclose((bins[0][-1], bins[1][-1]), (g, a), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("F1", [0] * 7), ("F3", [0] * 7), ("F4", [0] * 7), ("F2", [0, 0, 0, 0, 0, 0.210597, 1.0])],
)
def test_uniform_weights_tax_nobody_except_through_empty_bins(name, expected):
    incomes = INCOMES[name]
    rates = schedule(incomes, 0.5, "uniform")
    np.testing.assert_allclose(rates, expected, atol=2e-6)


@settings(max_examples=40)
@given(
    incomes=st.lists(
        st.one_of(
            st.floats(-30, 700, allow_subnormal=False),
            st.sampled_from([0.0, 510.3, -1.0, 600.0]),
        ),
        min_size=12,
        max_size=12,
    ).map(np.array),
    elasticity=st.floats(0.05, 3),
    uniform=st.booleans(),
)
def test_schedule_equals_a_plain_restatement_on_any_incomes(incomes, elasticity, uniform):
    weights = "uniform" if uniform else "inverse_income"
    rates = schedule(incomes, elasticity, weights)
    # The two sum in another order, and 1 - G cancels where weights hardly differ.
    np.testing.assert_allclose(rates, schedule_by_loop(incomes, elasticity, uniform), atol=2e-5)


def test_the_last_finite_bin_is_closed_on_the_right():
    at_top = np.array([510.3, 20.0])
    _, a, has_incomes = saez.welfare_weights_and_pareto_parameters(at_top, everyone(at_top), 510.3)
    assert has_incomes[99]
    assert a[-1] == 0


def test_unused_samples_change_nothing():
    incomes = np.append(INCOMES["F3"], [55.0, -8.0, 700.0])
    rates = compiled_schedule(incomes, np.arange(13) < 10, 0.5, CUTOFFS)
    np.testing.assert_allclose(rates, schedule(INCOMES["F3"], 0.5), rtol=1e-9)


def test_float32_gives_the_official_rates():
    with jax.enable_x64(False):
        for name, elasticity, expected in OFFICIAL_RATES:
            rates = schedule(INCOMES[name], elasticity, dtype=jnp.float32)
            assert rates.dtype == jnp.float32
            np.testing.assert_allclose(rates, expected, atol=1e-5)


@settings(max_examples=30)
@given(
    rates=st.lists(st.floats(0, 1, allow_subnormal=False), min_size=101, max_size=101).map(np.array)
)
def test_brackets_collect_what_their_bins_collect(rates):
    bracket_rates = merge_bins(rates, CUTOFFS)
    collected = np.sum(bracket_rates[:-1] * np.diff(CUTOFFS))
    np.testing.assert_allclose(collected, np.sum(rates[:-1]) * 5.103, atol=1e-9)
    assert bracket_rates[-1] == rates[-1]


def elasticity_sample():
    random = np.random.RandomState(0)
    rates = random.uniform(0, 0.9, 400)
    return 50 * (1 - rates) ** 0.7 * np.exp(0.2 * random.randn(400)), rates


def test_elasticity_is_the_official_one():
    incomes, rates = elasticity_sample()
    slope, intercept, is_defined = fit_elasticity(incomes, rates, everyone(incomes))
    assert is_defined
    np.testing.assert_allclose((slope, intercept), (0.687160, 3.877127), atol=1e-6)
    smoothed = update_elasticity(0.5, incomes, rates, everyone(incomes))
    np.testing.assert_allclose(smoothed, 0.503743, atol=1e-6)


def test_elasticity_equals_least_squares_on_the_usable_samples():
    incomes, rates = elasticity_sample()
    incomes[:5], rates[5:9] = -3.0, 1.0
    is_used = np.arange(400) < 350
    usable = is_used & (incomes > 0) & (rates < 1)
    design = np.stack([np.log(1 - rates[usable]), np.ones(usable.sum())], axis=1)
    expected, *_ = np.linalg.lstsq(design, np.log(incomes[usable]), rcond=None)
    slope, intercept, _ = fit_elasticity(incomes, rates, is_used)
    np.testing.assert_allclose((slope, intercept), expected, rtol=1e-9)


@pytest.mark.parametrize("reason", ["few_samples", "equal_rates"])
def test_elasticity_stays_when_the_fit_is_undefined(reason):
    incomes, rates = elasticity_sample()
    is_used = np.arange(400) < 9 if reason == "few_samples" else everyone(incomes)
    rates = np.full(400, 0.3) if reason == "equal_rates" else rates
    assert update_elasticity(0.4, incomes, rates, is_used) == 0.4


def test_ten_samples_are_enough_for_the_fit():
    incomes, rates = elasticity_sample()
    assert fit_elasticity(incomes, rates, np.arange(400) < 10)[2]


def test_negative_slope_counts_as_zero():
    incomes, rates = elasticity_sample()
    smoothed = update_elasticity(0.5, 1 / incomes, rates, everyone(incomes))
    np.testing.assert_allclose(smoothed, 0.49, rtol=1e-12)


def test_ring_buffer_keeps_the_last_samples():
    state = saez.init(7, buffer_size=10)
    oracle = collections.deque(maxlen=10)
    for period in range(8):
        incomes = np.arange(4.0) + 10 * period
        state = record(state, incomes, incomes / 100)
        oracle.extend(incomes)
        recorded = np.asarray(state.incomes)[np.asarray(state.is_recorded)]
        assert sorted(recorded) == sorted(oracle)
    np.testing.assert_allclose(state.marginal_rates, state.incomes / 100)
    assert state.count == 32


def test_more_workers_than_places_leave_the_last_workers():
    state = record(saez.init(7, buffer_size=5), np.arange(12.0), np.zeros(12))
    assert sorted(np.asarray(state.incomes)) == [7, 8, 9, 10, 11]


def test_rates_are_random_until_the_buffer_is_full():
    state = record(saez.init(7), INCOMES["F1"][:499], np.zeros(499))
    noise = np.linspace(0, 0.9, 7)
    rates, after = next_rates_with_noise(noise, state, CUTOFFS, rate_min=0.1, cap=0.6)
    np.testing.assert_allclose(rates, 0.1 + 0.5 * noise, rtol=1e-12)
    chex.assert_trees_all_equal(state, after)


def full_state():
    incomes, rates = elasticity_sample()
    return record(saez.init(7), np.resize(incomes, 500), np.resize(rates, 500))


def test_a_full_buffer_sets_the_formula_rates_within_the_cap():
    state = full_state()
    noise = np.full(7, 0.123)
    rates, after = next_rates_with_noise(noise, state, CUTOFFS, rate_min=0.2, cap=0.5)
    expected = schedule(state.incomes, after.elasticity)
    assert np.max(expected) > 0.5 and np.min(expected) < 0.2
    np.testing.assert_allclose(rates, np.clip(expected, 0.2, 0.5), rtol=1e-9)
    np.testing.assert_allclose(after.running_rates, 0.01 * rates, rtol=1e-9)
    assert after.elasticity == update_elasticity(
        0.5, state.incomes, state.marginal_rates, state.is_recorded
    )
    rates, later = next_rates_with_noise(noise, after, CUTOFFS, rate_min=0.2, cap=0.5)
    expected = 0.99 * after.running_rates + 0.01 * rates
    np.testing.assert_allclose(later.running_rates, expected, rtol=1e-9)


def test_fixed_elasticity_is_used_while_the_estimate_goes_on():
    state = full_state()
    noise = np.zeros(7)
    rates, after = next_rates_with_noise(noise, state, CUTOFFS, fixed_elasticity=2.0)
    expected = schedule(state.incomes, 2.0)
    np.testing.assert_allclose(rates, np.clip(expected, 0, 1), rtol=1e-9)
    assert after.elasticity != state.elasticity


def test_rates_compile_once_and_vmap_over_replicas():
    compiled = jax.jit(
        chex.assert_max_traces(lambda k, s: saez.next_rates(k, s, CUTOFFS, cap=0.9), n=1)
    )
    keys = jax.random.split(jax.random.key(0), 3)
    states = [saez.init(7), full_state(), full_state()]
    one_by_one = [compiled(key, state) for key, state in zip(keys, states, strict=True)]
    batch = jax.jit(jax.vmap(lambda k, s: saez.next_rates(k, s, CUTOFFS, cap=0.9)))(
        keys, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    )
    for index, single in enumerate(one_by_one):
        part = jax.tree.map(lambda leaf, index=index: leaf[index], batch)
        chex.assert_trees_all_close(part, single, rtol=1e-9)
    assert not np.allclose(one_by_one[0][0], one_by_one[1][0])


def test_unknown_pareto_weights_list_the_valid_ones():
    with pytest.raises(ValueError, match="'rank' is unknown; valid: inverse_income, uniform"):
        saez.schedule(INCOMES["F3"], everyone(INCOMES["F3"]), 0.5, CUTOFFS, "rank")
