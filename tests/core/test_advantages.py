"""Advantages against rlax, NumPy loops and the deque of DDPO."""

import collections
from typing import Any

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from absl.testing import parameterized

from ai_econ_jax import advantages

T, B = 12, 5
GAMMA, LAMBDA = 0.97, 0.9


def fragment(seed=0, end_rate=0.25) -> tuple[Any, Any, Any, Any, Any]:
    """A random fragment with terminations and truncations; `next_values` is consistent within."""
    rng = np.random.default_rng(seed)
    rewards, values, next_values = rng.normal(size=(3, T, B)).astype(np.float32)
    terminated = rng.random((T, B)) < end_rate
    truncated = ~terminated & (rng.random((T, B)) < end_rate)
    inside = ~(terminated | truncated)[:-1]
    next_values[:-1][inside] = values[1:][inside]
    return rewards, values, next_values, terminated, truncated


def gae_loop(rewards, values, next_values, terminated, truncated, gamma, lambda_):
    result = np.zeros(rewards.shape)
    for b in range(rewards.shape[1]):
        following = 0.0
        for t in reversed(range(rewards.shape[0])):
            future = 0.0 if terminated[t, b] else gamma * next_values[t, b]
            if terminated[t, b] or truncated[t, b]:
                following = 0.0
            following = rewards[t, b] + future - values[t, b] + gamma * lambda_ * following
            result[t, b] = following
    return result


def lambda_return_loop(rewards, next_values, terminated, truncated, gamma, lambda_):
    result = np.zeros(rewards.shape)
    for b in range(rewards.shape[1]):
        following = None
        for t in reversed(range(rewards.shape[0])):
            if terminated[t, b]:
                following = rewards[t, b]
            elif truncated[t, b] or following is None:
                following = rewards[t, b] + gamma * next_values[t, b]
            else:
                mixed = (1 - lambda_) * next_values[t, b] + lambda_ * following
                following = rewards[t, b] + gamma * mixed
            result[t, b] = following
    return result


def shards(x, count=3):
    return x.reshape(count, -1)


