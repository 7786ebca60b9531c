import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import spaces
from ai_econ_jax.environment import AutoReset
from ai_econ_jax.envs.gymnax_adapter import GymnaxEnvironment


@pytest.fixture(scope="module")
def cartpole():
    """Ours, gymnax's, gymnax's parameters with a time limit of 12, and our compiled step."""
    theirs, params = gymnax.make("CartPole-v1")
    ours = GymnaxEnvironment(theirs)
    return ours, theirs, params.replace(max_steps_in_episode=12), jax.jit(ours.step)


def play(cartpole, policy, num_steps):
    """Timesteps of an episode without auto-reset."""
    ours, _, params, step = cartpole
    state, first = ours.reset(jax.random.key(0), params)
    steps = [first]
    for _ in range(num_steps):
        action = policy(steps[-1].observation)
        state, after = step(jax.random.key(1), state, action, params)
        steps.append(after)
    return steps[1:]


def balance(observation):
    return jnp.where(observation[2] + observation[3] > 0, 1, 0)


def test_the_time_limit_truncates_and_does_not_terminate(cartpole):
    steps = play(cartpole, balance, 12)
    assert [bool(step.truncated) for step in steps] == [False] * 11 + [True]
    assert not any(step.terminated for step in steps)
    assert all(step.reward == 1 for step in steps)


def test_a_fallen_pole_terminates_and_does_not_truncate(cartpole):
    steps = play(cartpole, lambda observation: 1, 12)
    fell = [bool(step.terminated) for step in steps].index(True)
    assert fell < 11
    assert not any(step.truncated for step in steps[: fell + 1])
    # Beyond the limit the pole is still down: a termination goes before a truncation.
    assert steps[-1].terminated and not steps[-1].truncated


def test_behind_auto_reset_it_is_gymnaxs_own_auto_reset(cartpole):
    """gymnax splits the key in the same order, so the numbers are equal, resets included."""
    ours, theirs, params, _ = cartpole
    step = jax.jit(AutoReset(ours).step)
    key = jax.random.key(5)
    state, first = ours.reset(key, params)
    observation, their_state = theirs.reset(key, params)
    np.testing.assert_array_equal(first.observation, observation)
    ends = 0
    for i, key in enumerate(jax.random.split(jax.random.key(6), 40)):
        action = i % 3 > 0
        state, after = step(key, state, action, params)
        observation, their_state, reward, terminated, truncated, info = theirs.step(
            key, their_state, action, params
        )
        np.testing.assert_allclose(after.observation, observation, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            after.final_observation, info["final_observation"], rtol=1e-5, atol=1e-6
        )
        assert (after.reward, after.terminated) == (reward, terminated)
        assert after.truncated == (truncated and not terminated)
        ends += int(after.done)
    assert ends >= 3


def test_spaces_are_translated(cartpole):
    ours, theirs, params, _ = cartpole
    assert ours.action_space(params) == spaces.Discrete(2)
    observation = ours.observation_space(params)
    np.testing.assert_array_equal(observation.high, theirs.observation_space(params).high)
    assert observation.shape == (4,)


def test_continuous_actions_are_a_box():
    environment, params = gymnax.make("Pendulum-v1")
    space = GymnaxEnvironment(environment).action_space(params)
    assert isinstance(space, spaces.Box)
    assert (space.low, space.high, space.shape) == (-2.0, 2.0, (1,))
