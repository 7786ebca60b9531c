import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.find import experiment
from ai_econ_jax.envs.diffusion import noise_mdp
from ai_econ_jax.envs.diffusion.gauss import GaussModel, GaussWeights
from ai_econ_jax.envs.diffusion.noise_mdp import NoiseEnvironment, Task
from ai_econ_jax.envs.diffusion.rewards import linear_reward
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig

SAMPLER = SamplerConfig(num_steps=3, eta=1.0)
WEIGHTS = GaussWeights(jnp.array([0.5, -1.0, 2.0]), jnp.array([0.3, 1.0, 2.0]))
COUNT = 5
AT_ONCE: set[int] = set()


class Images(GaussModel):
    """Knows how many it was asked for at once."""

    def denoise(self, weights, condition, x, timestep):
        AT_ONCE.add(len(x))
        return super().denoise(weights, condition, x.reshape(-1, 3), timestep).reshape(x.shape)


class Clips(Images):
    """Of one frame, which is one pixel."""

    @property
    def latent_shape(self):
        return (1, 1, 1, 3)


def of_a_prompt(model):
    draw = noise_mdp.draw_images.__wrapped__
    return draw(model, SAMPLER, COUNT, jax.random.key(0), WEIGHTS, jnp.zeros(0)), None


def of_an_evaluation(model):
    def reward(direction, images):
        return linear_reward(direction, images.reshape(-1, 3))

    environment = NoiseEnvironment(model, SAMPLER, reward)
    task, keys = (
        Task(jnp.zeros(0), jnp.array([1.0, 2.0, -1.0])),
        jax.random.split(jax.random.key(0)),
    )
    draw = experiment._draw.__wrapped__
    images, rewards, _ = draw(environment, None, None, COUNT, WEIGHTS, task, None, keys)
    return images, rewards


@pytest.mark.parametrize("draw", [of_a_prompt, of_an_evaluation])
def test_clips_are_drawn_in_parts_and_are_those_of_one_call(draw, monkeypatch):
    drawn = {}
    for model, most, calls in ((Clips(3), 2, {2}), (Clips(3), 9, {5}), (Images(3), 2, {5})):
        monkeypatch.setattr(noise_mdp, "_CLIPS_AT_ONCE", most)
        AT_ONCE.clear()
        drawn[type(model), most] = draw(model)
        assert calls == AT_ONCE
    parts, whole, images = drawn.values()
    assert parts[0].shape == (*images[0].shape[:-1], 1, 1, 1, 3)
    for other in (whole, images):
        np.testing.assert_allclose(parts[0].ravel(), other[0].ravel(), rtol=1e-5, atol=1e-6)
    if parts[1] is not None:
        np.testing.assert_allclose(parts[1], whole[1], rtol=1e-5, atol=1e-6)
