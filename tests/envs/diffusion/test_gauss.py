import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.envs.diffusion.gauss import (
    GaussModel,
    GaussWeights,
    affine_map,
    linear_optimum,
)
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, NoiseEnvironment, Task
from ai_econ_jax.envs.diffusion.rewards import linear_reward
from ai_econ_jax.envs.diffusion.schedule import (
    SamplerConfig,
    ScheduleConfig,
    alphas_cumprod,
)

MEAN, STD = jnp.array([0.5, -1.0, 2.0]), jnp.array([0.3, 1.0, 2.0])
WEIGHTS = GaussWeights(MEAN, STD)
VARIANCE = np.square(STD, dtype=np.float64)


def generate(sampler, key, count, model=None):
    environment = NoiseEnvironment(model or GaussModel(3), sampler, linear_reward)
    z = jax.random.normal(jax.random.key(key), (count, 3))
    keys = jax.random.split(jax.random.key(key + 1), count)
    params = DiffusionParams(WEIGHTS, Task(jnp.zeros(0), jnp.ones(3)))
    return z, jax.jit(environment.generate)(keys, z, params)


@pytest.mark.parametrize("schedule", ["scaled_linear", "linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("to_one", [True, False])
def test_ddim_without_noise_is_the_closed_affine_map(schedule, to_one):
    config = ScheduleConfig(beta_schedule=schedule, steps_offset=0, set_alpha_to_one=to_one)
    sampler = SamplerConfig(num_steps=20)
    z, x = generate(sampler, 0, 64, GaussModel(3, config))
    scale, shift = affine_map(config, sampler, MEAN, STD)
    # The cosine schedule ends at alpha_bar 2e-9, where float32 has few digits left.
    tolerance = 1e-5 if schedule != "squaredcos_cap_v2" else 2e-3
    np.testing.assert_allclose(x, scale * z + shift, rtol=tolerance, atol=tolerance)


def test_the_affine_map_refuses_a_sampler_that_adds_noise():
    with pytest.raises(ValueError, match=r"affine_map needs eta 0, got 0\.5"):
        affine_map(ScheduleConfig(), SamplerConfig(eta=0.5), [0.0], [1.0])


def ddpm_moments(schedule):
    """Exact mean and variance of what DDPM in all T steps draws, in doubles."""
    alpha_bars = np.append(alphas_cumprod(schedule)[::-1], 1.0)
    goal = np.asarray(MEAN, np.float64)
    mean, variance = np.zeros(3), np.ones(3)
    for alpha_bar, previous in itertools.pairwise(alpha_bars):
        noise = (1 - previous) / (1 - alpha_bar) * (1 - alpha_bar / previous)
        # q(x_prev | x, x0) at the denoiser's x0 = E[x0 | x]: Ho et al. (2020), eq. 7.
        of_x = np.sqrt(alpha_bar / previous) * (1 - previous) / (1 - alpha_bar)
        of_x0 = np.sqrt(previous) * (1 - alpha_bar / previous) / (1 - alpha_bar)
        gain = np.sqrt(alpha_bar) * VARIANCE / (alpha_bar * VARIANCE + 1 - alpha_bar)
        mean = of_x * mean + of_x0 * (goal + gain * (mean - np.sqrt(alpha_bar) * goal))
        variance = (of_x + of_x0 * gain) ** 2 * variance + noise
    return mean, variance


@pytest.mark.parametrize("count", [4_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_ddpm_draws_what_its_chain_must(count):
    # Bar 6: eta 1, S = T = 1000.
    _, x = generate(SamplerConfig(num_steps=1000, eta=1.0), 2, count)
    mean, variance = ddpm_moments(GaussModel(3).schedule)
    np.testing.assert_array_less(np.abs(x.mean(0) - mean), 4 * np.sqrt(variance / count))
    np.testing.assert_array_less(np.abs(x.var(0) / variance - 1), 4 * np.sqrt(2 / count))


@pytest.mark.parametrize(
    ("schedule", "of_mean", "of_variance"),
    [
        # The mean: its last timestep keeps 7% of the data's amplitude, the start N(0, I) nothing.
        # The variance: a thousand steps are few for the narrowest coordinate.
        ("scaled_linear", [0.01, 0.01, 0.02], [0.04, 0.01, 0.01]),
        ("squaredcos_cap_v2", [1e-6, 1e-6, 1e-6], [0.013, 0.01, 0.01]),
    ],
)
def test_the_exact_chain_nears_the_data(schedule, of_mean, of_variance):
    # Bar 6 asks for 1%, which the chain itself misses where more is written here.
    mean, variance = ddpm_moments(
        ScheduleConfig(beta_schedule=schedule, steps_offset=0, set_alpha_to_one=True)
    )
    np.testing.assert_array_less(np.abs(mean - MEAN) / STD, of_mean)
    np.testing.assert_array_less(np.abs(variance / VARIANCE - 1), of_variance)


def test_the_linear_optimum_beats_its_neighbours():
    slope, weight, kl = np.array([1.0, -2.0]), 3.0, 1.5

    def objective(mu, sigma):
        divergence = 0.5 * (mu @ mu + 2 * (sigma**2 - 1) - 4 * np.log(sigma))
        return weight * slope @ mu - kl * divergence

    best, gain = linear_optimum(slope, weight, kl)
    assert objective(best, 1.0) - objective(np.zeros(2), 1.0) == pytest.approx(gain)
    for change in np.eye(2) * 0.01:
        assert objective(best + change, 1.0) < objective(best, 1.0) > objective(best - change, 1.0)
    assert objective(best, 1.01) < objective(best, 1.0) > objective(best, 0.99)
