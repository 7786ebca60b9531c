import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.find import history as history_lib
from ai_econ_jax.agents.find import noise_policy
from ai_econ_jax.agents.find.config import FIND_PRESETS, FindConfig
from ai_econ_jax.agents.find.find import (
    Find,
    Hyperparameters,
    hyperparameters_of,
    policy_loss,
    structure_of,
)
from ai_econ_jax.agents.find.noise_policy import NoisePolicy, PixelBasis
from ai_econ_jax.envs.diffusion.gauss import (
    GaussModel,
    GaussWeights,
    affine_map,
    linear_optimum,
)
from ai_econ_jax.envs.diffusion.noise_mdp import NoiseEnvironment, Task
from ai_econ_jax.envs.diffusion.rewards import linear_reward
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig

DIM = 6
SAMPLER = SamplerConfig(num_steps=5)
WEIGHTS = GaussWeights(jnp.linspace(-1, 1, DIM), jnp.linspace(0.5, 1.5, DIM))
DIRECTION = jnp.linspace(1, -2, DIM)
ENVIRONMENT = NoiseEnvironment(GaussModel(DIM), SAMPLER, linear_reward)
TASK = Task(jnp.zeros(0), DIRECTION)


def learner(config):
    return Find(ENVIRONMENT, structure_of(config_lib.validate(config)))


def begin(config, seed=0):
    return learner(config).init(jax.random.key(seed), TASK, hyperparameters_of(config))


@functools.partial(jax.jit, static_argnums=(0, 2))
def run(find, state, updates):
    return jax.lax.scan(lambda s, _: find.update(s, WEIGHTS), state, None, updates)


def only(weight, **others):
    """Hyper-parameters of a loss with these weights."""
    config = FindConfig(reward_weight=weight, **others)
    return hyperparameters_of(config), config


def test_the_gradient_is_the_reward_s():
    # Bar 1: D = 8, 2^20 draws, linear reward a.z: a / D for the mean, 0 for std.
    a = jnp.arange(1.0, 9.0) / 4
    policy = noise_policy.standard(PixelBasis((8,)))
    z = jax.random.normal(jax.random.key(0), (2**20, 8))
    hyperparameters, config = only(1.0, kl_weight=0.0)
    reference = noise_policy.log_prob(policy, z, "mean")
    gradient = jax.grad(policy_loss)(policy, z, reference, z @ a, hyperparameters, config)
    for found, expected, score in (
        (gradient.mean, a, z),
        (gradient.std, jnp.zeros(8), z**2 - 1),
    ):
        error = jnp.std((z @ a)[:, None] * score, axis=0) / 8 / 2**10
        assert np.all(np.abs(-found - expected / 8) < 3.5 * error)


def descend(config, hyperparameters, h, m):
    """Plain gradient descent on exact expectations, by Gauss-Hermite quadrature."""
    nodes, weight = np.polynomial.hermite_e.hermegauss(12)
    grid = jnp.asarray(np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2), jnp.float32)
    weights = jnp.asarray(np.outer(weight, weight).reshape(-1) / weight.sum() ** 2, jnp.float32)

    def one_step(policy, _):
        z = policy.mean + policy.std * grid
        rewards = -0.5 * h * jnp.square(z - m).sum(1)
        reference = noise_policy.log_prob(policy, z, config.logp_reduction)
        gradient = jax.grad(policy_loss)(
            policy, z, reference, rewards, hyperparameters, config, weights
        )
        return jax.tree.map(lambda p, g: p - 0.2 * g, policy, gradient), None

    start = noise_policy.standard(PixelBasis((2,)))
    return jax.jit(lambda: jax.lax.scan(one_step, start, None, 400)[0])()


@pytest.mark.parametrize("surrogate", ["ppo_min", "clamp_only"])
def test_fixed_points_are_the_closed_ones(surrogate):
    # Bar 2, with reward -(h / 2) |z - m|^2, weights lambda and kappa.
    h, m, weight, kappa = 0.8, jnp.array([1.0, -2.0]), 1.5, 0.6
    common = {"kl_weight": kappa, "surrogate": surrogate, "clip_range": 0.2}
    for reduction, kl, mean_share, std in (
        ("mean", "official", weight * h / (weight * h + 2 * kappa), None),
        ("sum", "gaussian", weight * h / (weight * h + kappa), None),
        ("mean", "gaussian", weight * h / (weight * h + kappa), None),
    ):
        if kl == "official":
            std = 2 * kappa / (weight * h + 2 * kappa)
        else:
            std = np.sqrt(kappa / (weight * h + kappa))
        hyperparameters, config = only(weight, logp_reduction=reduction, kl=kl, **common)
        policy = descend(config, hyperparameters, h, m)
        np.testing.assert_allclose(policy.mean, mean_share * m, atol=1e-3)
        np.testing.assert_allclose(policy.std, std, atol=1e-3)


