"""Advantages: how much better an action did than was to be expected of its state.

Sequential decisions: temporal differences, generalised advantage estimation, lambda-returns, all
time-major (``[T, ...]``, T time; what follows T is batch). Decisions of one step, or samples of the
same state: leave-one-out, groups, GRPO. Rewards of one-step problems against a changing scale: the
`calibrate_*` functions, each `(state, rewards, ...) -> (advantages, state)`; without a state, a raw
reward is its own advantage, `standardize` calibrates against the batch, and `rewards - baseline`
against a learned baseline.

All are pure functions of arrays, and none cuts gradients: the losses do.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ai_econ_jax.losses import masked_mean


def _reverse_recurrence(x: jax.Array, decay: jax.Array) -> jax.Array:
    """Solves `y_t = x_t + decay_t y_{t+1}`, `y_T = 0`, for x and decay f32[T, ...]."""

    def step(following: jax.Array, inputs: tuple[jax.Array, jax.Array]):
        x_t, decay_t = inputs
        current = x_t + decay_t * following
        return current, current

    # A plain scan: from [20, 256] to [1000, 4], on two CPU cores, unrolling by 2 to 8 is no faster
    # and by 16 is 2 to 10 times slower; an associative scan is 1 to 5 times slower.
    _, y = jax.lax.scan(step, jnp.zeros_like(x[0]), (x, decay), reverse=True)
    return y


def td_errors(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    gamma: chex.Numeric,
) -> jax.Array:
    """One-step temporal differences, `r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)`.

    With gamma 1 and a reward in the last step only, the change of a critic over each step.

    Args:
      rewards: r, f32[T, ...].
      values: V(s), f32[T, ...].
      next_values: V(s'), f32[T, ...], s' being the state that the action led to; read nowhere that
        the episode terminated.
      terminated: bool[T, ...].
      gamma: discount, a scalar or broadcastable to [T, ...].

    Returns:
      f32[T, ...].
    """
    chex.assert_equal_shape([rewards, values, next_values, terminated])
    chex.assert_type([rewards, values, next_values, terminated], [float, float, float, bool])
    return rewards + gamma * jnp.where(terminated, 0, next_values) - values


def generalized_advantage_estimation(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: chex.Numeric,
    lambda_: chex.Numeric,
) -> tuple[jax.Array, jax.Array]:
    """Generalised advantage estimation over fragments with episode ends inside.

    `delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)`
    `A_t = delta_t + gamma lambda (1 - terminated_t) (1 - truncated_t) A_{t+1}`,  `A_T = 0`

    A termination has no future; a truncation has one that was not seen, and is bootstrapped with
    the value of the final observation; neither lets the next episode's advantage through. A
    fragment that ends within an episode is bootstrapped with the last of `next_values`.
    Schulman et al. (2016), https://arxiv.org/abs/1506.02438, equation 16.

    Args:
      rewards: r, f32[T, ...].
      values: V(s), f32[T, ...].
      next_values: V(s'), f32[T, ...], s' being the state that the action led to: `values[t + 1]`
        within an episode, the value of the final observation (before any reset) at its end.
      terminated: bool[T, ...], the episode ended and nothing follows.
      truncated: bool[T, ...], the episode was cut off, by a time limit or the like.
      gamma: discount, a scalar or broadcastable to [T, ...].
      lambda_: lambda, a scalar or broadcastable to [T, ...].

    Returns:
      Advantages f32[T, ...] and value targets `A + V` f32[T, ...].
    """
    chex.assert_equal_shape([rewards, truncated])
    chex.assert_type(truncated, bool)
    errors = td_errors(rewards, values, next_values, terminated, gamma)
    decay = jnp.where(terminated | truncated, 0.0, gamma * lambda_)
    advantages = _reverse_recurrence(errors, decay.astype(errors.dtype))
    return advantages, advantages + values


def lambda_returns(
    rewards: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: chex.Numeric,
    lambda_: chex.Numeric,
) -> jax.Array:
    """Lambda-returns over fragments with episode ends inside; discounted returns at lambda 1.

    `G_t = r_t + gamma (1 - terminated_t) [(1 - lambda_t) V(s'_t) + lambda_t G_{t+1}]`, where
    `lambda_t` is 0 at a truncation and at the end of the fragment, else lambda.
    Sutton and Barto (2018), chapter 12.

    Args:
      rewards: r, f32[T, ...].
      next_values: V(s'), f32[T, ...], as in `generalized_advantage_estimation`.
      terminated: bool[T, ...].
      truncated: bool[T, ...].
      gamma: discount, a scalar or broadcastable to [T, ...].
      lambda_: lambda, a scalar or broadcastable to [T, ...].

    Returns:
      f32[T, ...].
    """
    chex.assert_equal_shape([rewards, next_values, terminated, truncated])
    chex.assert_type([rewards, next_values, terminated, truncated], [float, float, bool, bool])
    last = (jnp.arange(rewards.shape[0]) == rewards.shape[0] - 1).reshape(
        (-1,) + (1,) * (rewards.ndim - 1)
    )
    lambda_t = jnp.where(terminated | truncated | last, 0.0, lambda_).astype(rewards.dtype)
    bootstrap = jnp.where(terminated, 0, next_values)
    return _reverse_recurrence(rewards + gamma * (1 - lambda_t) * bootstrap, gamma * lambda_t)


def leave_one_out(rewards: jax.Array, axis: int = -1) -> jax.Array:
    """Reward of each sample minus the mean of the others, `r_k - mean_{j != k} r_j` (RLOO).

    Kool et al. (2019), https://openreview.net/forum?id=r1lgTGL5DE.

    Args:
      rewards: f32[..., K, ...], K >= 2 samples of one state along `axis`.
      axis: the axis of the samples.

    Returns:
      Advantages f32[..., K, ...].
    """
    num_samples = rewards.shape[axis]
    if num_samples < 2:
        raise ValueError(f"leave_one_out needs at least 2 samples along axis {axis}, got 1")
    centred = rewards - jnp.mean(rewards, axis, keepdims=True)
    return centred * (num_samples / (num_samples - 1))


def group_advantages(
    values: jax.Array,
    segment_ids: jax.Array,
    num_segments: int,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Value of each sample minus the mean of its group, for groups of any sizes.

    The mean runs over samples, so a sample drawn twice counts twice (or once, with weight 2).
    DAPO, https://arxiv.org/abs/2412.18279, equation 13.

    Args:
      values: f32[B], of what each sample leads to: a critic's value, or the reward at an end.
      segment_ids: int32[B] in [0, num_segments), the group of each sample.
      num_segments: number of groups, static; a group may be empty.
      mask: weights f32[B] >= 0 or bool[B]; padding has weight 0. All ones when None.

    Returns:
      Advantages f32[B], 0 where the weight is 0.
    """
    weights = jnp.ones_like(values) if mask is None else mask.astype(values.dtype)
    chex.assert_equal_shape([values, segment_ids, weights])
    chex.assert_rank(values, 1)
    valid_values = jnp.where(weights > 0, values, 0)
    total = jax.ops.segment_sum(weights * valid_values, segment_ids, num_segments)
    weight = jax.ops.segment_sum(weights, segment_ids, num_segments)
    means = total / jnp.where(weight > 0, weight, 1)
    return jnp.where(weights > 0, valid_values - means[segment_ids], 0)


def grpo_advantages(rewards: jax.Array, axis: int = -1, min_std: float = 1e-6) -> jax.Array:
    """Rewards standardised within each group, 0 in a group whose rewards are all equal.

    `(r - mean) / std`, which for rewards in {0, 1} with mean p is `(r - p) / sqrt(p (1 - p))`.
    Shao et al. (2024), https://arxiv.org/abs/2402.03300, section 4.1.2.

    Args:
      rewards: f32[..., G, ...], G samples of one state along `axis`.
      axis: the axis of the samples.
      min_std: a group with a smaller standard deviation gets advantages 0.

    Returns:
      Advantages f32[..., G, ...].
    """
    groups = jnp.moveaxis(rewards, axis, -1)
    flat_groups = groups.reshape(-1, groups.shape[-1])
    advantages = jax.vmap(lambda group: standardize(group, epsilon=0.0, min_std=min_std))(
        flat_groups
    )
    return jnp.moveaxis(advantages.reshape(groups.shape), -1, axis)


def _moments(
    x: jax.Array, mask: jax.Array | None = None, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """Weighted mean and (population) standard deviation of all elements, over devices too."""
    mean = masked_mean(x, mask, axis_name)
    # A float32 sum of many equal numbers is off by more than their spacing. The second pass brings
    # the mean of a constant batch to that constant, so that its deviation is 0 and not noise.
    mean = mean + masked_mean(x - mean, mask, axis_name)
    return mean, jnp.sqrt(masked_mean(jnp.square(x - mean), mask, axis_name))


def _scale(
    x: jax.Array, mean: jax.Array, std: jax.Array, epsilon: float, min_std: float
) -> jax.Array:
    """`(x - mean) / (std + epsilon)`, 0 where `std < min_std`."""
    degenerate = std < min_std
    return jnp.where(degenerate, 0, (x - mean) / jnp.where(degenerate, 1, std + epsilon))


def standardize(
    x: jax.Array,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
    epsilon: float = 1e-8,
    min_std: float = 0.0,
) -> jax.Array:
    """Shifts and scales to mean 0 and standard deviation 1, over all axes and all devices.

    Args:
      x: f32[...].
      mask: weights f32[...] >= 0 or bool[...], of the shape of `x`; all ones when None.
      axis_name: name of the mapped axis that holds the shards of the batch.
      epsilon: added to the standard deviation.
      min_std: with a smaller standard deviation there is nothing to tell apart: all results are 0.

    Returns:
      f32[...], 0 where the weight is 0.
    """
    mean, std = _moments(x, mask, axis_name)
    standardized = _scale(x, mean, std, epsilon, min_std)
    return standardized if mask is None else jnp.where(mask > 0, standardized, 0)


class MovingBaseline(NamedTuple):
    """Exponential moving average of the mean reward of batches."""

    mean: jax.Array  # f32[]
    num_batches: jax.Array  # int32[], batches seen


def init_moving_baseline() -> MovingBaseline:
    """A moving baseline that has seen nothing."""
    return MovingBaseline(mean=jnp.zeros((), jnp.float32), num_batches=jnp.zeros((), jnp.int32))


def calibrate_moving(
    state: MovingBaseline,
    rewards: jax.Array,
    decay: chex.Numeric,
    axis_name: str | None = None,
) -> tuple[jax.Array, MovingBaseline]:
    """Reward minus the moving average of earlier batches' mean rewards.

    `A = r - m_{k-1}`, `m_k = decay m_{k-1} + (1 - decay) mean(r)`. The baseline does not depend on
    the batch that it judges, so it adds no bias, also with one sample per batch. The first batch is
    judged by its own mean, which starts the average.

    Args:
      state: the average so far.
      rewards: f32[...].
      decay: weight of the past, in [0, 1).
      axis_name: name of the mapped axis that holds the shards of the batch.

    Returns:
      Advantages f32[...] and the new state, the same on every device.
    """
    batch_mean = masked_mean(rewards, axis_name=axis_name)
    baseline = jnp.where(state.num_batches == 0, batch_mean, state.mean)
    mean = decay * baseline + (1 - decay) * batch_mean
    return rewards - baseline, MovingBaseline(mean, state.num_batches + 1)


class PromptBuffer(NamedTuple):
    """The last rewards of each prompt, in ring buffers. P prompts, K entries each."""

    rewards: jax.Array  # f32[P, K]
    num_seen: jax.Array  # int32[P], rewards ever seen of each prompt; the next goes to slot mod K


def init_prompt_buffer(num_prompts: int, size: int) -> PromptBuffer:
    """Empty buffers of the last `size` rewards of each of `num_prompts` prompts."""
    return PromptBuffer(
        rewards=jnp.zeros((num_prompts, size), jnp.float32),
        num_seen=jnp.zeros(num_prompts, jnp.int32),
    )


def _push(buffer: PromptBuffer, rewards: jax.Array, prompt_ids: jax.Array) -> PromptBuffer:
    """Appends rewards f32[B] of prompts int32[B] in order, the oldest falling out."""
    size = buffer.rewards.shape[1]
    same = prompt_ids[:, None] == prompt_ids[None, :]
    rank = jnp.sum(jnp.tril(same, -1), 1)  # How many of this prompt come before it in the batch.
    behind = jnp.sum(jnp.triu(same, 1), 1)
    slot = (buffer.num_seen[prompt_ids] + rank) % size
    # Rewards that this very batch overwrites are dropped: the order of writes to one slot is open.
    slot = jnp.where(behind < size, slot, size)
    return PromptBuffer(
        rewards=buffer.rewards.at[prompt_ids, slot].set(rewards, mode="drop"),
        num_seen=buffer.num_seen.at[prompt_ids].add(1),
    )


def _gather(x: jax.Array, axis_name: str) -> jax.Array:
    """The shards x[B] of all devices, one after the other."""
    # A sum of disjoint blocks rather than `all_gather`, whose result `shard_map` does not know to
    # be the same on every device, and would refuse as a replicated state.
    blocks = jnp.zeros((jax.lax.axis_size(axis_name), *x.shape), x.dtype)
    blocks = blocks.at[jax.lax.axis_index(axis_name)].set(x)
    return jax.lax.psum(blocks, axis_name).reshape(-1)


def calibrate_per_prompt(
    state: PromptBuffer,
    rewards: jax.Array,
    prompt_ids: jax.Array,
    min_count: int,
    axis_name: str | None = None,
    epsilon: float = 1e-6,
    min_std: float = 1e-6,
) -> tuple[jax.Array, PromptBuffer]:
    """Rewards standardised by the recent rewards of the same prompt.

    The batch is stored first, and is part of what it is judged by. A prompt with fewer than
    `min_count` stored rewards is judged by the mean and deviation of the batch.
    DDPO, Black et al. (2023), https://arxiv.org/abs/2305.13301, as in its released code.

    Args:
      state: the buffers so far.
      rewards: f32[B].
      prompt_ids: int32[B] in [0, P).
      min_count: from how many stored rewards on a buffer is used; at most K.
      axis_name: name of the mapped axis that holds the shards of the batch; all are stored.
      epsilon: added to the standard deviation.
      min_std: with a smaller standard deviation advantages are 0.

    Returns:
      Advantages f32[B] and the new state, the same on every device.
    """
    chex.assert_rank(rewards, 1)
    chex.assert_equal_shape([rewards, prompt_ids])
    size = state.rewards.shape[1]
    if min_count > size:
        raise ValueError(f"min_count is {min_count}, but the buffers hold only {size} rewards")
    if axis_name is None:
        state = _push(state, rewards, prompt_ids)
    else:
        state = _push(state, _gather(rewards, axis_name), _gather(prompt_ids, axis_name))

    num_seen = state.num_seen[prompt_ids]
    is_stored = jnp.arange(size) < num_seen[:, None]
    prompt_mean, prompt_std = jax.vmap(_moments)(state.rewards[prompt_ids], is_stored)
    batch_mean, batch_std = _moments(rewards, axis_name=axis_name)
    enough = num_seen >= min_count
    mean = jnp.where(enough, prompt_mean, batch_mean)
    std = jnp.where(enough, prompt_std, batch_std)
    return _scale(rewards, mean, std, epsilon, min_std), state
