"""Masked and multi-head categoricals against explicit enumeration."""

import itertools

import chex
import distrax
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import distributions

LOGITS = jnp.array([[0.3, -1.0, 2.0, 0.0, 9.0], [50.0, -50.0, 0.0, 7.0, 1.0]])
MASK = jnp.array([[1, 1, 0, 1, 0], [0, 1, 1, 0, 1]], bool)
HEADS = (4, 2, 3)


def flat_heads(seed=0, batch=6):
    """Random logits and a mask with at least one valid action in every head."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (batch, sum(HEADS))).astype(np.float32)
    mask = rng.random((batch, sum(HEADS))) < 0.6
    mask[:, np.cumsum(HEADS) - 1] = True
    return logits, mask


def head_probs(logits, mask):
    """Softmax over the valid actions of each head, in float64, as a list over heads."""
    weights = np.where(mask, np.exp(logits.astype(np.float64)), 0)
    parts = np.split(weights, np.cumsum(HEADS)[:-1], axis=-1)
    return [part / part.sum(-1, keepdims=True) for part in parts]


class VariantsTest(chex.TestCase):
    """The main entries, with and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_masked_categorical_equals_softmax_over_the_valid_actions(self):
        @self.variant
        def run(logits, mask, actions):
            distribution = distributions.masked_categorical(logits, mask)
            log_prob = distribution.log_prob(actions)
            return distribution.probs, log_prob, distribution.entropy(), distribution.mode()

        actions = jnp.array([3, 2])
        probs, log_prob, entropy, mode = run(LOGITS, MASK, actions)
        weights = np.where(MASK, np.exp(np.asarray(LOGITS, np.float64)), 0)
        expected = weights / weights.sum(-1, keepdims=True)
        chex.assert_type([probs, log_prob, entropy, mode], [float, float, float, jnp.int32])
        np.testing.assert_array_equal(np.asarray(probs)[~MASK], 0.0)
        np.testing.assert_allclose(probs, expected, atol=1e-6)
        np.testing.assert_allclose(log_prob, np.log(expected[[0, 1], actions]), atol=1e-6)
        plogp = np.where(expected > 0, expected * np.log(np.where(MASK, expected, 1)), 0)
        np.testing.assert_allclose(entropy, -plogp.sum(-1), atol=1e-6)
        np.testing.assert_array_equal(mode, [0, 4])

    @chex.variants(with_jit=True, without_jit=True)
    def test_heads_equal_enumeration_of_the_joint_action(self):
        @self.variant
        def run(logits, mask, actions):
            distribution = distributions.MultiHeadCategorical(logits, HEADS, mask)
            joint = jax.vmap(distribution.log_prob)(actions)
            return joint, distribution.entropy(), distribution.mode()

        logits, mask = flat_heads()
        every_action = np.array(list(itertools.product(*map(range, HEADS))))
        actions = np.broadcast_to(every_action[:, None], (len(every_action), 6, 3))
        log_prob, entropy, mode = run(logits, mask, actions)
        probs = head_probs(logits, mask)
        expected = np.prod([p[:, every_action[:, h]] for h, p in enumerate(probs)], axis=0).T
        np.testing.assert_allclose(np.exp(log_prob), expected, atol=1e-6)
        np.testing.assert_array_equal(np.exp(log_prob)[expected == 0], 0.0)
        surprise = -np.log(np.where(expected > 0, expected, 1))
        np.testing.assert_allclose(entropy, (expected * surprise).sum(0), atol=1e-5)
        np.testing.assert_array_equal(mode, every_action[expected.argmax(0)])
        chex.assert_type([log_prob, entropy, mode], [float, float, jnp.int32])


def test_no_mask_and_a_full_mask_are_distrax():
    oracle = distrax.Categorical(logits=LOGITS)
    for mask in (None, jnp.ones_like(LOGITS)):
        distribution = distributions.masked_categorical(LOGITS, mask)
        np.testing.assert_array_equal(distribution.probs, oracle.probs)
        np.testing.assert_array_equal(distribution.entropy(), oracle.entropy())


