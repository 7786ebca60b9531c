"""Tax brackets against the official figures (specification, appendix B.1) and a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_econ_jax.envs.economy import brackets

CUTOFFS = np.array(brackets.US_FEDERAL_CUTOFFS)

# Income, tax due, marginal rate under the US schedule, from the official package.
OFFICIAL_US = np.array(
    [
        (-3, 0, 0),
        (0, 0, 0.10),
        (5, 0.5, 0.10),
        (9.7, 0.97, 0.12),
        (20, 2.206, 0.12),
        (39.475, 4.543, 0.22),
        (50, 6.8585, 0.22),
        (84.2, 14.3825, 0.24),
        (120, 22.9745, 0.24),
        (160.725, 32.7485, 0.32),
        (200, 45.3165, 0.32),
        (204.1, 46.6285, 0.35),
        (300, 80.1935, 0.35),
        (510.3, 153.7985, 0.37),
        (600, 186.9875, 0.37),
    ]
)

incomes = st.floats(-50, 1000, allow_subnormal=False)
schedules = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=7, max_size=7).map(np.array)

pytestmark = pytest.mark.usefixtures("x64")


def tax_by_loop(income, rates, cutoffs):
    tax = 0.0
    for bracket, rate in enumerate(rates):
        upper = cutoffs[bracket + 1] if bracket + 1 < len(cutoffs) else np.inf
        if income > cutoffs[bracket]:
            tax += rate * (min(income, upper) - cutoffs[bracket])
    return tax


@pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_us_federal_tax_and_marginal_rate_are_the_official_ones(compiled):
    income, tax, rate = OFFICIAL_US.T
    schedule = jnp.array(brackets.US_FEDERAL_RATES)
    np.testing.assert_allclose(
        compiled(brackets.tax_due)(income, schedule, CUTOFFS), tax, atol=1e-5
    )
    np.testing.assert_array_equal(compiled(brackets.marginal_rate)(income, schedule, CUTOFFS), rate)


@settings(max_examples=50)
@given(income=incomes, rates=schedules)
def test_tax_due_equals_a_loop_over_brackets(income, rates):
    expected = tax_by_loop(income, rates, CUTOFFS)
    np.testing.assert_allclose(brackets.tax_due(income, rates, CUTOFFS), expected, atol=1e-9)


@settings(max_examples=50)
@given(income=incomes, step=st.floats(0, 100, allow_subnormal=False), rates=schedules)
def test_more_income_never_leaves_less_and_never_pays_less_tax(income, step, rates):
    tax = brackets.tax_due(jnp.array([income, income + step]), rates, CUTOFFS)
    assert tax[1] >= tax[0] - 1e-9
    assert tax[1] - tax[0] <= step + 1e-9


@settings(max_examples=50)
@given(income=st.floats(0, 1000, allow_subnormal=False), rates=schedules)
def test_marginal_rate_is_the_slope_of_tax_due_to_the_right(income, rates):
    step = 1e-4
    if np.any((CUTOFFS > income) & (CUTOFFS <= income + step)):
        return
    below, above = brackets.tax_due(jnp.array([income, income + step]), rates, CUTOFFS)
    slope = (above - below) / step
    np.testing.assert_allclose(slope, brackets.marginal_rate(income, rates, CUTOFFS), atol=1e-6)


def test_bracket_index_is_closed_below_and_open_above():
    income = jnp.array([-1.0, 0.0, 9.6999, 9.7, 510.2999, 510.3, 1e9])
    np.testing.assert_array_equal(brackets.bracket_index(income, CUTOFFS), [0, 0, 0, 1, 5, 6, 6])


def test_rates_can_be_vmapped_over_schedules():
    income = jnp.linspace(-5, 600, 11)
    rates = jax.random.uniform(jax.random.key(0), (4, 7))
    batch = jax.vmap(brackets.tax_due, in_axes=(None, 0, None))(income, rates, CUTOFFS)
    for row, schedule in zip(batch, rates, strict=True):
        np.testing.assert_allclose(row, brackets.tax_due(income, schedule, CUTOFFS), rtol=1e-12)


def test_spacings_of_cutoffs():
    np.testing.assert_array_equal(brackets.make_cutoffs("us_federal"), CUTOFFS)
    np.testing.assert_allclose(brackets.make_cutoffs("linear", 5, 100), [0, 25, 50, 75, 100])
    np.testing.assert_allclose(brackets.make_cutoffs("log", 5, 100), [0, 12.5, 25, 50, 100])


def test_rate_grid_has_exact_decimals():
    np.testing.assert_array_equal(brackets.rate_grid(0.05), [round(0.05 * k, 2) for k in range(21)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: brackets.make_cutoffs("square"), "'square' is unknown; valid: us_federal, linear"),
        (lambda: brackets.make_cutoffs("log", 1), "num_brackets is 1, must be at least 2"),
        (lambda: brackets.make_cutoffs("log", 5, -1.0), "top cutoff is -1.0, must be a positive"),
        (lambda: brackets.rate_grid(0.0), r"rate_step is 0.0, must lie in \(0, 1\]"),
        (lambda: brackets.rate_grid(0.3), "rate_step is 0.3, must divide 1"),
        (lambda: brackets.validate_cutoffs([1.0, 2.0]), "cutoffs starts at 1, must start at 0"),
        (lambda: brackets.validate_cutoffs([0.0, 5.0, 5.0]), "must ascend strictly"),
        (lambda: brackets.validate_cutoffs([0.0, np.nan]), "must ascend strictly and be finite"),
        (lambda: brackets.validate_cutoffs([0.0]), "at least 2 numbers"),
        (
            lambda: brackets.validate_rates([0.1, 1.2], 2),
            r"rates\[1\] is 1.2, must lie in \[0, 1\]",
        ),
        (
            lambda: brackets.validate_rates([-0.1, 1], 2),
            r"rates\[0\] is -0.1, must lie in \[0, 1\]",
        ),
        (lambda: brackets.validate_rates([0.1, np.nan], 2), r"rates\[1\] is nan"),
        (
            lambda: brackets.validate_rates([0.1], 7),
            r"shape \(1,\), must be one rate for each of 7",
        ),
    ],
)
def test_bad_input_is_refused_with_one_line_that_names_it(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_valid_rates_and_cutoffs_come_back():
    np.testing.assert_array_equal(brackets.validate_rates([0, 0.5, 1], 3), [0, 0.5, 1])
    np.testing.assert_array_equal(brackets.validate_cutoffs([0, 3, 7]), [0, 3, 7])
