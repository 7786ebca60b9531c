import dataclasses

import chex
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import rollout as rollouts
from ai_econ_jax.environment import AutoReset, timestep
from ai_econ_jax.envs.gymnax_adapter import GymnaxEnvironment

NUM_STEPS, NUM_ENVIRONMENTS = 30, 4


def noisy_policy(keys, carry, observation, first):
    """Feed-forward: mostly leans one way, so that poles fall."""
    draw = jax.vmap(jax.random.uniform)(keys)
    action = (draw + observation[:, 2] > 0.3).astype(jnp.int32)
    return carry, action, {"draw": draw, "first": first}


def recurrent_policy(keys, carry, observation, first):
    """Remembers a fading sum of what it saw in the episode, and acts on it."""
    carry = jnp.where(first, 0.0, carry)
    carry = 0.5 * carry + observation[:, 2] + 1.0
    action = (carry + jax.vmap(jax.random.uniform)(keys) > 1.9).astype(jnp.int32)
    return carry, action, carry


@pytest.fixture(scope="module")
def cartpole():
    """CartPole with a time limit of 20: some episodes fall, some are truncated."""
    environment, params = gymnax.make("CartPole-v1")
    return AutoReset(GymnaxEnvironment(environment)), params.replace(max_steps_in_episode=20)


def once_traced(environment, policy, **options):
    @chex.assert_max_traces(n=1)
    def play(key, params, batch):
        return rollouts.rollout(key, policy, environment, params, batch, NUM_STEPS, **options)

    return play


def begin(cartpole, policy_carry=()):
    environment, params = cartpole
    return rollouts.init_batch(
        jax.random.key(7), environment, params, NUM_ENVIRONMENTS, policy_carry
    )


@pytest.fixture(scope="module")
def played(cartpole):
    """Two rollouts in a row by ``noisy_policy``: keys, batches before and after, trajectories."""
    environment, params = cartpole
    play = jax.jit(once_traced(environment, noisy_policy, keep_final_observation=True))
    keys = jax.random.split(jax.random.key(1))
    batches, trajectories = [jax.jit(lambda: begin(cartpole))()], []
    for key in keys:
        batch, trajectory = play(key, params, batches[-1])
        batches.append(batch)
        trajectories.append(jax.device_get(trajectory))
    return keys, batches, trajectories


def test_a_rollout_equals_a_plain_loop(cartpole, played):
    """One environment and one step at a time, with the same keys and Python's bookkeeping."""
    environment, params = cartpole
    keys, batches, trajectories = played
    step, reset = jax.jit(environment.step), jax.jit(environment.reset)
    policy = jax.jit(noisy_policy)
    ends = set()
    for b in range(NUM_ENVIRONMENTS):
        state, now = reset(jax.random.fold_in(jax.random.key(7), b), params)
        observation, first, total, length = now.observation, True, 0.0, 0
        for key, trajectory in zip(keys, trajectories, strict=True):
            step_keys = jax.random.split(jax.random.fold_in(key, b), (NUM_STEPS, 2))
            for t in range(NUM_STEPS):
                _, action, extras = policy(
                    step_keys[t, :1], (), observation[None], jnp.array([first])
                )
                np.testing.assert_allclose(
                    trajectory.observation[t, b], observation, rtol=1e-4, atol=1e-5
                )
                assert trajectory.first[t, b] == first
                assert trajectory.extras["first"][t, b] == first
                assert trajectory.extras["draw"][t, b] == extras["draw"][0]
                assert trajectory.action[t, b] == action[0]
                state, after = step(step_keys[t, 1], state, action[0], params)
                total, length = total + float(after.reward), length + 1
                assert trajectory.reward[t, b] == after.reward
                assert trajectory.terminated[t, b] == after.terminated
                assert trajectory.truncated[t, b] == after.truncated
                assert trajectory.episode_return[t, b] == total
                assert trajectory.episode_length[t, b] == length
                np.testing.assert_allclose(
                    trajectory.final_observation[t, b],
                    after.final_observation,
                    rtol=1e-4,
                    atol=1e-5,
                )
                observation, first = after.observation, bool(after.done)
                if first:
                    ends.add("terminated" if after.terminated else "truncated")
                    total, length = 0.0, 0
        final = batches[-1]
        np.testing.assert_allclose(final.observation[b], observation, rtol=1e-4, atol=1e-5)
        assert (final.first[b], final.episode_return[b]) == (first, total)
        assert final.episode_length[b] == length
    assert ends == {"terminated", "truncated"}


def test_a_batch_begins_with_first_observations_and_nothing_earned(cartpole):
    batch = begin(cartpole, policy_carry=jnp.ones(NUM_ENVIRONMENTS))
    assert batch.first.all() and batch.first.shape == (NUM_ENVIRONMENTS,)
    assert (batch.episode_return == 0).all() and (batch.episode_length == 0).all()
    assert (batch.policy_carry == 1).all()
    assert len(np.unique(batch.observation[:, 0])) == NUM_ENVIRONMENTS


