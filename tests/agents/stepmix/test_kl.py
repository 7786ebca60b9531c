"""KL backups against values computed beforehand, and against an independent solution in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln

from ai_econ_jax.agents.stepmix import kl

# Law, values, radius, smallest and largest mean (spec, section 6, bar 6).
TABLE = [
    ((0.5, 0.3, 0.2), (1.0, 2.0, 4.0), 0.1, 1.47328912, 2.46879039),
    ((0.6, 0.4, 0.0), (1.0, 0.0, 3.0), 0.2, 0.29450918, 1.07421587),
    ((1.0, 0.0, 0.0), (2.0, 0.0, 5.0), 0.05, 1.90245885, 2.14631173),
    ((0.25, 0.25, 0.25, 0.25), (0.0, 1.0, 2.0, 3.0), 0.5, 0.49610780, 2.50389220),
]


def exact_upper(laws, radii, values, steps=60):
    """Largest mean over each ball: laws f64[X, N], radii f64[N], values f64[X, N].

    Bisection on the dual's slope over a bracket wider than the library's, in float64.
    """
    top = values.max(0)
    span = np.maximum(top - values.min(0), 1e-12)
    low, high = np.full(radii.shape, -60.0), np.full(radii.shape, 60.0)

    def parts(log_x):
        ratio = 1 + (top - values) / (span * np.exp(log_x))
        return (laws * np.log(ratio)).sum(0) - radii, (laws / ratio).sum(0)

    for _ in range(steps):
        middle = (low + high) / 2
        exponent, slope = parts(middle)
        falling = np.exp(exponent) * slope > 1
        low, high = np.where(falling, middle, low), np.where(falling, high, middle)
    log_x = (low + high) / 2
    x = span * np.exp(log_x)
    bound = top - x * np.expm1((laws * np.log1p((top - values) / x)).sum(0) - radii)
    return np.minimum(bound, top)


@pytest.mark.parametrize(("law", "values", "radius", "smallest", "largest"), TABLE)
def test_the_table_of_the_spec(law, values, radius, smallest, largest):
    with jax.enable_x64(True):
        law, values = (jnp.asarray(x)[:, None] for x in (law, values))
        radius = jnp.asarray([radius])
        low, high = (float(f(law, radius, values, 40)[0]) for f in (kl.lower, kl.upper))
        fast_low, fast_high = (float(f(law, radius, values)[0]) for f in (kl.lower, kl.upper))
    assert (low, high) == pytest.approx((smallest, largest), abs=1e-6)
    mean = float((law * values).sum())
    assert high <= fast_high <= mean + 1.001 * (high - mean)
    assert mean - 1.001 * (mean - low) <= fast_low <= low


def random_cases(rng, count, size):
    """Laws, one in four from few samples (zeros, one-hot), radii up to 20, values of any scale."""
    concentration = 10.0 ** rng.uniform(-1.5, 1.5, (count, 1))
    laws = rng.gamma(np.broadcast_to(concentration, (count, size))) + 1e-300
    laws /= laws.sum(1, keepdims=True)
    samples = rng.choice([1, 2, 3, 5, 20], count)
    sampled = np.stack([rng.multinomial(n, p) / n for n, p in zip(samples, laws, strict=True)])
    laws = np.where(rng.random((count, 1)) < 0.5, sampled, laws)
    radii = np.minimum(10.0 ** rng.uniform(-5, 1.5, count), 20.0)
    values = rng.random((count, size)) * 10.0 ** rng.uniform(-3, 2, (count, 1))
    values = np.where(rng.random((count, 1)) < 0.2, np.round(values), values)
    return laws.T, radii, values.T


@pytest.mark.parametrize("far_from_zero", [False, True])
@pytest.mark.parametrize("size", [2, 3, 5, 10])
def test_bounds_hold_and_are_tight_in_float32(size, far_from_zero):
    """Bar 7: within 2e-6 of the range of values, or of the largest value where that is larger."""
    laws, radii, values = random_cases(np.random.default_rng(size), 2500, size)
    if not far_from_zero:
        values -= values.min(0)
    laws, radii, values = (x.astype(np.float32) for x in (laws, radii, values))
    upper, lower = (
        np.asarray(jax.jit(f)(laws, radii, values), np.float64) for f in (kl.upper, kl.lower)
    )
    laws, radii, values = (x.astype(np.float64) for x in (laws, radii, values))
    laws /= laws.sum(0)
    highest = exact_upper(laws, radii, values)
    lowest = -exact_upper(laws, radii, -values)
    span = values.max(0) - values.min(0)
    mean = (laws * values).sum(0)
    scale = np.abs(values).max(0)  # a float32 value has no more digits than this allows
    slack = 2e-6 * (np.maximum(span, scale) if far_from_zero else span)
    assert (highest <= upper + slack).all()
    assert (lower - slack <= lowest).all()
    for bound, exact in ((upper, highest), (lower, lowest)):
        width, best = np.abs(bound - mean), np.abs(exact - mean)
        assert (width <= np.maximum(1.002 * best, 1e-3 * span) + slack).all()


def test_equal_values_are_their_own_bound():
    law = jnp.asarray([[0.3], [0.7]])
    for bound in (kl.upper, kl.lower):
        assert float(bound(law, jnp.asarray([0.5]), jnp.full((2, 1), 3.25))[0]) == 3.25


def test_radius_is_the_log_binomial_to_float32_at_counts_where_lgamma_has_lost_it():
    for support in (2, 3, 10, 64):
        count = np.array([1, 7, 1000, 10**5, 10**6, 2**24], np.float64)
        exact = (
            np.log(300 / 0.05) + gammaln(count + support) - gammaln(support) - gammaln(count + 1)
        )
        found = kl.log_radius(jnp.asarray(count, jnp.float32), 300, 0.05, support)
        np.testing.assert_allclose(found, exact, rtol=1e-6)


def _ever_outside(with_binomial: bool) -> float:
    """Share of 3000 paths of 2000 draws on which n KL(phat || P) ever exceeds the threshold."""
    law, paths, draws = np.array([0.6, 0.3, 0.1]), 3000, 2000
    rng = np.random.default_rng(0)
    count = np.arange(1.0, draws + 1)
    threshold = np.asarray(kl.log_radius(jnp.asarray(count, jnp.float32), 1, 0.05, 3))
    if not with_binomial:
        threshold = np.full(draws, np.log(1 / 0.05))
    outside = 0
    for _ in range(10):
        outcomes = rng.choice(3, (paths // 10, draws), p=law)
        counts = np.stack([(outcomes == i).cumsum(1) for i in range(3)], -1)
        empirical = counts / count[:, None]
        logs = np.log(np.maximum(empirical, 1e-300) / law)
        divergence = np.where(counts > 0, counts * logs, 0).sum(-1)
        outside += (divergence > threshold).any(1).sum()
    return outside / paths


def test_the_ball_holds_at_all_times_and_only_with_its_binomial_term():
    """Bar 8. Figures of the spec's prototype: 0.0067 and 0.594."""
    assert _ever_outside(with_binomial=True) <= 0.05
    assert _ever_outside(with_binomial=False) > 0.3
