"""Networks: parameter counts of the specification, and a forward pass written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.ai_economist.gather_trade_build.networks import (
    Inputs,
    RoleCarry,
    RoleNetwork,
    TowerConfig,
    num_parameters,
)
from ai_econ_jax.distributions import masked_categorical

N, VIEW, T, B = 4, 11, 3, 2
PLANNER = TowerConfig(hidden=(256, 256), memory_width=256)


def random_inputs(width, actions, seed=0, has_map=True):
    rng = np.random.default_rng(seed)
    return Inputs(
        map=rng.integers(0, 2, (T, B, 7, VIEW, VIEW)).astype(np.int8) if has_map else None,
        index_map=rng.integers(0, N + 2, (T, B, 2, VIEW, VIEW)).astype(np.int8)
        if has_map
        else None,
        flat=rng.normal(size=(T, B, width)).astype(np.float32),
        action_mask=np.ones((T, B, actions), bool),
    )


def built(config, width, actions, has_map):
    network = RoleNetwork(config, actions, N + 2)
    carry = RoleCarry(*(np.zeros((B, config.carry_width), np.float32) for _ in range(2)))
    inputs = random_inputs(width, actions, has_map=has_map)
    params = network.init(jax.random.key(0), carry, inputs, np.zeros((T, B), bool))
    return network, params, carry, inputs


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def layer_norm(layer, x):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-3) * layer["scale"] + layer["bias"]


def convolution(kernel, bias, x):
    """3 x 3, stride 2, no padding; x[rows, columns, channels], cell by cell."""
    size = (x.shape[0] - 3) // 2 + 1
    out = np.zeros((size, size, kernel.shape[-1]))
    for row, column in np.ndindex(size, size):
        patch = x[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        out[row, column] = np.tensordot(patch, kernel, 3) + bias
    return np.maximum(out, 0)


def encode(params, channels, codes):
    """One map, as the layers are defined."""
    embedded = params["embedding"][codes]  # [2, V, V, 4]
    x = np.concatenate([channels.transpose(1, 2, 0), embedded[0], embedded[1]], -1)
    for i in range(2):
        x = convolution(params[f"conv_{i}"], params[f"conv_{i}_bias"], x)
    return x.reshape(-1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def tower(params, inputs):
    """Outputs [T, B, ...] of one tower from an empty memory, in doubles."""
    numbers = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    width = numbers["memory"]["recurrent"].shape[0]
    cell = hidden = np.zeros((B, width))
    outputs = []
    for t in range(T):
        x = np.asarray(inputs.flat[t], np.float64)
        if inputs.map is not None:
            seen = [
                encode(numbers["map"], inputs.map[t, b], inputs.index_map[t, b]) for b in (0, 1)
            ]
            x = np.concatenate([np.stack(seen), x], -1)
        x = np.maximum(dense(numbers["Dense_0"], x), 0)
        x = np.maximum(dense(numbers["Dense_1"], x), 0)
        x = layer_norm(numbers["LayerNorm_0"], x)
        memory = numbers["memory"]
        gates = x @ memory["kernel"] + hidden @ memory["recurrent"] + memory["bias"]
        i, f, g, o = np.split(gates, 4, -1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        outputs.append(dense(numbers["Dense_2"], hidden))
    return np.stack(outputs)


@pytest.mark.parametrize(
    ("config", "width", "actions", "has_map", "policy", "value"),
    [
        # The flat observation and the time once more; without a map, all per-worker features too.
        (TowerConfig(), 136 + 1, 50, True, 196_066, 189_745),
        (PLANNER, 86 + 6 * N + 1, 154, False, 659_866, 620_545),
    ],
    ids=["worker", "planner"],
)
def test_towers_are_the_published_ones(config, width, actions, has_map, policy, value):
    network, params, carry, inputs = built(config, width, actions, has_map)
    assert num_parameters(params["params"]["policy_tower"]) == policy
    assert num_parameters(params["params"]["value_tower"]) == value
    assert num_parameters(params) == policy + value in (385_811, 1_280_411)
    _, logits, values = jax.jit(network.apply)(params, carry, inputs, np.zeros((T, B), bool))
    towers = params["params"]
    np.testing.assert_allclose(logits, tower(towers["policy_tower"], inputs), atol=1e-5)
    np.testing.assert_allclose(values, tower(towers["value_tower"], inputs)[..., 0], atol=1e-5)


def test_masked_actions_have_probability_exactly_zero():
    network, params, carry, inputs = built(TowerConfig(), 137, 50, True)
    _, logits, _ = network.apply(params, carry, inputs, np.zeros((T, B), bool))
    mask = np.random.default_rng(3).integers(0, 2, logits.shape).astype(bool)
    mask[..., 0] = True
    distribution = masked_categorical(1e3 * logits, mask)  # however sure the network is
    probabilities = np.asarray(distribution.probs)
    assert (probabilities[~mask] == 0).all()
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    actions = distribution.sample(seed=jax.random.key(0), sample_shape=(200,))
    assert np.take_along_axis(
        np.broadcast_to(mask, (200, *mask.shape)), actions[..., None], -1
    ).all()


@pytest.mark.parametrize("memory", ["none", "gru", "lstm"])
def test_light_networks_do_not_depend_on_the_axis_of_time(memory):
    config = TowerConfig(
        map_encoder="dense", map_width=8, hidden=(16,), memory=memory, memory_width=8
    )
    network, params, carry, inputs = built(config, 137, 50, True)
    first = np.zeros((T, B), bool)
    first[1, 0] = True
    _, logits, value = network.apply(params, carry, inputs, first)
    turned = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), (inputs, first))
    _, other, other_value = network.apply(params, carry, *turned, time_axis=1)
    np.testing.assert_allclose(other.swapaxes(0, 1), logits, atol=1e-6)
    np.testing.assert_allclose(other_value.swapaxes(0, 1), value, atol=1e-6)