class VariantsTest(chex.TestCase):
    """The main entries, with and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_gae_equals_a_loop_with_episode_ends_inside(self):
        data = fragment()
        got, targets = self.variant(advantages.generalized_advantage_estimation)(
            *data, GAMMA, LAMBDA
        )
        expected = gae_loop(*data, GAMMA, LAMBDA)
        chex.assert_type([got, targets], jnp.float32)
        np.testing.assert_allclose(got, expected, atol=1e-5)
        np.testing.assert_allclose(targets, expected + data[1], atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_lambda_returns_equal_a_loop_with_episode_ends_inside(self):
        rewards, _, next_values, terminated, truncated = fragment(1)
        data = rewards, next_values, terminated, truncated
        got = self.variant(advantages.lambda_returns)(*data, GAMMA, LAMBDA)
        chex.assert_type(got, jnp.float32)
        expected = lambda_return_loop(*data, GAMMA, LAMBDA)
        np.testing.assert_allclose(got, expected, atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_standardize_equals_weighted_numpy(self):
        rng = np.random.default_rng(0)
        x, mask = rng.normal(3, 2, 50).astype(np.float32), rng.random(50).astype(np.float32)
        mask[::4], x[::8] = 0, np.nan
        got = self.variant(advantages.standardize)(x, mask, epsilon=0.1)
        valid = mask > 0
        mean = np.average(x[valid], weights=mask[valid])
        std = np.sqrt(np.average((x[valid] - mean) ** 2, weights=mask[valid]))
        chex.assert_type(got, jnp.float32)
        np.testing.assert_allclose(got[valid], (x[valid] - mean) / (std + 0.1), atol=1e-5)
        np.testing.assert_array_equal(got[~valid], 0)

    @chex.variants(with_jit=True, without_jit=True)
    def test_group_advantages_are_values_minus_the_mean_of_their_ragged_group(self):
        values = jnp.array([1.0, 2.0, jnp.nan, 6.0, 5.0, 7.0])
        segment_ids = jnp.array([0, 2, 2, 0, 0, 2])
        mask = jnp.array([True, True, False, True, True, True])
        function = self.variant(advantages.group_advantages, static_argnums=2)
        got = function(values, segment_ids, 4, mask)
        chex.assert_type(got, jnp.float32)
        np.testing.assert_allclose(got, [-3, -2.5, 0, 2, 1, 2.5], atol=1e-6)


class RlaxTest(parameterized.TestCase):
    """Fragments without truncation, one trajectory at a time, as rlax has them."""

    def trajectory(self) -> tuple[tuple[Any, Any, Any, Any, Any], Any]:
        rewards, values, next_values, terminated, _ = fragment(2)
        next_values[:-1] = values[1:]
        discounts = GAMMA * (1 - terminated).astype(np.float32)
        return (rewards, values, next_values, terminated, np.zeros_like(terminated)), discounts

    @parameterized.parameters(0.0, 0.9, 1.0)
    def test_gae_equals_rlax(self, lambda_):
        data, discounts = self.trajectory()
        got, _ = advantages.generalized_advantage_estimation(*data, GAMMA, lambda_)
        oracle = jax.vmap(rlax.truncated_generalized_advantage_estimation, (1, 1, None, 1), 1)
        all_values = np.concatenate([data[1], data[2][-1:]])
        expected = oracle(data[0], discounts, lambda_, all_values)
        np.testing.assert_allclose(got, expected, atol=1e-6)

    @parameterized.parameters(0.0, 0.9, 1.0)
    def test_lambda_returns_equal_rlax(self, lambda_):
        (rewards, _, *rest), discounts = self.trajectory()
        next_values, terminated, truncated = rest
        got = advantages.lambda_returns(rewards, next_values, terminated, truncated, GAMMA, lambda_)
        oracle = jax.vmap(rlax.lambda_returns, (1, 1, 1, None), 1)
        expected = oracle(rewards, discounts, next_values, lambda_)
        np.testing.assert_allclose(got, expected, atol=1e-6)

    def test_td_errors_equal_rlax(self):
        (rewards, values, next_values, terminated, _), discounts = self.trajectory()
        got = advantages.td_errors(rewards, values, next_values, terminated, GAMMA)
        oracle = jax.vmap(jax.vmap(rlax.td_learning))
        expected = oracle(values, rewards, discounts, next_values)
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_nothing_leaks_from_one_episode_into_the_one_before():
    data = fragment(3)
    ends = data[3] | data[4]

    def advantage_before(t, later_rewards):
        rewards = data[0].copy()
        rewards[t + 1 :] = later_rewards
        got, _ = advantages.generalized_advantage_estimation(rewards, *data[1:], GAMMA, LAMBDA)
        return np.asarray(got)[: t + 1]

    for t in range(T - 1):
        changed = advantage_before(t, 100.0) != advantage_before(t, -100.0)
        np.testing.assert_array_equal(changed[t], ~ends[t])


def test_value_of_a_terminal_state_is_never_read():
    rewards, values, next_values, terminated, truncated = fragment(4)
    poisoned = jnp.where(terminated, jnp.nan, next_values)
    for v in (jnp.asarray(next_values), poisoned):
        got, _ = advantages.generalized_advantage_estimation(
            rewards, values, v, terminated, truncated, GAMMA, LAMBDA
        )
        returns = advantages.lambda_returns(rewards, v, terminated, truncated, GAMMA, LAMBDA)
        chex.assert_tree_all_finite((got, returns))


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_advantage_plus_value_is_the_lambda_return(seed, gamma, lambda_, end_rate):
    rewards, values, next_values, terminated, truncated = fragment(seed, end_rate)
    gamma, lambda_ = jnp.float32(gamma), jnp.float32(lambda_)
    _, targets = jax.jit(advantages.generalized_advantage_estimation)(
        rewards, values, next_values, terminated, truncated, gamma, lambda_
    )
    returns = jax.jit(advantages.lambda_returns)(
        rewards, next_values, terminated, truncated, gamma, lambda_
    )
    np.testing.assert_allclose(targets, returns, atol=2e-5)


def test_discount_may_differ_by_step_and_gamma_is_traced():
    data = fragment(5)
    gamma = np.random.default_rng(0).random((T, B)).astype(np.float32)

    @jax.jit
    @chex.assert_max_traces(1)
    def run(gamma):
        return advantages.generalized_advantage_estimation(*data, gamma, LAMBDA)[0]

    got = run(gamma)
    run(gamma / 2)
    for b in range(B):
        following = 0.0
        for t in reversed(range(T)):
            reward, value, next_value, terminated, truncated = (x[t, b] for x in data)
            following = (0.0 if terminated or truncated else LAMBDA * following) + (
                0.0 if terminated else next_value
            )
            following = reward - value + gamma[t, b] * following
            np.testing.assert_allclose(got[t, b], following, atol=1e-5)


@pytest.mark.parametrize("position", range(5))
def test_flags_that_are_not_booleans_and_shapes_that_would_broadcast_are_refused(position):
    def run(data):
        rewards, values, next_values, terminated, truncated = data
        advantages.generalized_advantage_estimation(
            rewards, values, next_values, terminated, truncated, GAMMA, LAMBDA
        )

    data: list[Any] = list(fragment())
    run(data)
    array = data[position]
    data[position] = array[:, :1]
    with pytest.raises(AssertionError):
        run(data)
    data[position] = array.astype(int)
    with pytest.raises(AssertionError):
        run(data)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_leave_one_out_equals_a_loop(axis):
    rewards = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    moved = np.moveaxis(rewards, axis, 0)
    expected = np.stack([moved[k] - np.delete(moved, k, 0).mean(0) for k in range(len(moved))])
    got = advantages.leave_one_out(jnp.asarray(rewards), axis)
    chex.assert_type(got, jnp.float32)
    np.testing.assert_allclose(got, np.moveaxis(expected, 0, axis), atol=1e-6)


def test_leave_one_out_of_one_sample_is_refused():
    with pytest.raises(ValueError, match="at least 2 samples along axis 1"):
        advantages.leave_one_out(jnp.ones((3, 1)), 1)


def test_a_sample_of_weight_two_counts_as_two_samples():
    weighted = advantages.group_advantages(
        jnp.array([1.0, 4.0]), jnp.array([0, 0]), 1, jnp.array([2.0, 1.0])
    )
    repeated = advantages.group_advantages(jnp.array([1.0, 1.0, 4.0]), jnp.zeros(3, int), 1)
    np.testing.assert_allclose(weighted, repeated[1:], atol=1e-6)


def test_empty_groups_divide_nothing_by_nothing():
    with jax.debug_nans(True):
        advantages.group_advantages(jnp.ones(2), jnp.array([0, 2]), 4)


@pytest.mark.parametrize("axis", [0, -1])
def test_grpo_advantages_of_binary_rewards_have_the_closed_form(axis):
    rewards = np.array([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], np.float32)
    mean = rewards.mean(-1, keepdims=True)
    std = np.sqrt(mean * (1 - mean))
    expected = np.divide(rewards - mean, std, out=np.zeros_like(rewards), where=std > 0)
    got = advantages.grpo_advantages(jnp.moveaxis(jnp.asarray(rewards), -1, axis), axis)
    chex.assert_type(got, jnp.float32)
    np.testing.assert_allclose(jnp.moveaxis(got, axis, -1), expected, atol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.7, 1000.1, -3e5 / 7])
@pytest.mark.parametrize("size", [16, 256, 10_007])
def test_a_constant_batch_has_advantages_zero_whatever_its_size_and_level(constant, size):
    # A float32 mean of 16 times 1000.1 is off by 1e-4: "standardised" by it, all samples of the
    # batch would have advantages of about 1, or all of about -1.
    x = jnp.full(size, constant)
    np.testing.assert_array_equal(advantages.standardize(x), 0)
    np.testing.assert_array_equal(jax.jit(advantages.standardize)(x), 0)


def test_only_a_deviation_below_min_std_switches_advantages_off():
    x = jnp.array([-1.0, 1.0])
    np.testing.assert_array_equal(advantages.standardize(x * 0.9e-3, min_std=1e-3), 0)
    kept = advantages.standardize(x * 1.1e-3, min_std=1e-3)
    np.testing.assert_allclose(kept, x, atol=1e-4)


def test_standardized_shards_equal_the_standardized_whole():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(2, 3, 18), jnp.float32)
    # Different numbers of valid elements per shard: a mean of means would be wrong.
    mask = jnp.asarray([1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0], bool)
    for weights in (None, mask):
        whole = advantages.standardize(x, weights)
        parts = jax.vmap(
            lambda x, mask: advantages.standardize(x, mask, axis_name="devices"),
            axis_name="devices",
            in_axes=(0, None if weights is None else 0),
        )(shards(x), None if weights is None else shards(weights))
        np.testing.assert_allclose(parts.reshape(-1), whole, atol=1e-6)


def test_moving_baseline_equals_a_loop_and_judges_by_earlier_batches():
    batches = np.random.default_rng(0).normal(2, 1, (5, 6)).astype(np.float32)
    state, mean = advantages.init_moving_baseline(), None
    for k, batch in enumerate(batches):
        got, state = advantages.calibrate_moving(state, batch, decay=0.8)
        mean = batch.mean() if mean is None else mean
        np.testing.assert_allclose(got, batch - mean, atol=1e-6)
        mean = 0.8 * mean + 0.2 * batch.mean()
        np.testing.assert_allclose(state.mean, mean, atol=1e-6)
        assert state.num_batches == k + 1
    chex.assert_type([got, state.mean, state.num_batches], [jnp.float32, jnp.float32, jnp.int32])


def test_moving_baseline_of_shards_equals_that_of_the_whole():
    batches = np.random.default_rng(0).normal(2, 1, (3, 6)).astype(np.float32)
    whole = parts = advantages.init_moving_baseline()
    for batch in batches:
        expected, whole = advantages.calibrate_moving(whole, batch, 0.8)
        got, parts = jax.vmap(
            lambda state, x: advantages.calibrate_moving(state, x, 0.8, axis_name="devices"),
            axis_name="devices",
            in_axes=(None, 0),
            out_axes=(0, None),
        )(parts, shards(batch))
        np.testing.assert_allclose(got.reshape(-1), expected, atol=1e-6)
        chex.assert_trees_all_close(parts, whole, atol=1e-6)


class PromptTracker:
    """DDPO's tracker of statistics per prompt, with deques."""

    def __init__(self, size, min_count):
        self.min_count = min_count
        self.stored = collections.defaultdict(lambda: collections.deque(maxlen=size))

    def calibrate(self, rewards, prompt_ids):
        result = np.empty(rewards.shape)
        for prompt in np.unique(prompt_ids):
            own = rewards[prompt_ids == prompt]
            self.stored[prompt].extend(own)
            enough = len(self.stored[prompt]) >= self.min_count
            reference = np.array(self.stored[prompt]) if enough else rewards
            std = reference.std()
            scaled = (own - reference.mean()) / (std + 1e-6)
            result[prompt_ids == prompt] = scaled if std >= 1e-6 else 0.0
        return result


