"""Memory layers against loops over steps in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import recurrent

T, B, F, H = 7, 3, 5, 4
X = np.random.default_rng(0).normal(size=(T, B, F)).astype(np.float32)
FIRST = np.zeros((T, B), bool)
FIRST[0, 0] = FIRST[3, 1] = FIRST[5, 1] = FIRST[6, 2] = True


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(params, carry, x):
    cell, hidden = carry[:, :H], carry[:, H:]
    gates = x @ params["kernel"] + hidden @ params["recurrent"] + params["bias"]
    i, f, g, o = (gates[:, k * H : (k + 1) * H] for k in range(4))
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    hidden = sigmoid(o) * np.tanh(cell)
    return np.concatenate([cell, hidden], 1), hidden


def gru_step(params, hidden, x):
    kernel, bias, back = params["kernel"], params["bias"], params["recurrent"]
    of_x, of_h = x @ kernel + bias, hidden @ back
    z, r = sigmoid(of_x[:, :H] + of_h[:, :H]), sigmoid(of_x[:, H : 2 * H] + of_h[:, H : 2 * H])
    n = np.tanh(of_x[:, 2 * H :] + r * of_h[:, 2 * H :])
    hidden = (1 - z) * n + z * hidden
    return hidden, hidden


@pytest.fixture(params=["lstm", "gru"])
def layer(request):
    kind = request.param
    module = recurrent.LAYERS[kind](H)
    carry = np.random.default_rng(1).normal(size=(B, recurrent.carry_width(kind, H)))
    carry = carry.astype(np.float32)
    params = module.init(jax.random.key(0), carry, X, FIRST)
    step = {"lstm": lstm_step, "gru": gru_step}[kind]
    return module, params, carry, step


def test_a_sequence_is_a_loop_over_steps_that_forgets_where_an_episode_starts(layer):
    module, params, carry, step = layer
    numbers = jax.tree.map(np.asarray, params["params"])
    expected, outputs = carry, []
    for t in range(T):
        expected = np.where(FIRST[t][:, None], 0, expected)
        expected, output = step(numbers, expected, X[t])
        outputs.append(output)
    last, y = module.apply(params, carry, X, FIRST)
    np.testing.assert_allclose(y, outputs, atol=1e-6)
    np.testing.assert_allclose(last, expected, atol=1e-6)


def test_a_sequence_in_two_parts_is_the_whole(layer):
    module, params, carry, _ = layer
    _, whole = module.apply(params, carry, X, FIRST)
    middle, before = module.apply(params, carry, X[:4], FIRST[:4])
    _, after = module.apply(params, middle, X[4:], FIRST[4:])
    np.testing.assert_allclose(jnp.concatenate([before, after]), whole, atol=1e-6)


def test_forget_gates_of_an_lstm_start_open():
    params = recurrent.LSTM(H).init(jax.random.key(0), jnp.zeros((B, 2 * H)), X, FIRST)["params"]
    assert params["bias"].tolist() == [0.0] * H + [1.0] * H + [0.0] * 2 * H
    recurrent_kernel = np.asarray(params["recurrent"])
    np.testing.assert_allclose(recurrent_kernel @ recurrent_kernel.T, np.eye(H), atol=1e-5)


def test_an_unknown_memory_is_refused():
    assert recurrent.carry_width("none", 8) == 0
    with pytest.raises(ValueError, match=r"field memory = 'rnn': must be one of none, lstm, gru"):
        recurrent.carry_width("rnn", 8)
