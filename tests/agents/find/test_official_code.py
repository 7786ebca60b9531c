"""FIND's released code, written again in NumPy and a loop, beside the presets that follow it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.find.config import FIND_PRESETS
from ai_econ_jax.agents.find.find import Find, hyperparameters_of, structure_of
from ai_econ_jax.envs.diffusion.gauss import GaussModel, GaussWeights
from ai_econ_jax.envs.diffusion.noise_mdp import NoiseEnvironment, Task
from ai_econ_jax.envs.diffusion.rewards import linear_reward
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig

DIM, ITERATIONS, ROLLOUTS, CLIP = 10, 25, 20, 0.003
WEIGHTS = GaussWeights(jnp.zeros(DIM), jnp.ones(DIM))
TASK = Task(jnp.zeros(0), jnp.linspace(-1, 1, DIM))


class AdamW:
    def __init__(self, parameters, rate, decay):
        self.first = [np.zeros_like(p) for p in parameters]
        self.second = [np.zeros_like(p) for p in parameters]
        self.rate, self.decay, self.steps = rate, decay, 0

    def step(self, parameters, gradients):
        self.steps += 1
        for p, g, m, v in zip(parameters, gradients, self.first, self.second, strict=True):
            p *= 1 - self.rate * self.decay
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= (
                self.rate
                * (m / (1 - 0.9**self.steps))
                / (np.sqrt(v / (1 - 0.999**self.steps)) + 1e-8)
            )


class Value:
    """Linear 256 ReLU, three times, Linear 1, with gradients by hand."""

    def __init__(self, params):
        layers = [params["params"][f"Dense_{i}"] for i in range(4)]
        self.parameters = [
            np.array(layer[name], np.float64) for layer in layers for name in ("kernel", "bias")
        ]
        self.optimizer = AdamW(self.parameters, 1e-4, 0.01)

    def __call__(self, x):
        self.inputs = [x]
        for i in range(4):
            x = x @ self.parameters[2 * i] + self.parameters[2 * i + 1]
            if i < 3:
                x = np.maximum(x, 0)
                self.inputs.append(x)
        return x[0]

    def fit(self, x, reward):
        gradient, gradients = np.array([2 * (self(x) - reward)]), []
        for i in reversed(range(4)):
            gradients = [np.outer(self.inputs[i], gradient), gradient, *gradients]
            gradient = (self.parameters[2 * i] @ gradient) * (self.inputs[i] > 0)
        self.optimizer.step(self.parameters, gradients)


def released_code(noises, rewards, value, stale):
    """`dist_train2.py` with the README's settings, on the noise and rewards of a run."""
    mean, std = np.zeros(DIM), np.ones(DIM)
    optimizer = AdamW([mean, std], 1e-3, 0.0)
    path = []
    for i, z in enumerate(noises):
        judged = rewards[max(0, i - ROLLOUTS + 1)] if stale else rewards[i]
        advantage = judged
        if value is not None:
            x = np.concatenate([mean, std])
            value.fit(x, judged)
            advantage = judged - value(x)
        log_ratio = np.mean(-((z - mean) ** 2) / (2 * std**2) - np.log(std) + z**2 / 2)
        ratio, score_mean = np.exp(log_ratio), (z - mean) / std**2
        score_std = (z - mean) ** 2 / std**3 - 1 / std
        inside = float(1 - CLIP <= ratio <= 1 + CLIP)
        scale = -10 * advantage * ratio * inside / DIM
        gradients = [
            scale * score_mean + 0.01 * 2 * mean / DIM,
            scale * score_std + 0.01 * 2 * (std - 1) / DIM,
        ]
        optimizer.step([mean, std], gradients)
        np.maximum(std, 1e-4, out=std)
        path.append((mean.copy(), std.copy(), inside))
    return path


@pytest.mark.parametrize(
    ("preset", "baseline"),
    [("official_code", "learned"), ("official_code", "none"), ("paper", "none")],
)
def test_every_update_is_the_released_code_s(preset, baseline):
    # Bar 3. A narrow clip, so that the clamp switches some samples off within 25 iterations, which
    # also pass the end of the 20 rollouts that are remembered.
    config = dataclasses.replace(FIND_PRESETS[preset], baseline=baseline, clip_range=CLIP)
    environment = NoiseEnvironment(GaussModel(DIM), SamplerConfig(num_steps=2), linear_reward)
    find = Find(environment, structure_of(config))
    state = find.init(jax.random.key(0), TASK, hyperparameters_of(config))
    value = Value(state.baseline.params) if baseline == "learned" else None

    def one_update(state, _):
        state, _ = find.update(state, WEIGHTS)
        row = (state.history.num_seen - 1) % ROLLOUTS
        newest = jax.tree.map(lambda leaf: leaf[row], state.history.rollouts)
        return state, (newest.u[0], newest.reward[0], state.policy)

    _, (noises, rewards, policies) = jax.jit(
        lambda s: jax.lax.scan(one_update, s, None, ITERATIONS)
    )(state)
    path = released_code(
        np.asarray(noises, np.float64),
        np.asarray(rewards, np.float64),
        value,
        stale=preset == "official_code",
    )
    assert 0 < sum(inside for _, _, inside in path) < ITERATIONS
    for i, (mean, std, _) in enumerate(path):
        np.testing.assert_allclose(policies.mean[i], mean, rtol=0, atol=1e-6)
        np.testing.assert_allclose(policies.std[i], std, rtol=0, atol=1e-6)
