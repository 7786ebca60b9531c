import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.envs.diffusion.denoising_mdp import DenoisingEnvironment, DenoisingState
from ai_econ_jax.envs.diffusion.gauss import GaussModel, GaussWeights
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, NoiseEnvironment, Task
from ai_econ_jax.envs.diffusion.rewards import linear_reward
from ai_econ_jax.envs.diffusion.sampler import step_noise
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig, make_steps

MODEL = GaussModel(3)
STOCHASTIC = SamplerConfig(num_steps=4, eta=1.0)
PARAMS = DiffusionParams(
    GaussWeights(jnp.array([0.5, -1.0, 2.0]), jnp.array([0.3, 1.0, 2.0])),
    Task(jnp.zeros(0), jnp.array([1.0, 2.0, -1.0])),
)


def noise(count=5):
    keys = jax.random.split(jax.random.key(1), count)
    return jax.random.normal(jax.random.key(0), (count, 3)), keys


@pytest.mark.parametrize("environment_class", [NoiseEnvironment, DenoisingEnvironment])
def test_the_environment_contract(environment_class):
    environment = environment_class(MODEL, STOCHASTIC, linear_reward)
    assert hash(environment) == hash(environment_class(MODEL, STOCHASTIC, linear_reward))
    state, first = jax.jit(environment.reset)(jax.random.key(0), PARAMS)
    assert not first.done
    action = environment.action_space(PARAMS).sample(jax.random.key(1))
    after, step = jax.jit(environment.step)(jax.random.key(2), state, action, PARAMS)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for seen in (first, step):
        space = environment.observation_space(PARAMS)
        shapes = jax.tree.map(lambda box: box.shape, space, is_leaf=lambda x: hasattr(x, "low"))
        assert shapes == jax.tree.map(jnp.shape, seen.observation)
        assert np.shape(seen.reward) == () and seen.reward.dtype == jnp.float32


def test_one_choice_of_noise_ends_the_episode_with_the_image_s_reward():
    environment = NoiseEnvironment(MODEL, STOCHASTIC, linear_reward)
    z, keys = noise()
    images, rewards = environment.play(keys, z, PARAMS)
    np.testing.assert_allclose(rewards, images @ jnp.array([1.0, 2.0, -1.0]), rtol=1e-5)
    _, step = jax.vmap(environment.step, (0, None, 0, None))(keys, (), z, PARAMS)
    assert step.terminated.all()
    np.testing.assert_allclose(step.reward, rewards, rtol=1e-5)
    np.testing.assert_allclose(step.info["image"], images, rtol=1e-5)


def test_both_problems_draw_the_same_images():
    z, keys = noise()
    images, rewards = NoiseEnvironment(MODEL, STOCHASTIC, linear_reward).play(keys, z, PARAMS)
    _, steps_images, steps_rewards = DenoisingEnvironment(MODEL, STOCHASTIC, linear_reward).play(
        keys, z, PARAMS
    )
    np.testing.assert_allclose(steps_images, images, rtol=1e-5)
    np.testing.assert_allclose(steps_rewards, rewards, rtol=1e-5)


def test_stepping_along_a_trajectory_ends_with_its_reward_and_only_there():
    environment = DenoisingEnvironment(MODEL, STOCHASTIC, linear_reward)
    z, keys = noise()
    path, _, rewards = environment.play(keys, z, PARAMS)
    state = DenoisingState(z, jnp.zeros(5, jnp.int32))
    for i in range(4):
        state, step = jax.vmap(environment.step, (0, 0, 0, None))(
            keys, state, path.x_prev[i], PARAMS
        )
        expected = rewards if i == 3 else np.zeros(5)
        np.testing.assert_allclose(step.reward, expected, rtol=1e-5)
        assert (step.terminated == (i == 3)).all()


def test_log_prob_recomputes_what_was_played_at_any_step():
    environment = DenoisingEnvironment(MODEL, STOCHASTIC, linear_reward)
    z, keys = noise()
    path, _, _ = environment.play(keys, z, PARAMS)
    index = jnp.array([3, 0, 1, 2, 0])
    chosen = jax.tree.map(lambda values: values[index, jnp.arange(5)], path)
    log_prob, _ = environment.log_prob(index, chosen.x, chosen.x_prev, PARAMS)
    np.testing.assert_allclose(log_prob, chosen.log_prob, rtol=1e-5)
    # The last step ends at no noise, so it is deterministic; the others have the density of xi.
    assert chosen.log_prob[0] == 0
    xi = step_noise(keys[1:2], jnp.int32(0), (3,))[0]
    std = np.exp(np.mean(-0.5 * xi**2 - 0.5 * np.log(2 * np.pi)) - chosen.log_prob[1])
    assert std == pytest.approx(make_steps(MODEL.schedule, STOCHASTIC).std[0], rel=1e-4)


def test_steps_without_noise_are_refused():
    with pytest.raises(ValueError, match="eta 0: every step is deterministic"):
        DenoisingEnvironment(MODEL, SamplerConfig(eta=0.0), linear_reward)