@jax.jit
def calibrate_per_prompt(state, rewards, prompt_ids):
    return advantages.calibrate_per_prompt(state, rewards, prompt_ids, min_count=3)


@jax.jit
def calibrate_per_prompt_on_shards(state, rewards, prompt_ids):
    return jax.vmap(
        lambda state, x, ids: advantages.calibrate_per_prompt(
            state, x, ids, min_count=3, axis_name="devices"
        ),
        axis_name="devices",
        in_axes=(None, 0, 0),
        out_axes=(0, None),
    )(state, shards(rewards), shards(prompt_ids))


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    st.lists(
        st.lists(st.integers(0, 4), min_size=9, max_size=9).map(np.array), min_size=1, max_size=5
    ),
    st.integers(0, 10**6),
)
def test_per_prompt_buffers_equal_deques_and_shards_equal_the_whole(batches, seed):
    # 9 rewards a batch over 5 prompts with 4 slots: a batch often overwrites itself.
    rng = np.random.default_rng(seed)
    tracker = PromptTracker(size=4, min_count=3)
    state = sharded_state = advantages.init_prompt_buffer(num_prompts=5, size=4)
    for prompt_ids in batches:
        rewards = rng.choice([0.0, 0.5, 1.0, 7.0], prompt_ids.shape).astype(np.float32)
        expected = tracker.calibrate(rewards, prompt_ids)
        got, state = calibrate_per_prompt(state, rewards, prompt_ids)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
        got, sharded_state = calibrate_per_prompt_on_shards(sharded_state, rewards, prompt_ids)
        np.testing.assert_allclose(got.reshape(-1), expected, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_equal(state, sharded_state)
    chex.assert_type([got, state.rewards, state.num_seen], [jnp.float32, jnp.float32, jnp.int32])


def test_a_min_count_that_no_buffer_can_reach_is_refused():
    state = advantages.init_prompt_buffer(num_prompts=1, size=4)
    with pytest.raises(ValueError, match="min_count is 5, but the buffers hold only 4"):
        advantages.calibrate_per_prompt(state, jnp.zeros(2), jnp.zeros(2, int), min_count=5)
