"""From experience to a training batch: rows, advantages, and the recurrent loss."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import ppo
from ai_econ_jax.agents.ai_economist.gather_trade_build.networks import (
    Inputs,
    RoleCarry,
    RoleNetwork,
    TowerConfig,
)
from ai_econ_jax.agents.ai_economist.gather_trade_build.roles import Sequences, train_apply
from ai_econ_jax.agents.ai_economist.gather_trade_build.state import (
    Experience,
    estimate,
    fold_workers,
    rows,
)
from ai_econ_jax.distributions import masked_categorical

K, L, B, N, WIDTH, ACTIONS = 3, 5, 2, 4, 6, 7
TOWER = TowerConfig(hidden=(8,), memory="lstm", memory_width=4)


def test_a_row_is_a_run_of_one_worker():
    # Every number says where it comes from.
    place = jnp.arange(K * L * B * N).reshape(K, L, B, N)
    inputs = Inputs(map=None, index_map=None, flat=place[..., None], action_mask=place[..., None])
    first = jnp.zeros((K, L, B), bool).at[1, 0, 1].set(True)
    carry = RoleCarry(policy=place[:, 0, ..., None], value=place[:, 0, ..., None])
    batch = ppo.Batch((inputs, first), place, place, place, place, place)
    folded = rows(fold_workers(batch), fold_workers(carry, 1))
    assert folded.action.shape == (K, B * N, L)
    for k, b, n in np.ndindex(K, B, N):
        row = folded.action[k, b * N + n]
        np.testing.assert_array_equal(row, place[k, :, b, n])
        np.testing.assert_array_equal(folded.observation.inputs.flat[k, b * N + n, :, 0], row)
        assert folded.observation.carry.value[k, b * N + n] == row[0]
    assert folded.observation.first[1, N:, 0].all()
    assert folded.observation.first.sum() == N


def test_advantages_go_on_over_runs_and_end_with_the_episode():
    rng = np.random.default_rng(0)
    reward, value = (rng.normal(size=(K, L, B, N)).astype(np.float32) for _ in range(2))
    bootstrap = rng.normal(size=(B, N)).astype(np.float32)
    terminated = np.zeros((K, L, B), bool)
    terminated[1, -1] = True  # all episodes end with the second run
    nothing: dict = dict.fromkeys(("inputs", "action", "log_prob", "first", "carry"))
    experience = Experience(**nothing, value=value, reward=reward, terminated=terminated)
    advantage, target = estimate(experience, bootstrap, 0.9, 0.8)
    expected, following, next_value = np.zeros((K, L, B, N)), 0.0, bootstrap
    for k, t in reversed(list(np.ndindex(K, L))):
        alive = 1.0 - terminated[k, t][:, None]
        delta = reward[k, t] + 0.9 * alive * next_value - value[k, t]
        following = delta + 0.9 * 0.8 * alive * following
        expected[k, t], next_value = following, value[k, t]
    np.testing.assert_allclose(advantage, expected, atol=1e-5)
    np.testing.assert_allclose(target, expected + value, atol=1e-5)


@pytest.fixture(scope="module")
def network():
    return RoleNetwork(TOWER, ACTIONS, N + 2)


def random_batch(num_rows, length, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    mask = rng.integers(0, 2, (num_rows, length, ACTIONS)).astype(bool)
    action = rng.integers(0, ACTIONS, (num_rows, length))
    np.put_along_axis(mask, action[..., None], True, -1)
    inputs = Inputs(None, None, normal(num_rows, length, WIDTH), jnp.asarray(mask))
    carry = RoleCarry(*(normal(num_rows, TOWER.carry_width) for _ in range(2)))
    each = [normal(num_rows, length) for _ in range(4)]
    first = jnp.zeros((num_rows, length), bool)
    return ppo.Batch(Sequences(inputs, first, carry), jnp.asarray(action), *each)


HYPERPARAMETERS = ppo.Hyperparameters(
    clip=0.3, value_coefficient=0.1, value_clip=50.0, entropy_coefficient=0.025
)


@functools.partial(jax.jit, static_argnums=0)
def loss(network, params, batch):
    def apply(params, sequences):
        return train_apply(network, params, sequences, masked_categorical)

    return ppo.policy_loss(params, apply, batch, HYPERPARAMETERS, False, None)[0]


def loss_step_by_step(network, params, batch, weight):
    """The published loss, one step of one row at a time."""
    total, count, apply = 0.0, 0, jax.jit(network.apply)
    for r, row in enumerate(batch.action):
        memory = jax.tree.map(lambda leaf, r=r: leaf[r : r + 1], batch.observation.carry)
        for t in range(len(row)):
            if batch.observation.first[r, t]:
                memory = jax.tree.map(jnp.zeros_like, memory)
            now = jax.tree.map(lambda x, r=r, t=t: x[r, t][None, None], batch.observation.inputs)
            memory, logits, value = apply(params, memory, now, jnp.zeros((1, 1), bool))
            if not weight[r, t]:
                continue
            logits = np.where(now.action_mask, logits, -np.inf)[0, 0].astype(np.float64)
            log_probs = logits - np.log(np.exp(logits).sum())
            ratio = np.exp(log_probs[batch.action[r, t]] - batch.log_prob[r, t])
            advantage = batch.advantage[r, t]
            surrogate = min(ratio * advantage, np.clip(ratio, 0.7, 1.3) * advantage)
            change = np.clip(value[0, 0] - batch.value[r, t], -50, 50)
            target = batch.target[r, t]
            errors = (value[0, 0] - target) ** 2, (batch.value[r, t] + change - target) ** 2
            allowed = log_probs[np.isfinite(log_probs)]
            entropy = -np.sum(np.exp(allowed) * allowed)
            total += -surrogate + 0.05 * max(errors) - 0.025 * entropy
            count += 1
    return float(total / count)


def test_the_recurrent_loss_is_the_mean_over_valid_steps_of_a_loop_with_resets(network):
    batch = random_batch(3, L)
    first = batch.observation.first.at[0, 2].set(True).at[2, 0].set(True).at[2, 4].set(True)
    batch = dataclasses.replace(
        batch, observation=dataclasses.replace(batch.observation, first=first)
    )
    params = jax.jit(network.init)(jax.random.key(0), *_network_arguments(batch))
    weight = np.ones((3, L), bool)
    weight[1, 3:] = weight[0, 4:] = False  # padding at the ends of rows
    masked = dataclasses.replace(batch, mask=jnp.asarray(weight, jnp.float32))
    expected = loss_step_by_step(network, params, batch, weight)
    assert float(loss(network, params, masked)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(network, params, batch)) == pytest.approx(
        loss_step_by_step(network, params, batch, np.ones((3, L), bool)), rel=1e-5
    )


def test_what_is_padded_does_not_move_the_gradient(network):
    batch = random_batch(2, L)
    params = jax.jit(network.init)(jax.random.key(0), *_network_arguments(batch))
    weight = jnp.ones((2, L)).at[1, 3:].set(0.0)
    masked = dataclasses.replace(batch, mask=weight)
    rubbish = dataclasses.replace(
        masked,
        advantage=masked.advantage.at[1, 3:].set(1e6),
        target=masked.target.at[1, 3:].set(1e6),
    )
    gradient = jax.jit(jax.grad(lambda p, b: loss(network, p, b)))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7),
        gradient(params, masked),
        gradient(params, rubbish),
    )


def test_a_reset_within_a_row_is_an_episode_of_its_own_with_padding(network):
    """The official library cuts rows at episode ends and pads them; the loss is the same."""
    batch = random_batch(1, L)
    cut = 3
    first = batch.observation.first.at[0, cut].set(True)
    whole = dataclasses.replace(
        batch, observation=dataclasses.replace(batch.observation, first=first)
    )
    params = jax.jit(network.init)(jax.random.key(0), *_network_arguments(batch))

    def pad(leaf, begin, end):
        part = leaf[:, begin:end]
        return jnp.pad(part, [(0, 0), (0, L - (end - begin))] + [(0, 0)] * (leaf.ndim - 2))

    sequences = whole.observation
    parts = []
    for begin, end in ((0, cut), (cut, L)):
        steps = dataclasses.replace(whole, observation=(sequences.inputs, sequences.first))
        steps = dataclasses.replace(steps, mask=jnp.ones((1, L)))
        padded = jax.tree.map(lambda leaf, b=begin, e=end: pad(leaf, b, e), steps)
        carry = sequences.carry if begin == 0 else jax.tree.map(jnp.zeros_like, sequences.carry)
        inputs, starts = padded.observation
        inputs = dataclasses.replace(inputs, action_mask=inputs.action_mask.at[..., 0].set(True))
        parts.append(dataclasses.replace(padded, observation=Sequences(inputs, starts, carry)))
    two = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    # Action 0 must be allowed somewhere in padding; where steps are valid, masks stay.
    valid = two.mask[..., None] > 0
    original = jnp.concatenate(
        [pad(sequences.inputs.action_mask, 0, cut), pad(sequences.inputs.action_mask, cut, L)]
    )
    inputs = dataclasses.replace(
        two.observation.inputs,
        action_mask=jnp.where(valid, original, two.observation.inputs.action_mask),
    )
    two = dataclasses.replace(two, observation=dataclasses.replace(two.observation, inputs=inputs))
    assert float(loss(network, params, two)) == pytest.approx(
        float(loss(network, params, whole)), rel=1e-5
    )


def _network_arguments(batch):
    sequences = batch.observation
    inputs, first = jax.tree.map(
        lambda leaf: leaf.swapaxes(0, 1), (sequences.inputs, sequences.first)
    )
    return sequences.carry, inputs, first
