"""Loss terms against rlax, closed forms and the gradients that the clips are there for."""

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from ai_econ_jax import losses

CLIP = 0.2


def random_batch(seed=0, size=64):
    rng = np.random.default_rng(seed)
    old_log_prob = rng.normal(-2, 1, size).astype(np.float32)
    log_prob = old_log_prob + rng.normal(0, 0.3, size).astype(np.float32)
    return log_prob, old_log_prob, rng.normal(0, 1, size).astype(np.float32)


class VariantsTest(chex.TestCase):
    """The main entries, with and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_ppo_loss_equals_rlax(self):
        log_prob, old_log_prob, advantages = random_batch()
        got = self.variant(losses.ppo_clip_loss)(log_prob, old_log_prob, advantages, CLIP)
        chex.assert_shape(got, log_prob.shape)
        chex.assert_type(got, jnp.float32)
        ratio = np.exp(log_prob - old_log_prob)
        expected = rlax.clipped_surrogate_pg_loss(ratio, advantages, CLIP)
        np.testing.assert_allclose(got.mean(), expected, atol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_bare_clamp_equals_numpy(self):
        log_prob, old_log_prob, advantages = random_batch()
        got = self.variant(losses.ratio_clamp_loss)(log_prob, old_log_prob, advantages, CLIP)
        ratio = np.exp(log_prob - old_log_prob)
        chex.assert_type(got, jnp.float32)
        expected = -np.clip(ratio, 1 - CLIP, 1 + CLIP) * advantages
        np.testing.assert_allclose(got, expected, atol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_value_loss_equals_numpy_with_and_without_clip(self):
        values, targets, old_values = np.random.default_rng(0).normal(0, 1, (3, 64))
        clipped = old_values + np.clip(values - old_values, -0.5, 0.5)
        got = self.variant(losses.value_loss)(values, targets)
        chex.assert_type(got, jnp.float32)
        np.testing.assert_allclose(got, (values - targets) ** 2, rtol=1e-5, atol=1e-6)
        got = self.variant(losses.value_loss)(values, targets, old_values, 0.5)
        expected = np.maximum((values - targets) ** 2, (clipped - targets) ** 2)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_masked_mean_is_the_weighted_mean(self):
        rng = np.random.default_rng(0)
        x, mask = rng.normal(size=(2, 4, 5)).astype(np.float32)
        mask = np.abs(mask)
        got = self.variant(losses.masked_mean)(x, mask)
        chex.assert_shape(got, ())
        chex.assert_type(got, jnp.float32)
        np.testing.assert_allclose(got, np.average(x, weights=mask), atol=1e-6)
        np.testing.assert_allclose(self.variant(losses.masked_mean)(x), x.mean(), atol=1e-6)
        got = self.variant(losses.masked_mean)(x, mask > 0.5)
        np.testing.assert_allclose(got, x[mask > 0.5].mean(), atol=1e-6)


def test_reinforce_equals_rlax_in_value_and_gradient():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(16, 5)), jnp.float32)
    actions = jnp.asarray(rng.integers(0, 5, 16))
    advantages = jnp.asarray(rng.normal(size=16), jnp.float32)

    def ours(logits):
        log_prob = jax.nn.log_softmax(logits)[jnp.arange(16), actions]
        return losses.masked_mean(losses.reinforce_loss(log_prob, advantages))

    def theirs(logits):
        return rlax.policy_gradient_loss(logits, actions, advantages, jnp.ones(16))

    np.testing.assert_allclose(ours(logits), theirs(logits), atol=1e-6)
    np.testing.assert_allclose(jax.grad(ours)(logits), jax.grad(theirs)(logits), atol=1e-6)


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.0, 1.1, 2.0])
@pytest.mark.parametrize("advantage", [-1.5, 1.5])
def test_gradient_vanishes_where_each_clip_says_and_nowhere_else(ratio, advantage):
    def gradient(loss):
        args = jnp.log(ratio), jnp.float32(0.0), jnp.float32(advantage), CLIP
        return float(jax.grad(loss)(*args))

    outside = abs(ratio - 1) > CLIP
    gone_far_enough = outside and (ratio > 1) == (advantage > 0)
    full = -ratio * advantage
    # The pessimistic minimum lets a sample that moved the wrong way come back; the clamp does not.
    expected = 0.0 if gone_far_enough else full
    np.testing.assert_allclose(gradient(losses.ppo_clip_loss), expected, rtol=1e-6)
    expected = 0.0 if outside else full
    np.testing.assert_allclose(gradient(losses.ratio_clamp_loss), expected, rtol=1e-6)


@pytest.mark.parametrize("log_ratio", [-500.0, 500.0])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize(
    "loss",
    [
        losses.ppo_clip_loss,
        losses.ratio_clamp_loss,
        lambda log_prob, old, advantage, _: advantage * losses.kl_k3(old, log_prob),
    ],
)
def test_an_overflowing_ratio_gives_finite_losses_and_gradients(loss, advantage, log_ratio):
    result = jax.value_and_grad(loss)(
        jnp.float32(log_ratio), jnp.float32(0), jnp.float32(advantage), CLIP
    )
    chex.assert_tree_all_finite(result)
    assert np.isfinite(np.float32(result[0]) ** 2)  # A global gradient norm squares.


@pytest.mark.parametrize("loss", [losses.ppo_clip_loss, losses.ratio_clamp_loss])
def test_old_log_prob_and_advantages_are_constants(loss):
    gradients = jax.grad(
        lambda old, advantages: loss(jnp.float32(0.05), old, advantages, CLIP), argnums=(0, 1)
    )(jnp.float32(0), jnp.float32(1))
    assert gradients == (0, 0)
    assert jax.grad(losses.reinforce_loss, argnums=1)(jnp.float32(-1), jnp.float32(1)) == 0


@pytest.mark.parametrize(
    ("value", "target", "gradient"),
    [
        (0.3, 2.0, -3.4),  # within the clip: the plain gradient 2 (V - R)
        (0.9, 2.0, 0.0),  # moved beyond the clip towards the target: stays
        (0.9, -2.0, 5.8),  # moved beyond the clip away from the target: comes back
        (-0.9, -2.0, 0.0),
        (-0.9, 2.0, -5.8),
    ],
)
def test_clipped_value_loss_stops_values_that_moved_far_enough(value, target, gradient):
    got = jax.grad(losses.value_loss)(*map(jnp.float32, (value, target, 0)), 0.5)
    np.testing.assert_allclose(got, gradient, rtol=1e-5)


def test_targets_and_old_values_are_constants():
    value, target, old_value = jnp.float32(1), jnp.float32(2), jnp.float32(0.2)
    assert jax.grad(losses.value_loss, argnums=1)(value, target) == 0
    gradients = jax.grad(losses.value_loss, argnums=(1, 2))(value, target, old_value, 0.5)
    assert gradients == (0, 0)


@pytest.mark.parametrize(("old_values", "clip_range"), [(None, 0.5), (jnp.zeros(3), None)])
def test_half_of_a_value_clip_is_refused(old_values, clip_range):
    with pytest.raises(ValueError, match="both of old_values and clip_range"):
        losses.value_loss(jnp.zeros(3), jnp.zeros(3), old_values, clip_range)


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(AssertionError):
        losses.ppo_clip_loss(jnp.zeros((3, 1)), jnp.zeros((3, 1)), jnp.zeros(3), CLIP)
    with pytest.raises(AssertionError):
        losses.value_loss(jnp.zeros((3, 1)), jnp.zeros(3))
    with pytest.raises(AssertionError):
        losses.masked_mean(jnp.zeros((3, 2)), jnp.ones(2))


def test_masked_elements_may_be_nan_and_get_no_gradient():
    x, mask = jnp.array([1.0, jnp.nan, 3.0]), jnp.array([1.0, 0.0, 3.0])
    value, gradient = jax.value_and_grad(losses.masked_mean)(x, mask)
    np.testing.assert_allclose(value, 2.5)
    np.testing.assert_allclose(gradient, [0.25, 0, 0.75])


def test_mean_of_nothing_is_zero():
    value, gradient = jax.value_and_grad(losses.masked_mean)(jnp.ones(3), jnp.zeros(3))
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(gradient, 0)


def test_sharded_loss_and_gradient_equal_those_of_the_whole():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=12), jnp.float32)
    # 4, 1 and 2 valid elements: a mean of means would be wrong.
    mask = jnp.array([1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1], bool)

    def loss(parameter, x, mask, axis_name=None):
        return losses.masked_mean(jnp.sin(parameter * x), mask, axis_name)

    def on_a_device(x, mask):
        value, gradient = jax.value_and_grad(loss)(0.7, x, mask, "devices")
        return value, jax.lax.pmean(gradient, "devices")

    for weights in (mask, None):
        expected = jax.value_and_grad(loss)(0.7, x, weights)
        parts = (x.reshape(3, 4), None if weights is None else weights.reshape(3, 4))
        in_axes = (0, None if weights is None else 0)
        got = jax.vmap(on_a_device, axis_name="devices", in_axes=in_axes)(*parts)
        everywhere = jax.tree.map(lambda y: jnp.broadcast_to(y, 3), expected)
        chex.assert_trees_all_close(got, everywhere, atol=1e-6)


@pytest.mark.parametrize("expectile", [0.3, 0.5, 0.9])
def test_expectile_loss_is_minimised_by_the_expectile(expectile):
    targets = np.random.default_rng(0).normal(size=200)
    grid = np.linspace(-3, 3, 6001)
    loss = losses.expectile_loss(jnp.asarray(targets[None] - grid[:, None]), expectile).mean(1)
    best = grid[int(jnp.argmin(loss))]
    # First-order condition: tau-weighted excess above equals (1 - tau)-weighted excess below.
    above = expectile * np.maximum(targets - best, 0).mean()
    below = (1 - expectile) * np.maximum(best - targets, 0).mean()
    np.testing.assert_allclose(above, below, atol=1e-3)
    np.testing.assert_allclose(losses.expectile_loss(jnp.float32(2), expectile), 4 * expectile)


def test_exponential_weights_are_capped_constants():
    advantages = jnp.array([-1.0, 0.0, 0.5, 1000.0])
    got = losses.exponential_advantage_weights(advantages, 0.5, 20.0)
    chex.assert_type(got, jnp.float32)
    np.testing.assert_allclose(got, [np.exp(-2), 1, np.exp(1), 20], rtol=1e-6)
    gradient = jax.grad(lambda a: losses.exponential_advantage_weights(a, 0.5, 20.0).sum())
    np.testing.assert_array_equal(gradient(advantages), 0)


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(st.integers(0, 10**6))
def test_kl_estimates_have_the_kl_as_expectation_and_k3_is_never_negative(seed):
    logits = np.random.default_rng(seed).normal(0, 1, (2, 6))
    log_p, log_q = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32))
    expected = jnp.sum(jnp.exp(log_p) * (log_p - log_q))
    for estimate in (losses.kl_k1(log_p, log_q), losses.kl_k3(log_p, log_q)):
        chex.assert_type(estimate, jnp.float32)
        np.testing.assert_allclose(jnp.sum(jnp.exp(log_p) * estimate), expected, atol=1e-5)
    assert jnp.all(losses.kl_k3(log_p, log_q) >= 0)


def test_k3_keeps_its_precision_near_zero():
    # exp(x) - 1 - x evaluated literally in float32 is off by half its value here.
    log_ratio = jnp.float32(1e-3)
    np.testing.assert_allclose(losses.kl_k3(jnp.float32(0), log_ratio), 5.0e-7, rtol=1e-2)


def test_kl_gradient_reaches_both_policies():
    gradients = jax.grad(losses.kl_k3, argnums=(0, 1))(jnp.float32(0.1), jnp.float32(0.3))
    np.testing.assert_allclose(gradients, [1 - np.exp(0.2), np.exp(0.2) - 1], rtol=1e-5)


def test_outside_clip_marks_ratios_beyond_either_side():
    log_prob = jnp.log(jnp.array([0.7, 0.81, 1.0, 1.19, 1.3]))
    got = losses.outside_clip(log_prob, jnp.zeros(5), CLIP)
    chex.assert_type(got, jnp.float32)
    np.testing.assert_array_equal(got, [1, 0, 0, 0, 1])