def test_the_optimum_of_a_linear_reward_is_reached():
    # Bar 7. A baseline that only shifts rewards, so that lambda means what the objective says.
    config = FindConfig(
        batch_size=64,
        images=64,
        policy_steps=1,
        learning_rate=0.05,
        logp_reduction="sum",
        reward_weight=1.0,
        kl_weight=2.0,
        baseline="ema",
        clip_range=10.0,
    )
    scale, _ = affine_map(GaussModel(DIM).schedule, SAMPLER, WEIGHTS.mean, WEIGHTS.std)
    slope = np.asarray(DIRECTION) * scale
    best, best_gain = linear_optimum(slope, 1.0, 2.0)
    find = learner(config)
    states = jax.vmap(find.init, (0, None, None))(
        jax.random.split(jax.random.key(0), 3), TASK, hyperparameters_of(config)
    )
    states, _ = jax.jit(
        lambda s: jax.lax.scan(
            lambda s, _: jax.vmap(find.update, (0, None))(s, WEIGHTS), s, None, 150
        )
    )(states)
    for seed in range(3):
        policy = jax.tree.map(lambda leaf, seed=seed: leaf[seed], states.policy)
        gain = slope @ policy.mean - 2 * noise_policy.divergence(policy, "gaussian", "sum")
        assert gain >= 0.95 * best_gain, (policy, best)


def test_the_ratio_is_1_before_the_first_step_on_a_batch():
    # Bar 4: at ratio 1 and advantage A the loss is -A.
    config = FindConfig(policy_steps=3, baseline="ema")
    state, _ = run(learner(config), begin(config), 3)
    previous, metrics = run(learner(config), state, 1)
    row = (int(previous.history.num_seen) - 1) % config.history
    newest = jax.tree.map(lambda leaf: leaf[row], previous.history.rollouts)
    # The stored log-probability is of the policy that drew the noise, not of the one after.
    np.testing.assert_array_equal(newest.policy.mean, state.policy.mean)
    ratio = jnp.exp(noise_policy.log_prob(state.policy, newest.u, "mean") - newest.log_prob)
    np.testing.assert_allclose(ratio, 1, atol=1e-6)
    assert np.isfinite(metrics["reward"]).all()


def test_replayed_noise_gives_the_same_gradient_in_the_mean():
    # Bar 4: drawn from another policy, D = 4, sum reduction, no clip.
    a = jnp.array([1.0, -0.5, 0.3, 2.0])
    policy = NoisePolicy(0.1 * a, jnp.full(4, 0.95))
    old = noise_policy.standard(PixelBasis((4,)))
    hyperparameters, config = only(1.0, kl_weight=0.0, logp_reduction="sum", clip_range=1e6)
    z = jax.random.normal(jax.random.key(3), (20, 1000, 4))

    def gradient(noise, behaviour):
        reference = noise_policy.log_prob(behaviour, noise, "sum")
        return jax.grad(policy_loss)(
            policy, noise, reference, noise @ a, hyperparameters, config
        ).mean

    replayed = jax.jit(jax.vmap(lambda n: gradient(n, old)))(z)
    own = jax.vmap(lambda n: gradient(policy.mean + policy.std * n, policy))
    on_policy = jax.jit(own)(z[::-1])
    error = jnp.sqrt(jnp.var(replayed, 0) / 20 + jnp.var(on_policy, 0) / 20)
    assert np.all(np.abs(replayed.mean(0) - on_policy.mean(0)) < 3 * error)
    assert np.all(np.abs(replayed.mean(0) + a) < 4 * error)


def test_replay_draws_from_the_past_and_not_before_there_is_one():
    policy = noise_policy.standard(PixelBasis((2,)))
    history = history_lib.empty(3, 4, policy)
    for i in range(5):
        row = history_lib.Rollout(
            u=jnp.full((4, 2), float(i)),
            log_prob=jnp.zeros(4),
            reward=jnp.full(4, float(i)),
            advantage=jnp.zeros(4),
            policy=policy,
        )
        history = history_lib.push(history, row)
        drawn, alive = history_lib.draw_past(history, jax.random.key(i), 64)
        past = {0: set(), 1: {0}, 2: {0, 1}, 3: {1, 2}, 4: {2, 3}}[i]
        assert alive.all() == bool(past)
        if past:
            assert set(np.asarray(drawn.reward)[:, 0].astype(int).tolist()) == past
        oldest = history.rollouts.reward[history_lib.oldest(history), 0]
        assert int(oldest) == max(0, i - 2)