def test_masks_of_numbers_and_of_booleans_agree():
    for dtype in (jnp.float32, jnp.int32):
        distribution = distributions.masked_categorical(LOGITS, MASK.astype(dtype))
        expected = distributions.masked_categorical(LOGITS, MASK)
        np.testing.assert_array_equal(distribution.probs, expected.probs)
        distribution = distributions.MultiHeadCategorical(LOGITS, (2, 3), MASK.astype(dtype))
        expected = distributions.MultiHeadCategorical(LOGITS, (2, 3), MASK)
        np.testing.assert_array_equal(distribution.entropy(), expected.entropy())


def test_gradients_are_finite_and_zero_at_masked_logits():
    def objective(logits):
        distribution = distributions.masked_categorical(logits, MASK)
        return jnp.sum(distribution.entropy() + distribution.log_prob(jnp.array([3, 2])))

    gradient = np.asarray(jax.grad(objective)(LOGITS))
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[~MASK], 0.0)
    assert np.all(gradient[0, MASK[0]] != 0)


def test_a_single_valid_action_has_probability_one_and_entropy_zero():
    distribution = distributions.masked_categorical(LOGITS, jnp.arange(5) == jnp.array([[2], [1]]))
    np.testing.assert_array_equal(distribution.entropy(), 0)
    np.testing.assert_array_equal(distribution.log_prob(jnp.array([2, 1])), 0)
    draws = distribution.sample(seed=jax.random.key(0), sample_shape=(100,))
    np.testing.assert_array_equal(draws, np.broadcast_to([2, 1], (100, 2)))


def test_log_prob_of_a_masked_action_is_very_low_but_finite():
    log_prob = distributions.masked_categorical(LOGITS, MASK).log_prob(jnp.array([2, 0]))
    np.testing.assert_allclose(log_prob, -1e7, rtol=1e-5)


def test_samples_have_the_frequencies_of_the_distribution_and_are_never_masked():
    distribution = distributions.masked_categorical(LOGITS[0], MASK[0])
    draws = jax.jit(lambda key: distribution.sample(seed=key, sample_shape=(200_000,)))(
        jax.random.key(0)
    )
    chex.assert_type(draws, jnp.int32)
    frequency = np.bincount(draws, minlength=5) / draws.size
    probs = np.asarray(distribution.probs)
    np.testing.assert_array_equal(frequency[~MASK[0]], 0.0)
    standard_error = np.sqrt(probs * (1 - probs) / draws.size)
    assert np.all(np.abs(frequency - probs) <= 4 * standard_error)


ONE_BELOW = np.nextafter(np.float32(1), np.float32(0))
sample_by_inverse_cdf = jax.jit(distributions.sample_by_inverse_cdf)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    hnp.arrays(np.float32, (4, 37), elements=st.floats(-30, 30, width=32)),
    hnp.arrays(bool, (4, 37)),
    hnp.arrays(
        np.float32,
        4,
        elements=st.one_of(
            st.floats(0, 1, width=32), st.sampled_from([0.0, 0.5, float(ONE_BELOW), 1.0])
        ),
    ),
)
def test_inverse_cdf_draws_the_action_in_whose_interval_the_uniform_number_lies(
    logits, mask, uniform
):
    mask[:, 17] = True
    masked_logits = distributions.masked_categorical(logits, mask).logits
    drawn = np.asarray(sample_by_inverse_cdf(uniform, masked_logits))
    for row in range(4):
        weights = np.where(mask[row], np.exp(logits[row].astype(np.float64)), 0)
        upper = np.cumsum(weights) / weights.sum()
        action = drawn[row]
        assert mask[row, action]
        assert upper[action] >= uniform[row] - 1e-6
        assert upper[action] - weights[action] / weights.sum() <= uniform[row] + 1e-6


@pytest.mark.parametrize("uniform", [0.0, float(ONE_BELOW), 1.0])
def test_extreme_uniform_numbers_never_draw_an_impossible_action(uniform):
    # Long rows, where the rounding of the parallel cumulative sum shows; both ends are masked.
    logits = jax.random.normal(jax.random.key(0), (300, 1001))
    mask = jax.random.bernoulli(jax.random.key(1), 0.5, logits.shape)
    mask = mask.at[:, :3].set(False).at[:, -3:].set(False)
    masked_logits = distributions.masked_categorical(logits, mask).logits
    drawn = np.asarray(sample_by_inverse_cdf(jnp.full(300, uniform), masked_logits))
    possible = np.asarray(jax.nn.softmax(masked_logits) > 0)
    assert np.all(possible[np.arange(300), drawn])
    if uniform == 0:
        np.testing.assert_array_equal(drawn, possible.argmax(-1))


