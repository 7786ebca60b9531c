import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.environment import AutoReset
from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular import suite
from ai_econ_jax.envs.tabular.environment import TabularEnvironment
from ai_econ_jax.rollout import init_batch, rollout

ENVIRONMENT = TabularEnvironment()
NUM_EPISODES = 4096


def table_policy(policy):
    flat = policy.reshape(-1, policy.shape[-1])

    def act(keys, carry, observation, first):
        chances = jnp.log(flat[observation.argmax(-1)])
        return carry, jax.vmap(jax.random.categorical)(keys, chances), ()

    return act


def experience(mdp, policy, num_steps):
    environment = AutoReset(ENVIRONMENT)
    start_key, key = jax.random.split(jax.random.key(0))
    batch = init_batch(start_key, environment, mdp, NUM_EPISODES)
    return jax.jit(
        lambda batch: rollout(
            key,
            table_policy(policy),
            environment,
            mdp,
            batch,
            num_steps,
            keep_final_observation=True,
        )[1]
    )(batch)


@pytest.fixture(scope="module")
def cliff():
    problem = suite.cliff3()
    mdp = problem.mdp.replace(initial=jnp.asarray([0.5, 0.25, 0.25]))
    policy = jnp.full((5, 3, 3), 1 / 3)
    return mdp, policy, experience(mdp, policy, 10)


def test_episodes_last_h_steps_and_terminate(cliff):
    _, _, trajectory = cliff
    terminated = np.zeros((10, NUM_EPISODES), bool)
    terminated[[4, 9]] = True
    np.testing.assert_array_equal(trajectory.terminated, terminated)
    assert not trajectory.truncated.any()


def test_visits_follow_the_occupancy(cliff):
    mdp, policy, trajectory = cliff
    index = np.asarray(trajectory.observation).argmax(-1)[:5]
    assert (index // 3 == np.arange(5)[:, None]).all()
    visits = np.zeros((5, 3, 3))
    np.add.at(visits, (index // 3, index % 3, np.asarray(trajectory.action)[:5]), 1)
    expected = np.asarray(dp.occupancy(mdp, policy)) * NUM_EPISODES
    assert (np.abs(visits - expected) <= 5 * np.sqrt(expected)).all()


def test_rewards_are_those_of_state_and_action(cliff):
    mdp, _, trajectory = cliff
    index = np.asarray(trajectory.observation).argmax(-1)
    expected = np.asarray(mdp.reward)[index // 3, index % 3, np.asarray(trajectory.action)]
    np.testing.assert_array_equal(trajectory.reward, expected)
    returns = np.asarray(trajectory.episode_return)[4]
    value = float(dp.value(mdp, cliff[1]))
    assert abs(returns.mean() - value) < 5 * returns.std() / np.sqrt(NUM_EPISODES)


def test_observations_are_one_hot_and_zero_after_the_last_step(cliff):
    mdp, _, trajectory = cliff
    observation, final = (
        np.asarray(trajectory.observation),
        np.asarray(trajectory.final_observation),
    )
    assert (observation.sum(-1) == 1).all() and (observation.max(-1) == 1).all()
    np.testing.assert_array_equal(final[4], 0)
    np.testing.assert_array_equal(final[:4], observation[1:5])
    space = ENVIRONMENT.observation_space(mdp)
    assert space.shape == observation.shape[-1:]
    assert space.contains(observation[0, 0]) and space.contains(final[4, 0])


def test_shapes_stay_from_reset_to_the_end_and_one_program_serves_many_problems():
    problems = [suite.dirichlet(seed=seed).mdp for seed in range(3)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)
    keys = jax.random.split(jax.random.key(0), 3)
    state, first = jax.vmap(ENVIRONMENT.reset)(keys, batch)
    step = jax.jit(chex.assert_max_traces(lambda *inputs: jax.vmap(ENVIRONMENT.step)(*inputs), 1))
    for _ in range(3):
        actions = jnp.zeros(3, jnp.int32)
        following, after = step(keys, state, actions, batch)
        chex.assert_trees_all_equal_shapes_and_dtypes((state, first), (following, after))
        state = following
    assert after.terminated.all()
    assert ENVIRONMENT.action_space(problems[0]).n == 5
