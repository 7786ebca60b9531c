import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.environment import AutoReset
from ai_econ_jax.envs.brax_adapter import make_brax

EPISODE_LENGTH = 3


@pytest.fixture(scope="module")
def episode():
    """States and time steps of a wrapped episode, and brax's own steps with the same actions."""
    wrapped = make_brax("inverted_pendulum", episode_length=EPISODE_LENGTH)
    key = jax.random.key(0)
    step = jax.jit(AutoReset(wrapped).step)
    bare_step = jax.jit(wrapped.environment.step)
    state, first = jax.jit(wrapped.reset)(key, ())
    bare = jax.jit(wrapped.environment.reset)(key)
    steps, bare_steps = [first], [bare]
    for _ in range(EPISODE_LENGTH):
        action = jnp.full((1,), 0.1)
        state, after = step(jax.random.key(1), state, action, ())
        bare = bare_step(bare, action)
        steps.append(after)
        bare_steps.append(bare)
    return wrapped, steps, bare_steps


def test_observations_and_rewards_are_those_of_brax(episode):
    wrapped, steps, bare_steps = episode
    for ours, theirs in zip(steps, bare_steps, strict=True):
        np.testing.assert_allclose(ours.final_observation, theirs.obs, atol=1e-6)
        assert ours.observation.shape == wrapped.observation_space(()).shape
    for ours, theirs in zip(steps[1:], bare_steps[1:], strict=True):
        np.testing.assert_allclose(ours.reward, theirs.reward, atol=1e-6)


def test_the_time_limit_truncates_and_does_not_terminate(episode):
    _, steps, _ = episode
    assert [bool(s.truncated) for s in steps] == [False] * EPISODE_LENGTH + [True]
    assert not any(bool(s.terminated) for s in steps)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="backend 'sprung' is unknown; valid: spring"):
        make_brax("inverted_pendulum", backend="sprung")
    with pytest.raises(ValueError, match="no environment 'inverted'"):
        make_brax("inverted")
