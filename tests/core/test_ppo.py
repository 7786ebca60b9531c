import dataclasses
import functools
import itertools

import chex
import distrax
import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import advantages, ppo
from ai_econ_jax.distributions import masked_categorical
from ai_econ_jax.environment import AutoReset, timestep
from ai_econ_jax.envs.gymnax_adapter import GymnaxEnvironment
from ai_econ_jax.networks import ActorCritic

TINY = ppo.BatchConfig(
    num_environments=4, num_steps=8, num_epochs=2, num_minibatches=2, shuffle_blocks=4
)
PLAIN = ppo.Hyperparameters(value_coefficient=0.0, entropy_coefficient=0.0)


# Minibatches.


def samples(num_steps, num_environments):
    """Sample ``(t, b)`` carries the number ``100 t + b``, in two leaves."""
    number = 100 * jnp.arange(num_steps)[:, None] + jnp.arange(num_environments)
    return {"x": number, "y": jnp.stack([number, -number], -1)}


@functools.partial(jax.jit, static_argnums=1)
def shuffled(key, config):
    return ppo.shuffle_into_minibatches(
        key, samples(config.num_steps, config.num_environments), config
    )


@pytest.mark.parametrize("num_minibatches", [1, 2, 6])
def test_minibatches_are_a_partition_with_an_equal_share_of_every_block(num_minibatches):
    config = ppo.BatchConfig(
        num_environments=8, num_steps=3, num_minibatches=num_minibatches, shuffle_blocks=4
    )
    minibatches = shuffled(jax.random.key(0), config)
    assert minibatches["x"].shape == (num_minibatches, 24 // num_minibatches)
    everything = samples(3, 8)["x"]
    np.testing.assert_array_equal(np.sort(minibatches["x"], axis=None), np.sort(everything, None))
    np.testing.assert_array_equal(minibatches["y"][..., 0], minibatches["x"])
    np.testing.assert_array_equal(minibatches["y"][..., 1], -minibatches["x"])
    block = np.asarray(minibatches["x"]) % 100 // 2  # two environments to a block
    for row in block:
        np.testing.assert_array_equal(np.bincount(row), [24 // 4 // num_minibatches] * 4)


def test_each_key_and_each_block_is_shuffled_differently():
    config = ppo.BatchConfig(num_environments=8, num_steps=6, num_minibatches=6, shuffle_blocks=4)
    first, again, other = (shuffled(jax.random.key(seed), config)["x"] for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()
    # Place within the block, block by block; the same order in all would be one shuffle.
    place = np.asarray(first) // 100 + 6 * (np.asarray(first) % 100 % 2)
    by_block = place.reshape(6, 4, 2).swapaxes(0, 1).reshape(4, 12)
    assert len({tuple(row) for row in by_block.tolist()}) == 4


@pytest.mark.parametrize("num_minibatches", [1, 3])
def test_one_and_two_devices_build_the_same_minibatches(num_minibatches):
    config = ppo.BatchConfig(
        num_environments=8, num_steps=3, num_minibatches=num_minibatches, shuffle_blocks=4
    )
    key = jax.random.key(0)
    whole = shuffled(key, config)["x"]
    shards = samples(3, 8)["x"].reshape(3, 2, 4).swapaxes(0, 1)
    on_a_device = functools.partial(
        ppo.shuffle_into_minibatches, config=config, axis_name="devices"
    )
    parts = jax.vmap(on_a_device, (None, 0), axis_name="devices")(key, shards)
    joined = jnp.concatenate(list(parts), axis=1)  # minibatch m of both devices
    np.testing.assert_array_equal(np.sort(joined), np.sort(whole))


def test_blocks_that_devices_cannot_share_are_refused():
    config = ppo.BatchConfig(num_environments=9, num_steps=4, num_minibatches=2, shuffle_blocks=3)
    on_a_device = functools.partial(
        ppo.shuffle_into_minibatches, config=config, axis_name="devices"
    )
    with pytest.raises(ValueError, match="shuffle_blocks = 3: must be a multiple of the 2 devices"):
        jax.vmap(on_a_device, (None, 0), axis_name="devices")(
            jax.random.key(0), jnp.zeros((2, 4, 4))
        )


# The loss.


def tabular(params, observation):
    """Logits and value looked up by an integer observation."""
    return distrax.Categorical(params["logits"][observation]), params["values"][observation]


@pytest.fixture(scope="module")
def random_batch():
    """Parameters of a tabular policy, 3 states by 4 actions, and a batch that is off-policy."""
    rng = np.random.default_rng(0)
    params = {"logits": rng.normal(size=(3, 4)), "values": rng.normal(size=3)}
    shape = (5, 8)
    batch = ppo.Batch(
        observation=rng.integers(3, size=shape),
        action=rng.integers(4, size=shape),
        log_prob=-1.4 + 0.5 * rng.normal(size=shape),
        value=rng.normal(size=shape),
        advantage=1.0 + 2.0 * rng.normal(size=shape),
        target=rng.normal(size=shape),
        mask=(rng.random(shape) > 0.3).astype(float),
    )

    def as_jax(x):
        return jnp.asarray(x, jnp.int32 if np.issubdtype(x.dtype, np.integer) else jnp.float32)

    return jax.tree.map(as_jax, (params, batch))


HYPERPARAMETERS = ppo.Hyperparameters(
    clip=0.15, value_coefficient=0.7, value_clip=0.4, entropy_coefficient=0.03
)


@pytest.mark.parametrize(("normalize", "masked"), [(False, False), (True, True)])
def test_policy_loss_equals_numpy(random_batch, normalize, masked):
    params, batch = random_batch
    if not masked:
        batch = batch.replace(mask=None)

    @jax.jit
    def loss(params, batch):
        return ppo.policy_loss(params, tabular, batch, HYPERPARAMETERS, normalize, None)

    total, metrics = loss(params, batch)
    params, data = jax.tree.map(lambda x: np.asarray(x, np.float64), (params, batch))
    state, action = np.asarray(batch.observation), np.asarray(batch.action)
    weight = np.ones(state.shape) if not masked else data.mask

    def mean(x):
        return np.sum(weight * x) / np.sum(weight)

    log_probs = params["logits"] - np.log(np.exp(params["logits"]).sum(-1, keepdims=True))
    ratio = np.exp(log_probs[state, action] - data.log_prob)
    advantage = data.advantage
    if normalize:
        deviation = advantage - mean(advantage)
        advantage = deviation / (np.sqrt(mean(deviation**2)) + 1e-8)
    policy = -np.minimum(ratio * advantage, np.clip(ratio, 0.85, 1.15) * advantage)
    value = params["values"][state]
    near = data.value + np.clip(value - data.value, -0.4, 0.4)
    critic = np.maximum((value - data.target) ** 2, (near - data.target) ** 2)
    entropy = -(np.exp(log_probs) * log_probs).sum(-1)[state]
    expected = {
        "policy_loss": mean(policy),
        "value_loss": mean(critic),
        "entropy": mean(entropy),
        "approximate_kl": mean(ratio - 1 - np.log(ratio)),
        "clip_fraction": mean(np.abs(ratio - 1) > 0.15),
    }
    chex.assert_trees_all_close(metrics, expected, rtol=1e-4)
    combined = mean(policy) + 0.7 * 0.5 * mean(critic) - 0.03 * mean(entropy)
    np.testing.assert_allclose(total, combined, rtol=1e-4)
    assert 0 < expected["clip_fraction"] < 1 and (critic != (value - data.target) ** 2).any()


def test_masked_out_samples_reach_no_gradient(random_batch):
    """Whatever they hold, and however many they are; -1e7 is what a forbidden action may show."""
    params, batch = random_batch
    ignored = batch.mask == 0
    poisoned = batch.replace(
        log_prob=jnp.where(ignored, -1e7, batch.log_prob),
        advantage=jnp.where(ignored, 1e6, batch.advantage),
        target=jnp.where(ignored, -1e6, batch.target),
        action=jnp.where(ignored, 0, batch.action),
    )
    kept = jax.tree.map(lambda leaf: np.asarray(leaf)[~ignored], batch)

    @jax.jit
    def gradient(params, batch):
        loss_gradient = jax.grad(ppo.policy_loss, has_aux=True)
        return loss_gradient(params, tabular, batch, HYPERPARAMETERS, True, None)

    chex.assert_trees_all_close(
        gradient(params, poisoned), gradient(params, kept), rtol=1e-4, atol=1e-6
    )


def test_a_batch_with_every_sample_masked_out_changes_nothing(random_batch):
    params, batch = random_batch
    batch = batch.replace(mask=jnp.zeros_like(batch.mask))
    config = dataclasses.replace(TINY, num_steps=5, num_environments=8)
    optimizer = ppo.make_optimizer(HYPERPARAMETERS, config, 10)
    state = ppo.PolicyState(params=params, optimizer_state=optimizer.init(params))
    update = jax.jit(
        lambda key, state: ppo.update_policy(
            key, state, batch, tabular, optimizer, HYPERPARAMETERS, config
        )
    )
    after, _ = update(jax.random.key(0), state)
    chex.assert_trees_all_equal(after.params, params)


# Ground truth.


def test_expected_gradient_is_the_exact_policy_gradient():
    """All trajectories of a small problem, each weighed by its probability.

    Two states, two actions, three steps, random transitions; an observation is state and time. The
    derivative of the expected return comes from dynamic programming, without any score function.
    Advantages are GAE's with lambda 1 and exact values.
    """
    horizon, states, actions = 3, 2, 2
    rng = np.random.default_rng(1)
    transition = rng.dirichlet(np.ones(states), size=(states, actions))  # [S, A, S']
    reward = rng.normal(size=(states, actions))
    logits = jnp.asarray(rng.normal(size=(horizon, states, actions)), jnp.float32)

    def state_values(logits):  # [H + 1, S]
        values = [jnp.zeros(states)]
        for t in reversed(range(horizon)):
            quality = reward + transition @ values[0]
            values.insert(0, jnp.sum(jax.nn.softmax(logits[t]) * quality, -1))
        return jnp.stack(values)

    # Episodes begin in state 0.
    exact = jax.jit(jax.grad(lambda logits: state_values(logits)[0, 0]))(logits)

    values = np.asarray(jax.jit(state_values)(logits))
    policy = np.asarray(jax.nn.softmax(logits), np.float64)
    columns = {name: [] for name in ("s", "a", "r", "v", "next_v", "p")}
    for path in itertools.product(range(actions), range(states), repeat=horizon):
        chosen, followed = path[0::2], path[1::2]
        visited = (0, *followed)
        p = np.prod(
            [
                policy[t, visited[t], chosen[t]] * transition[visited[t], chosen[t], followed[t]]
                for t in range(horizon)
            ]
        )
        columns["s"].append(visited[:horizon])
        columns["a"].append(chosen)
        columns["r"].append([reward[visited[t], chosen[t]] for t in range(horizon)])
        columns["v"].append([values[t, visited[t]] for t in range(horizon)])
        columns["next_v"].append([values[t + 1, followed[t]] for t in range(horizon)])
        columns["p"].append([p] * horizon)
    data = {name: jnp.asarray(np.array(rows).T) for name, rows in columns.items()}  # [H, paths]
    np.testing.assert_allclose(data["p"][0].sum(), 1.0, rtol=1e-6)
    time = jnp.broadcast_to(jnp.arange(horizon)[:, None], data["s"].shape)
    ends = time == horizon - 1
    advantage, target = advantages.generalized_advantage_estimation(
        data["r"], data["v"], data["next_v"], ends, jnp.zeros_like(ends), 1.0, 1.0
    )

    def apply(logits, observation):
        time, state = observation
        return distrax.Categorical(logits[time, state]), jnp.zeros(state.shape)

    batch = ppo.Batch(
        observation=(time, data["s"]),
        action=data["a"],
        log_prob=apply(logits, (time, data["s"]))[0].log_prob(data["a"]),
        value=data["v"],
        advantage=advantage,
        target=target,
        mask=data["p"],
    )
    loss_gradient = jax.grad(ppo.policy_loss, has_aux=True)
    gradient, _ = jax.jit(lambda x: loss_gradient(x, apply, batch, PLAIN, False, None))(logits)
    # The loss is a mean over steps and is minimised.
    np.testing.assert_allclose(-horizon * gradient, exact, atol=1e-5)
    assert np.abs(exact).max() > 0.01


# The learner.


@dataclasses.dataclass(frozen=True)
class OneStep:
    """Observation 0, then 1; reward 0.5; the episode ends after one step, one way or the other."""

    truncates: bool

    def reset(self, key, params):
        return jnp.zeros(()), timestep(jnp.zeros(1), jnp.zeros(()))

    def step(self, key, state, action, params):
        return state, timestep(jnp.ones(1), jnp.float32(0.5), not self.truncates, self.truncates)


class LinearCritic(nn.Module):
    """Value 2 x + 3 for observation x; logits that nothing reaches."""

    def setup(self):
        self.slope = self.param("slope", nn.initializers.constant(2.0), ())

    def __call__(self, observation):
        return self.logits(observation), self.value(observation)

    def logits(self, observation):
        return jnp.zeros((*observation.shape[:-1], 2))

    def value(self, observation):
        return self.slope * observation[..., 0] + 3.0


def by_logits(logits, observation):
    del observation
    return distrax.Categorical(logits)


@pytest.mark.parametrize("truncates", [True, False])
def test_value_targets_bootstrap_through_truncation_only(truncates):
    """The final observation has value 5, the one after the reset 3, which is also the estimate."""
    config = ppo.BatchConfig(
        num_environments=2, num_steps=3, num_epochs=1, num_minibatches=1, shuffle_blocks=1
    )
    environment = AutoReset(OneStep(truncates))
    learner = ppo.make_ppo(environment, LinearCritic(), by_logits, config, 10)
    hyperparameters = ppo.Hyperparameters(gamma=0.9)
    state = learner.init(jax.random.key(0), hyperparameters, None)
    _, metrics = jax.jit(learner.update)(state)
    target = 0.5 + 0.9 * 5.0 * truncates
    np.testing.assert_allclose(metrics["value_loss"], (target - 3.0) ** 2, rtol=1e-5)
    assert metrics["episodes"] == 6
    np.testing.assert_allclose(metrics["episode_return"], 0.5)
    np.testing.assert_allclose(metrics["episode_length"], 1.0)


@dataclasses.dataclass(frozen=True)
class Temptation:
    """Three of six actions are allowed, others at each step; a forbidden one would pay 100.

    The state counts how often forbidden actions were taken.
    """

    def observe(self, key):
        mask = jax.random.permutation(key, jnp.arange(6) < 3)
        return {"x": mask.astype(jnp.float32), "mask": mask}

    def reset(self, key, params):
        observation = self.observe(key)
        return {"mask": observation["mask"], "forbidden": 0}, timestep(observation, jnp.zeros(()))

    def step(self, key, state, action, params):
        allowed = state["mask"][action]
        observation = self.observe(key)
        state = {"mask": observation["mask"], "forbidden": state["forbidden"] + ~allowed}
        return state, timestep(observation, jnp.where(allowed, action / 6.0, 100.0))


class MaskedNetwork(nn.Module):
    def setup(self):
        self.inner = ActorCritic(num_logits=6, hidden=(16,))

    def __call__(self, observation):
        return self.inner(observation["x"])

    def logits(self, observation):
        return self.inner.logits(observation["x"])

    def value(self, observation):
        return self.inner.value(observation["x"])


def by_mask(logits, observation):
    return masked_categorical(logits, observation["mask"])


def test_masked_actions_are_never_taken_and_have_probability_exactly_zero():
    """Over 40 updates and 2,560 steps, also when the logits have been driven apart."""
    config = dataclasses.replace(TINY, num_environments=8, shuffle_blocks=2)
    network = MaskedNetwork()
    learner = ppo.make_ppo(Temptation(), network, by_mask, config, 40)
    hyperparameters = ppo.Hyperparameters(learning_rate=0.02, entropy_coefficient=0.1)
    state = jax.jit(learner.init)(jax.random.key(0), hyperparameters, None)
    run = jax.jit(lambda s: jax.lax.scan(lambda s, _: learner.update(s), s, length=40))
    state, metrics = run(state)
    assert (state.environments.state["forbidden"] == 0).all()
    assert state.environments.state["forbidden"].shape == (8,)
    observation = state.environments.observation
    logits, _ = network.apply(state.policy.params, observation)
    probs = by_mask(logits, observation).probs
    assert (probs[~observation["mask"]] == 0.0).all()
    np.testing.assert_allclose(probs.sum(-1), 1.0, rtol=1e-5)
    assert (metrics["entropy"] <= np.log(3) + 1e-5).all()
    assert metrics["entropy"][-1] < 0.8 < metrics["entropy"][0]  # it learned something
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((metrics, state.policy)))


# CartPole.


def cartpole_learner(config, num_updates):
    """Learner, and environment parameters."""
    environment, params = gymnax.make("CartPole-v1")
    return (
        ppo.make_ppo(
            AutoReset(GymnaxEnvironment(environment)),
            ActorCritic(num_logits=2, hidden=(64, 64)),
            by_logits,
            config,
            num_updates,
        ),
        params,
    )


def final_returns(num_steps, num_seeds):
    """Mean return of the episodes that ended in the last tenth of training, for each seed."""
    config = ppo.BatchConfig()
    num_updates = num_steps // (config.num_steps * config.num_environments)
    learner, params = cartpole_learner(config, num_updates)

    @jax.jit
    @jax.vmap
    def train(key):
        state = learner.init(key, ppo.Hyperparameters(), params)
        _, metrics = jax.lax.scan(lambda s, _: learner.update(s), state, length=num_updates)
        return metrics

    metrics = train(jax.random.split(jax.random.key(0), num_seeds))
    last = {name: values[:, -num_updates // 10 :] for name, values in metrics.items()}
    return (last["episode_return"] * last["episodes"]).sum(1) / last["episodes"].sum(1)


def test_cartpole_is_learned_in_a_short_run():
    returns = final_returns(num_steps=60_000, num_seeds=2)
    assert returns.min() > 120, returns  # a random policy gets 22


@pytest.mark.slow
def test_cartpole_is_solved():
    returns = final_returns(num_steps=500_000, num_seeds=8)
    assert np.median(returns) >= 475, returns


@dataclasses.dataclass(frozen=True)
class Drift:
    """A point is pushed left or right and pays for its distance; cheap to compile."""

    def reset(self, key, params):
        x = jax.random.normal(key, (2,))
        return x, timestep(x, jnp.zeros(()))

    def step(self, key, state, action, params):
        state = 0.9 * state + params * (action - 0.5)
        return state, timestep(state, -jnp.sum(state**2))


@pytest.fixture(scope="module")
def sweep():
    """Updates under two learning rates at once, one more than the schedule has; traced once."""
    network = ActorCritic(num_logits=2, hidden=(4,))
    learner = ppo.make_ppo(Drift(), network, by_logits, TINY, num_updates=3)
    rates = jnp.array([1e-3, 1e-2])

    def init(key, rate):
        return learner.init(key, ppo.Hyperparameters(learning_rate=rate), jnp.float32(0.3))

    states = jax.jit(jax.vmap(init, (None, 0)))(jax.random.key(0), rates)
    update = jax.jit(jax.vmap(chex.assert_max_traces(learner.update, n=1)))
    history = [states]
    for _ in range(4):
        history.append(update(history[-1])[0])
    return learner, history


def params_of(state, lane):
    return jax.tree.map(lambda leaf: leaf[lane], state.policy.params)


def test_vmapped_learning_rates_equal_solo_runs(sweep):
    learner, history = sweep
    update = jax.jit(chex.assert_max_traces(learner.update, n=1))
    for lane in range(2):
        state = jax.tree.map(lambda leaf, lane=lane: leaf[lane], history[0])
        for _ in range(3):
            state, _ = update(state)
        chex.assert_trees_all_close(
            state.policy.params, params_of(history[3], lane), atol=1e-5, rtol=1e-5
        )
    difference = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), params_of(history[3], 0), params_of(history[3], 1)
    )
    assert max(jax.tree.leaves(difference)) > 1e-3


def test_the_learning_rate_ends_at_zero(sweep):
    """After ``num_updates`` updates, one more changes nothing, up to rounding of the schedule."""
    _, history = sweep
    chex.assert_trees_all_close(
        history[4].policy.params, history[3].policy.params, rtol=0, atol=1e-8
    )
    changed = jax.tree.map(
        lambda a, b: np.abs(a - b).max() > 1e-6, history[3].policy.params, history[2].policy.params
    )
    assert all(jax.tree.leaves(changed))


def test_the_state_counts_updates_and_draws_a_new_key_for_each(sweep):
    _, history = sweep
    assert [state.num_updates.tolist() for state in history] == [[i] * 2 for i in range(5)]
    keys = np.stack([jax.random.key_data(state.key)[0] for state in history])
    assert len(np.unique(keys, axis=0)) == 5


# Episode metrics and validation.


def test_episode_metrics_are_means_over_the_episodes_that_ended():
    trajectory = ppo.Trajectory(
        observation=None,
        action=None,
        extras=None,
        reward=None,
        terminated=jnp.array([[True, False], [False, False], [False, True]]),
        truncated=jnp.array([[False, False], [True, False], [False, False]]),
        first=None,
        final_observation=None,
        episode_return=jnp.array([[10.0, 99.0], [4.0, 99.0], [99.0, 1.0]]),
        episode_length=jnp.array([[5, 77], [1, 77], [77, 3]]),
        info=None,
    )
    metrics = ppo.episode_metrics(trajectory)
    chex.assert_trees_all_close(
        metrics, {"episodes": 3.0, "episode_return": 5.0, "episode_length": 3.0}
    )
    shards = dataclasses.replace(
        trajectory,
        **{
            name: getattr(trajectory, name).T[:, :, None]
            for name in ("terminated", "truncated", "episode_return", "episode_length")
        },
    )
    sharded = jax.vmap(lambda t: ppo.episode_metrics(t, "devices"), axis_name="devices")(shards)
    chex.assert_trees_all_close(sharded, {name: jnp.stack([x, x]) for name, x in metrics.items()})


def test_no_finished_episode_gives_zeros():
    none = jnp.zeros((2, 2), bool)
    trajectory = ppo.Trajectory(
        None, None, None, None, none, none, None, None, jnp.ones((2, 2)), jnp.ones((2, 2)), None
    )
    assert all(value == 0 for value in ppo.episode_metrics(trajectory).values())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"num_environments": 6, "shuffle_blocks": 4},
            "num_environments = 6: must be a multiple of shuffle_blocks = 4",
        ),
        (
            {"num_environments": 4, "num_steps": 8, "shuffle_blocks": 4, "num_minibatches": 3},
            "num_minibatches = 3: must divide the 8 samples of a shuffle block",
        ),
    ],
)
def test_sizes_that_do_not_divide_are_refused(fields, message):
    config = ppo.BatchConfig(**fields)
    with pytest.raises(ValueError, match=message):
        ppo.validate_batch(config)
    with pytest.raises(ValueError, match=message):
        cartpole_learner(config, 1)


def test_unknown_schedule_is_refused():
    config = dataclasses.replace(TINY, schedule="sawtooth")
    with pytest.raises(ValueError, match="schedule = 'sawtooth'"):
        ppo.make_optimizer(ppo.Hyperparameters(), config, 10)