def test_final_observation_differs_from_the_next_exactly_at_episode_ends(played):
    _, batches, (trajectory, _) = played
    following = np.concatenate([trajectory.observation[1:], batches[1].observation[None]])
    differs = (trajectory.final_observation != following).any(-1)
    np.testing.assert_array_equal(differs, trajectory.terminated | trajectory.truncated)
    assert differs.any()


def test_final_observations_are_left_out_unless_asked_for(cartpole):
    environment, params = cartpole
    play = once_traced(environment, noisy_policy)
    _, trajectory = jax.eval_shape(play, jax.random.key(0), params, begin(cartpole))
    assert trajectory.final_observation is None


def test_a_recurrent_carry_lives_within_an_episode_and_over_rollouts(cartpole):
    """The carry, from the trajectory's own observations, by a loop that knows only ``done``."""
    environment, params = cartpole
    play = jax.jit(once_traced(environment, recurrent_policy))
    # A carry that is not zero in the beginning: the first observation must clear it.
    batch = begin(cartpole, policy_carry=jnp.full(NUM_ENVIRONMENTS, 9.0, jnp.float32))
    carry, starts = np.zeros(NUM_ENVIRONMENTS), np.ones(NUM_ENVIRONMENTS, bool)
    for key in jax.random.split(jax.random.key(3)):
        batch, trajectory = play(key, params, batch)
        trajectory = jax.device_get(trajectory)
        for t in range(NUM_STEPS):
            for b in range(NUM_ENVIRONMENTS):
                carry[b] = 0.0 if starts[b] else carry[b]
                carry[b] = 0.5 * carry[b] + trajectory.observation[t, b, 2] + 1.0
            np.testing.assert_allclose(trajectory.extras[t], carry, rtol=1e-5)
            starts = trajectory.terminated[t] | trajectory.truncated[t]
        np.testing.assert_allclose(batch.policy_carry, carry, rtol=1e-5)
        assert not starts.all()  # some carry crosses the border between the rollouts


@dataclasses.dataclass(frozen=True)
class Dice:
    """Whole numbers only, so that no compiler rounds: a state of random bits, a reward of one die,
    an end with probability 1/4.
    """

    def reset(self, key, params):
        state = jax.random.bits(key)
        return state, timestep(state, jnp.zeros(()))

    def step(self, key, state, action, params):
        state = state * action + jax.random.bits(key)
        return state, timestep(state, (state % 6).astype(jnp.float32), (state >> 20) % 4 == 0)


def test_two_shards_of_a_batch_play_exactly_what_the_whole_plays():
    """Bit for bit, from the same key: a batch on two devices, stood for by a vmap with a name."""
    environment = AutoReset(Dice())

    def policy(keys, carry, observation, first):
        carry = jnp.where(first, 0, carry) + observation
        return carry, jax.vmap(jax.random.bits)(keys), carry

    def play(key, batch_size, axis_name):
        init_key, key = jax.random.split(key)
        carry = jnp.zeros(batch_size, jnp.uint32)
        batch = rollouts.init_batch(init_key, environment, None, batch_size, carry, axis_name)
        return rollouts.rollout(key, policy, environment, None, batch, 10, axis_name=axis_name)

    @jax.jit
    def run(key):
        shards = jax.vmap(lambda _: play(key, 3, "devices"), axis_name="devices")(jnp.arange(2))
        return play(key, 6, None), shards

    (batch, trajectory), (batch_shards, trajectory_shards) = run(jax.random.key(1))
    joined = jax.tree.map(lambda leaf: np.concatenate(list(leaf)), batch_shards)
    chex.assert_trees_all_equal(joined, batch)
    joined = jax.tree.map(lambda leaf: np.concatenate(list(leaf), axis=1), trajectory_shards)
    chex.assert_trees_all_equal(joined, trajectory)
    assert len(np.unique(trajectory.action)) == 60  # no noise is used twice


@dataclasses.dataclass(frozen=True)
class Team:
    """Two workers and a planner earn what they choose; an episode has two steps."""

    def reset(self, key, params):
        return jnp.zeros((), jnp.int32), timestep(jnp.zeros(()), self.reward(jnp.zeros(3)))

    def step(self, key, state, action, params):
        return state + 1, timestep(jnp.zeros(()), self.reward(action), state == 1)

    def reward(self, action):
        return {"workers": action[:2], "planner": action[2]}


def test_rewards_of_several_actors_are_summed_for_each():
    environment = AutoReset(Team())

    def policy(keys, carry, observation, first):
        return carry, jax.vmap(lambda key: jax.random.uniform(key, (3,)))(keys), ()

    batch = rollouts.init_batch(jax.random.key(0), environment, None, 4)
    assert batch.episode_return["workers"].shape == (4, 2)
    batch, trajectory = rollouts.rollout(jax.random.key(1), policy, environment, None, batch, 5)
    for role in ("workers", "planner"):
        reward = np.asarray(trajectory.reward[role])
        total = np.asarray(trajectory.episode_return[role])
        np.testing.assert_allclose(total[[0, 2, 4]], reward[[0, 2, 4]], rtol=1e-6)
        np.testing.assert_allclose(total[[1, 3]], reward[[0, 2]] + reward[[1, 3]], rtol=1e-6)
        assert (batch.episode_return[role] == total[4]).all()
