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
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig, ScheduleConfig

MEAN, STD = jnp.array([0.5, -1.0, 2.0]), jnp.array([0.3, 1.0, 2.0])
WEIGHTS = GaussWeights(MEAN, STD)


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


def test_ddpm_draws_from_the_data():
    # Bar 6: eta 1, S = T = 1000.
    sampler = SamplerConfig(num_steps=1000, eta=1.0)
    _, x = generate(sampler, 2, 4_000)
    # Three standard errors of this many draws; the slow test has the bar's 2e5.
    np.testing.assert_array_less(np.abs(x.mean(0) - MEAN), 3 * STD / np.sqrt(4_000) + 0.01)
    np.testing.assert_allclose(x.std(0), STD, rtol=0.04)


@pytest.mark.slow
def test_ddpm_draws_from_the_data_within_one_percent():
    sampler = SamplerConfig(num_steps=1000, eta=1.0)
    _, x = generate(sampler, 2, 200_000)
    np.testing.assert_allclose(x.mean(0), MEAN, atol=0.01 * float(STD.max()))
    np.testing.assert_allclose(x.var(0), STD**2, rtol=0.01)


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
