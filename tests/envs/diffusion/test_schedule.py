import numpy as np
import pytest

from ai_econ_jax import config as config_lib
from ai_econ_jax.envs.diffusion.schedule import (
    SamplerConfig,
    ScheduleConfig,
    alphas_cumprod,
    make_steps,
)

STABLE_DIFFUSION = ScheduleConfig()


def test_stable_diffusion_ends_with_half_a_percent_of_the_image():
    assert alphas_cumprod(STABLE_DIFFUSION)[-1] == pytest.approx(0.00466, abs=5e-6)


def test_fifty_steps_visit_981_to_1():
    timestep = make_steps(STABLE_DIFFUSION, SamplerConfig(num_steps=50)).timestep
    np.testing.assert_array_equal(timestep, np.arange(981, 0, -20))


def test_the_last_step_ends_at_timestep_0_or_at_no_noise():
    table = alphas_cumprod(STABLE_DIFFUSION)
    assert make_steps(STABLE_DIFFUSION, SamplerConfig()).alpha_bar_prev[-1] == table[0]
    to_one = ScheduleConfig(set_alpha_to_one=True)
    assert make_steps(to_one, SamplerConfig()).alpha_bar_prev[-1] == 1.0


def test_every_step_ends_where_the_next_begins():
    steps = make_steps(STABLE_DIFFUSION, SamplerConfig(num_steps=50))
    np.testing.assert_array_equal(steps.alpha_bar_prev[:-1], steps.alpha_bar[1:])


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_with_all_timesteps_and_eta_1_the_noise_is_ddpm_s(schedule):
    # Ho et al. (2020), below equation 7: beta~_t = (1 - a_{t-1}) / (1 - a_t) beta_t.
    config = ScheduleConfig(beta_schedule=schedule, steps_offset=0, set_alpha_to_one=True)
    table = alphas_cumprod(config)
    before = np.concatenate([[1.0], table[:-1]])
    posterior = (1 - before) / (1 - table) * (1 - table / before)
    std = make_steps(config, SamplerConfig(num_steps=1000, eta=1.0)).std
    np.testing.assert_allclose(std**2, posterior[::-1], atol=1e-15)


def test_without_eta_no_step_adds_noise():
    assert not make_steps(STABLE_DIFFUSION, SamplerConfig(eta=0.0)).std.any()


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("num_steps", [1, 7, 50])
def test_tables_are_diffusers(schedule, num_steps):
    pytest.importorskip("diffusers", reason="extra torch is not installed")
    from diffusers import DDIMScheduler

    official = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule=schedule,
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )
    official.set_timesteps(num_steps)
    config = ScheduleConfig(beta_schedule=schedule)
    table = alphas_cumprod(config)
    np.testing.assert_allclose(table, official.alphas_cumprod.numpy(), rtol=3e-5)
    steps = make_steps(config, SamplerConfig(num_steps=num_steps))
    np.testing.assert_array_equal(steps.timestep, official.timesteps.numpy())


@pytest.mark.parametrize(
    ("schedule", "sampler", "message"),
    [
        (
            ScheduleConfig(),
            SamplerConfig(num_steps=1001),
            "field num_steps = 1001: must be at most the model's 1000 timesteps",
        ),
        (
            ScheduleConfig(),
            SamplerConfig(num_steps=1000),
            "field num_steps = 1000: with steps_offset 1 begins at timestep 1000, but the last is",
        ),
    ],
)
def test_more_steps_than_timesteps_are_refused(schedule, sampler, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        make_steps(schedule, sampler)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ScheduleConfig(beta_schedule="sigmoid"), "beta_schedule = 'sigmoid': must be one of"),
        (ScheduleConfig(prediction_type="score"), "prediction_type = 'score': must be one of"),
        (ScheduleConfig(beta_start=0.02, beta_end=0.01), r"beta_end = 0.01: must be in \[0.02, 1"),
        (ScheduleConfig(steps_offset=1000), r"steps_offset = 1000: must be in \[0, 999\]"),
        (SamplerConfig(eta=1.5), r"eta = 1.5: must be in \[0.0, 1.0\]"),
        (SamplerConfig(num_steps=0), "num_steps = 0: must be in"),
    ],
)
def test_impossible_fields_are_named(config, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        config_lib.validate(config)


def test_guidance_doubles_the_forward_passes():
    assert SamplerConfig(num_steps=50, guidance_scale=7.5).forwards_per_image == 100
    assert SamplerConfig(num_steps=50, guidance_scale=1.0).forwards_per_image == 50