def test_rounding_of_the_cumulative_sum_never_draws_an_impossible_action():
    # Uniform numbers placed on every step of the cumulative sum itself.
    logits = 3 * jax.random.normal(jax.random.key(2), (1001,))
    mask = jax.random.bernoulli(jax.random.key(3), 0.3, logits.shape)
    masked_logits = distributions.masked_categorical(logits, mask).logits
    steps = jnp.cumsum(jax.nn.softmax(masked_logits))
    uniform = jnp.concatenate([steps, jnp.nextafter(steps, 0), jnp.nextafter(steps, 1)])
    drawn = sample_by_inverse_cdf(jnp.clip(uniform, 0, 1), masked_logits)
    assert np.all(np.asarray(mask)[np.asarray(drawn)])


def test_intervals_of_the_inverse_cdf_are_closed_below_and_open_above():
    uniform = jnp.array([0.0, 0.25, 0.5, 0.75, 1.0])
    drawn = sample_by_inverse_cdf(uniform, jnp.zeros((5, 4)))
    np.testing.assert_array_equal(drawn, [0, 1, 2, 3, 3])


def test_nan_logits_give_the_action_minus_one_as_in_distrax():
    logits = jnp.array([[0.0, jnp.nan], [0.0, 0.0]])
    drawn = distributions.masked_categorical(logits).sample(seed=jax.random.key(0))
    assert drawn[0] == -1
    assert drawn[1] >= 0


def test_head_samples_are_valid_independent_and_have_log_probs():
    logits, mask = flat_heads(1)
    distribution = distributions.MultiHeadCategorical(logits, HEADS, mask)
    chex.assert_equal(distribution.event_shape, (3,))
    chex.assert_equal(distribution.batch_shape, (6,))

    @jax.jit
    def run(distribution, key):
        return distribution.sample_and_log_prob(seed=key, sample_shape=(20_000,))

    draws, log_prob = run(distribution, jax.random.key(0))
    chex.assert_shape([draws, log_prob], [(20_000, 6, 3), (20_000, 6)])
    chex.assert_type(draws, jnp.int32)
    np.testing.assert_allclose(log_prob, distribution.log_prob(draws), atol=1e-6)
    draws = np.asarray(draws)
    probs = head_probs(logits, mask)
    for row, (h, g) in itertools.product(range(6), [(0, 1), (1, 2), (0, 2)]):
        joint = np.zeros((HEADS[h], HEADS[g]))
        np.add.at(joint, (draws[:, row, h], draws[:, row, g]), 1 / len(draws))
        expected = np.outer(probs[h][row], probs[g][row])
        np.testing.assert_array_equal(joint[expected == 0], 0)
        np.testing.assert_allclose(joint, expected, atol=0.02)


def test_equal_heads_are_rows_of_the_flat_vector():
    logits = jax.random.normal(jax.random.key(0), (2, 7 * 22))
    mask = jax.random.bernoulli(jax.random.key(1), 0.9, logits.shape)
    distribution = distributions.MultiHeadCategorical(logits, (22,) * 7, mask)
    oracle = distrax.Categorical(logits=jnp.where(mask, logits, -jnp.inf).reshape(2, 7, 22))
    actions = oracle.mode()
    log_prob = oracle.log_prob(actions).sum(-1)
    np.testing.assert_allclose(distribution.log_prob(actions), log_prob, atol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), oracle.entropy().sum(-1), atol=1e-5)


def test_heads_that_do_not_fill_the_vector_are_refused():
    with pytest.raises(AssertionError):
        distributions.MultiHeadCategorical(jnp.zeros((2, 10)), HEADS)
    with pytest.raises(AssertionError):
        distributions.masked_categorical(jnp.zeros((2, 10)), jnp.ones(10))
