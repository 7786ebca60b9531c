import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.find import ddpo as ddpo_lib
from ai_econ_jax.agents.find.ddpo import Ddpo, DdpoConfig
from ai_econ_jax.agents.find.dpok import Dpok, DpokConfig
from ai_econ_jax.agents.find.search import (
    BestOfN,
    BestOfNConfig,
    Cem,
    CemConfig,
    Reno,
    RenoConfig,
)
from ai_econ_jax.envs.diffusion.denoising_mdp import DenoisingEnvironment
from ai_econ_jax.envs.diffusion.gauss import GaussModel, GaussWeights, affine_map
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, NoiseEnvironment, Task
from ai_econ_jax.envs.diffusion.rewards import linear_reward
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig

DIM, STEPS = 4, 4
MODEL = GaussModel(DIM)
WEIGHTS = GaussWeights(jnp.zeros(DIM), jnp.linspace(0.5, 1.5, DIM))
DIRECTION = jnp.linspace(1, -2, DIM)
TASK = Task(jnp.zeros(0), DIRECTION)
STILL = NoiseEnvironment(MODEL, SamplerConfig(num_steps=STEPS), linear_reward)
NOISY = DenoisingEnvironment(MODEL, SamplerConfig(num_steps=STEPS, eta=1.0), linear_reward)
SCALE, _ = affine_map(MODEL.schedule, STILL.sampler, WEIGHTS.mean, WEIGHTS.std)


def run(method, updates, *weights):
    """From the start, all in one program: a state after so many updates, and metrics."""

    @jax.jit
    def train(key):
        state = method.init(key, TASK, *weights)
        return jax.lax.scan(lambda s, _: method.update(s, WEIGHTS), state, None, updates)

    return train(jax.random.key(0))


def test_best_of_n_keeps_the_best_of_all_it_drew_and_learns_no_distribution():
    method = BestOfN(STILL, BestOfNConfig(images=64, batch_size=16))
    state, metrics = run(method, 4)
    assert np.all(np.diff(metrics["best_reward"]) >= 0)
    assert metrics["best_reward"][-1] > metrics["reward"].max() + metrics["reward_std"].mean()
    again = STILL.play(state.best_key[None], state.best_noise[None], DiffusionParams(WEIGHTS, TASK))
    assert again[1][0] == pytest.approx(float(state.best_reward), rel=1e-5)
    np.testing.assert_array_equal(state.policy.mean, 0)
    np.testing.assert_array_equal(state.policy.std, 1)


@pytest.mark.parametrize("learn_std", [False, True])
def test_the_cross_entropy_method_moves_to_its_elite(learn_std):
    method = Cem(STILL, CemConfig(batch_size=16, learn_std=learn_std))
    start = method.init(jax.random.key(0), TASK)
    after, metrics = jax.jit(method.update)(start, WEIGHTS)
    _, noise_key, _ = jax.random.split(start.key, 3)
    z = np.asarray(method.sample(start, jax.random.split(noise_key, 16)))
    rewards = z @ (np.asarray(DIRECTION) * SCALE)
    elite = z[np.argsort(rewards)[-4:]]
    np.testing.assert_allclose(after.policy.mean, 0.3 * elite.mean(0), rtol=1e-4, atol=1e-5)
    std = 0.7 + 0.3 * elite.std(0) if learn_std else np.ones(DIM)
    np.testing.assert_allclose(after.policy.std, std, rtol=1e-4)
    assert metrics["reward"] == pytest.approx(rewards.mean(), abs=1e-4)


def test_reno_climbs_the_gradient_of_the_reward():
    # Of w . (scale z) - c (|z|^2 / 2 - (D - 1) log |z|) the best z is along w scale.
    config = RenoConfig(regularization=1.0, learning_rate=0.5, max_gradient_norm=1.0)
    method = Reno(STILL, config)
    state, metrics = run(method, 150)
    slope = np.asarray(DIRECTION) * SCALE
    length = np.linalg.norm(slope)
    radius = (length + np.sqrt(length**2 + 4 * (DIM - 1))) / 2
    np.testing.assert_allclose(state.policy.mean, radius * slope / length, rtol=0.02, atol=0.02)
    assert metrics["best_reward"][-1] >= metrics["reward"][-1] - 1e-5
    assert metrics["reward"][-1] > metrics["reward"][0]