@pytest.mark.parametrize(
    ("baseline", "replay"), [("none", 0), ("batch", 2), ("ema", 0), ("learned", 2)]
)
def test_reward_rises_with_every_baseline(baseline, replay):
    config = FindConfig(batch_size=16, baseline=baseline, replay=replay, std_parameter="log")
    state, metrics = run(learner(config), begin(config), 40)
    assert metrics["reward"][-5:].mean() > metrics["reward"][:5].mean() + 1
    assert np.all(state.policy.std >= 1e-4)
    assert int(state.history.num_seen) == 40


def test_the_norm_stays_where_it_is_to_be_preserved():
    config = FindConfig(norm_preserve=True)
    _, metrics = run(learner(config), begin(config), 30)
    np.testing.assert_allclose(metrics["norm_ratio"], 1, atol=1e-3)


def test_equal_rewards_teach_nothing_and_are_counted():
    config = FindConfig(kl_weight=0.0)
    task = Task(jnp.zeros(0), jnp.zeros(DIM))
    state = learner(config).init(jax.random.key(0), task, hyperparameters_of(config))
    after, metrics = run(learner(config), state, 2)
    np.testing.assert_array_equal(after.policy.mean, 0)
    np.testing.assert_array_equal(metrics["equal_rewards"], 1)


def test_std_never_falls_below_its_floor():
    config = FindConfig(learning_rate=3.0, policy_steps=1, kl_weight=0.0)
    state, _ = run(learner(config), begin(config), 5)
    assert state.policy.std.min() == pytest.approx(1e-4)


def test_two_devices_learn_what_one_learns():
    # Bar 20, to 1e-5.
    config = FindConfig(replay=1)
    find = learner(config)
    one, _ = run(find, begin(config), 4)
    start = find.init(jax.random.key(0), TASK, hyperparameters_of(config), shards=2)

    @functools.partial(jax.pmap, axis_name="devices", in_axes=(0, None))
    def shared(_, state):
        update = functools.partial(find.update, axis_name="devices")
        return jax.lax.scan(lambda s, _: update(s, WEIGHTS), state, None, 4)

    two, metrics = shared(jnp.arange(2), start)
    for device in range(2):
        np.testing.assert_allclose(two.policy.mean[device], one.policy.mean, atol=1e-5)
        np.testing.assert_allclose(two.policy.std[device], one.policy.std, atol=1e-5)
    np.testing.assert_allclose(metrics["reward"][0], metrics["reward"][1])


def test_another_learning_rate_seed_or_prompt_compiles_nothing_new():
    # Bar 18.
    configs = [
        FindConfig(learning_rate=rate, images=images, policy_steps=1)
        for rate, images in ((0.1, 32), (0.2, 64))
    ]
    assert learner(configs[0]) == learner(configs[1])
    update = jax.jit(chex.assert_max_traces(learner(configs[0]).update, n=1))
    chex.clear_trace_counter()
    first, _ = update(begin(configs[0], seed=0), WEIGHTS)
    other = dataclasses.replace(begin(configs[1], seed=1), task=Task(jnp.zeros(0), -DIRECTION))
    second, _ = update(other, WEIGHTS)
    assert np.abs(second.policy.mean).max() == pytest.approx(0.2, rel=1e-3)
    assert np.abs(first.policy.mean).max() == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 8}, "field images = 8: must be a multiple of batch_size, 16, and not 0"),
        ({"batch_size": 1}, "field baseline = 'batch': compares the rewards of a batch"),
        ({"replay": 20}, r"field replay = 20: must be in \[0, 19\]"),
        ({"replay": 1, "ratio_reference": "initial"}, "field replay = 1: needs ratio_reference"),
        ({"stale_reward": True}, "field stale_reward = True: is the released code"),
        (
            {"surrogate": "reinforce"},
            "field surrogate = 'reinforce': must be one of ppo_min",
        ),
        ({"kl": "none"}, "field kl = 'none': must be one of gaussian, official"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        config_lib.validate(FindConfig(**changes))


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(ValueError, match=r"batch_size = 16: must be a multiple of .* devices, 3"):
        learner(FindConfig()).init(
            jax.random.key(0), TASK, hyperparameters_of(FindConfig()), shards=3
        )


def test_presets_are_valid_and_hyperparameters_are_fields_of_the_config():
    for preset in FIND_PRESETS.values():
        config_lib.validate(preset)
    fields = {field.name for field in dataclasses.fields(FindConfig)}
    assert {field.name for field in dataclasses.fields(Hyperparameters)} <= fields
