import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ai_econ_jax.envs.diffusion import sampler as sampler_lib
from ai_econ_jax.envs.diffusion.schedule import (
    SamplerConfig,
    ScheduleConfig,
    alphas_cumprod,
    make_steps,
)

SHAPE = (4, 4, 2)


def network(x, timestep):
    """Any smooth function of input and time will do."""
    return jnp.tanh(0.7 * x + 0.1) + 0.001 * timestep[:, None, None, None] / 10


def draw(key, count=3):
    z = jax.random.normal(jax.random.key(key), (count, *SHAPE))
    return z, jax.random.split(jax.random.key(key + 1), count)


def by_hand(config, sampler, z, noises):
    """DDIM, Song et al. (2021) equation 12, in float64 and a loop of Python."""
    table, x = alphas_cumprod(config), np.asarray(z, np.float64)
    stride = config.num_train_timesteps // sampler.num_steps
    for i, noise in enumerate(noises):
        t = (sampler.num_steps - 1 - i) * stride + config.steps_offset
        last = 1.0 if config.set_alpha_to_one else table[0]
        a, before = table[t], table[t - stride] if t >= stride else last
        out = np.asarray(network(jnp.asarray(x, jnp.float32), jnp.full(len(x), t)), np.float64)
        if config.prediction_type == "epsilon":
            x0, e = (x - (1 - a) ** 0.5 * out) / a**0.5, out
        elif config.prediction_type == "v_prediction":
            x0 = a**0.5 * x - (1 - a) ** 0.5 * out
            e = a**0.5 * out + (1 - a) ** 0.5 * x
        else:
            x0, e = out, (x - a**0.5 * out) / (1 - a) ** 0.5
        if config.clip_sample:
            x0 = x0.clip(-config.clip_sample_range, config.clip_sample_range)
            e = (x - a**0.5 * x0) / (1 - a) ** 0.5
        s = sampler.eta * ((1 - before) / (1 - a) * (1 - a / before)) ** 0.5
        mean = before**0.5 * x0 + (1 - before - s**2) ** 0.5 * e
        x = mean + s * np.asarray(noise, np.float64)
    return x


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("eta", "clip"), [(0.0, False), (1.0, True)])
def test_sample_is_ddim(kind, eta, clip):
    config = ScheduleConfig(prediction_type=kind, clip_sample=clip)
    sampler = SamplerConfig(num_steps=10, eta=eta)
    z, keys = draw(0)
    noises = [sampler_lib.step_noise(keys, jnp.int32(i), SHAPE) for i in range(10)]
    x = jax.jit(lambda z: sampler_lib.sample(network, config, sampler, z, keys))(z)
    np.testing.assert_allclose(x, by_hand(config, sampler, z, noises), rtol=3e-4, atol=3e-4)


@pytest.mark.parametrize("timestep", [981, 961, 481, 1])
def test_a_step_is_diffusers(timestep):
    torch = pytest.importorskip("torch", reason="extra torch is not installed")
    from diffusers import DDIMScheduler

    official = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )
    official.set_timesteps(50)
    x, output, noise = np.random.default_rng(0).standard_normal((3, 2, *SHAPE)).astype(np.float32)
    as_torch = [torch.from_numpy(a) for a in (output, x, noise)]
    theirs = official.step(
        as_torch[0], timestep, as_torch[1], eta=1.0, variance_noise=as_torch[2]
    ).prev_sample.numpy()

    config, sampler = ScheduleConfig(), SamplerConfig(num_steps=50, eta=1.0)
    index = int(np.flatnonzero(make_steps(config, sampler).timestep == timestep)[0])
    step = jax.tree.map(lambda a: a[index], sampler_lib.stack_steps(config, sampler))
    ours = sampler_lib.step_mean(config, step, x, output) + step.std * noise
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_the_trajectory_is_of_the_same_images_and_its_steps_join():
    config, sampler = ScheduleConfig(), SamplerConfig(num_steps=6, eta=1.0)
    z, keys = draw(2)
    images = sampler_lib.sample(network, config, sampler, z, keys)
    last, path = sampler_lib.sample_trajectory(network, config, sampler, z, keys)
    np.testing.assert_allclose(last, images, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(path.x[0], z)
    np.testing.assert_array_equal(path.x[1:], path.x_prev[:-1])
    np.testing.assert_array_equal(path.x_prev[-1], last)


def test_log_prob_of_a_step_is_the_mean_of_scipys_normal():
    x, mean = np.random.default_rng(1).standard_normal((2, 3, *SHAPE)).astype(np.float32)
    expected = stats.norm.logpdf(x, mean, 0.3).reshape(3, -1).mean(1)
    np.testing.assert_allclose(
        sampler_lib.step_log_prob(x, mean, jnp.float32(0.3)), expected, rtol=1e-6
    )
    # A deterministic step has no density, and its gradient must not be NaN either.
    gradient = jax.grad(lambda m: sampler_lib.step_log_prob(x, m, jnp.float32(0.0)).sum())(mean)
    assert not np.any(gradient)


def test_an_image_does_not_depend_on_its_batch():
    config, sampler = ScheduleConfig(), SamplerConfig(num_steps=5, eta=1.0)
    z, keys = draw(4)
    together = sampler_lib.sample(network, config, sampler, z, keys)
    alone = sampler_lib.sample(network, config, sampler, z[1:2], keys[1:2])
    np.testing.assert_allclose(together[1:2], alone, rtol=1e-6, atol=1e-6)


def test_images_get_noise_of_their_own():
    keys = jax.random.split(jax.random.key(0), 2)
    first, second = sampler_lib.step_noise(keys, jnp.int32(0), SHAPE)
    later = sampler_lib.step_noise(keys, jnp.int32(1), SHAPE)[0]
    for other in (second, later):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.6


def conditional(x, timestep, condition):
    return x * condition[:, :1, None, None] + condition[:, 1:, None, None]


def test_guidance_extrapolates_from_the_empty_prompt():
    z, _ = draw(6)
    timestep = jnp.full(3, 7)
    prompt, null = jnp.array([2.0, 1.0]), jnp.array([0.5, 0.0])
    with_prompt, without = 2 * z + 1, 0.5 * z
    output = sampler_lib.guided(conditional, prompt, null, 7.5)(z, timestep)
    np.testing.assert_allclose(output, without + 7.5 * (with_prompt - without), rtol=1e-5)
    plain = sampler_lib.guided(conditional, prompt, null, 1.0)(z, timestep)
    np.testing.assert_allclose(plain, with_prompt, rtol=1e-6)


@chex.assert_max_traces(n=1)
def _sample_with(z, keys):
    config, sampler = ScheduleConfig(), SamplerConfig(num_steps=5)
    return sampler_lib.sample(network, config, sampler, z, keys)


def test_other_noise_needs_no_other_compilation():
    chex.clear_trace_counter()
    jitted = jax.jit(_sample_with)
    assert not np.allclose(jitted(*draw(0)), jitted(*draw(1)))