def test_one_ddpo_step_is_the_policy_gradient_of_all_denoising_steps():
    # On its own batch the ratio is 1, so the gradient is that of -A log p, averaged.
    config = DdpoConfig(batch_size=8, groups=1, learning_rate=1e-2, weight_decay=0.0)
    method = Ddpo(NOISY, config)
    start = method.init(jax.random.key(0), TASK, WEIGHTS)
    after, metrics = jax.jit(method.update)(start, WEIGHTS)
    _, noise_key, sampler_key = jax.random.split(start.key, 3)
    keys = [ddpo_lib.per_environment_keys(key, 8, None) for key in (noise_key, sampler_key)]
    z = jax.vmap(lambda key: jax.random.normal(key, (DIM,)))(keys[0])
    path, _, rewards = jax.jit(NOISY.play)(keys[1], z, DiffusionParams(WEIGHTS, TASK))
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-6)

    def surrogate(weights):
        params = DiffusionParams(weights, TASK)
        log_probs = [
            NOISY.log_prob(jnp.full(8, i), path.x[i], path.x_prev[i], params)[0]
            for i in range(STEPS)
        ]
        return -jnp.mean(jnp.stack(log_probs) * advantages)

    gradient = jax.jit(jax.grad(surrogate))(WEIGHTS)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))
    updates, _ = optimizer.update(gradient, optimizer.init(WEIGHTS))
    for found, expected in zip(
        jax.tree.leaves(after.weights),
        jax.tree.leaves(optax.apply_updates(WEIGHTS, updates)),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert metrics["reward"] == pytest.approx(float(rewards.mean()), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "updates"),
    [
        (Ddpo(NOISY, DdpoConfig(batch_size=32, learning_rate=0.05)), 80),
        (Dpok(NOISY, DpokConfig(batch_size=32, learning_rate=0.05)), 25),
    ],
    ids=["ddpo", "dpok"],
)
def test_training_the_weights_raises_the_reward(method, updates):
    state, metrics = run(method, updates, WEIGHTS)
    assert metrics["reward"][-10:].mean() > metrics["reward"][:10].mean() + 0.5
    # The mean of the data that the denoiser believes in moves along the reward.
    assert np.asarray(state.weights.mean) @ np.asarray(DIRECTION) > 0.2


def test_dpok_remembers_the_last_transitions_and_stays_near_the_frozen_model():
    config = DpokConfig(
        batch_size=4, buffer=24, policy_steps=20, transitions=8, learning_rate=0.01, kl_weight=1e5
    )
    state, _ = run(Dpok(NOISY, config), 2, WEIGHTS)
    assert int(state.num_seen) == 32
    # The second batch begins in row 16 and overwrites the first eight rows.
    np.testing.assert_array_equal(state.buffer.index[16:24], np.repeat([0, 1], 4))
    np.testing.assert_array_equal(state.buffer.index[:8], np.repeat([2, 3], 4))
    np.testing.assert_array_equal(state.buffer.x[0:4], state.buffer.x_prev[20:24])
    np.testing.assert_array_equal(state.buffer.reward[0:4], state.buffer.reward[16:20])
    # Forty steps of Adam would reach 0.4; the penalty brings every one of them back.
    assert np.abs(state.weights.mean).max() < 0.1


def test_a_buffer_smaller_than_a_batch_is_refused():
    method = Dpok(NOISY, DpokConfig(batch_size=4, buffer=15))
    with pytest.raises(ValueError, match="field buffer = 15: must hold a batch's 16 transitions"):
        method.init(jax.random.key(0), TASK, WEIGHTS)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BestOfNConfig(images=8), "field images = 8: must be a multiple of batch_size, 16"),
        (CemConfig(elite_share=0.01), "field elite_share = 0.01: leaves no image of a batch of 16"),
        (RenoConfig(batch_size=2), "field batch_size = 2: must be 1"),
        (DdpoConfig(groups=3), "field groups = 3: must divide batch_size, 16"),
        (DdpoConfig(images=24), "field images = 24: must be a multiple of batch_size, 16"),
        (DpokConfig(images=15), "field images = 15: must be a multiple of batch_size, 10"),
    ],
)
def test_impossible_configs_are_refused(config, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        config_lib.validate(config)
