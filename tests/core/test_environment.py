"""The environment contract, checked on every environment of ours, and the auto-reset wrapper.

A new environment becomes part of the conformance test by an entry in ``CASES``.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import chex
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import spaces
from ai_econ_jax.environment import AutoReset, timestep
from ai_econ_jax.envs.brax_adapter import make_brax
from ai_econ_jax.envs.gymnax_adapter import GymnaxEnvironment
from ai_econ_jax.envs.one_step_economy import make_params
from ai_econ_jax.envs.one_step_economy.environment import OneStepEconomy, one_step_params

SPACES = (spaces.Discrete, spaces.MultiDiscrete, spaces.Box)


@dataclasses.dataclass(frozen=True)
class Case:
    """An environment, two of its parameter sets, and what holds for it."""

    make: Callable[[], tuple[Any, Any, Any]]  # environment, params, other params
    num_steps: int  # enough to see an episode end
    random: bool  # whether the key matters
    masks: Callable[[Any], list[tuple[Any, tuple[int, ...]]]] = lambda observation: []
    # masks of an observation, each with the sizes of the heads that its last axis is cut into


def one_step():
    economy = make_params([1.0, 1.5, 2.0], labor_cost=0.02, max_hours=20)
    richer = make_params([1.0, 2.5, 4.0], labor_cost=0.01, max_hours=20)
    other = one_step_params(richer, "rawlsian", rate_cap=0.5)
    return OneStepEconomy(rate_step=0.25), one_step_params(economy), other


def cartpole():
    environment, params = gymnax.make("CartPole-v1")
    return GymnaxEnvironment(environment), params, params.replace(gravity=30.0)


def pendulum():
    return make_brax("inverted_pendulum", episode_length=3), (), ()


def resetting(make):
    environment, *params = make()
    return AutoReset(environment), *params


def one_step_masks(observation):
    return [(observation.workers.action_mask, (21,)), (observation.planner.action_mask, (6,) * 7)]


CASES = {
    "one_step": Case(one_step, 2, random=False, masks=one_step_masks),
    "one_step_auto_reset": Case(lambda: resetting(one_step), 5, random=False, masks=one_step_masks),
    "cartpole_auto_reset": Case(lambda: resetting(cartpole), 40, random=True),
    "brax_auto_reset": Case(lambda: resetting(pendulum), 5, random=True),
}
SLOW = {"brax_auto_reset"}  # to compile


def is_space(x):
    return isinstance(x, SPACES)


def sample(space, key):
    leaves, structure = jax.tree.flatten(space, is_leaf=is_space)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten([s.sample(k) for s, k in zip(leaves, keys, strict=True)])


def contains(space, x):
    """``bool[]``; also checks structure and, while tracing, shapes."""
    leaves, structure = jax.tree.flatten(space, is_leaf=is_space)
    parts = structure.flatten_up_to(x)
    for s, part in zip(leaves, parts, strict=True):
        assert jnp.shape(part) == tuple(s.shape), (s, jnp.shape(part))
    return jnp.all(jnp.stack([s.contains(p) for s, p in zip(leaves, parts, strict=True)]))


def shapes_and_dtypes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), jax.eval_shape(lambda: tree))


class Compiled:
    """Reset, and a step by a random action that also checks the observation; counts traces."""

    def __init__(self, case):
        self.case = case
        self.environment, self.params, self.other_params = case.make()
        self.reset = jax.jit(self.traced_reset)
        self.step = jax.jit(self.traced_step)
        self.step_batch = jax.jit(jax.vmap(self.random_step, (0, 0, 0)))
        self.num_reset_traces = self.num_step_traces = 0

    def traced_reset(self, key, params):
        self.num_reset_traces += 1
        state, first = self.environment.reset(key, params)
        inside = contains(self.environment.observation_space(params), first.observation)
        return (state, first), inside

    def traced_step(self, key, state, params):
        self.num_step_traces += 1
        return self.random_step(key, state, params)

    def random_step(self, key, state, params):
        action_key, step_key = jax.random.split(key)
        action = sample(self.environment.action_space(params), action_key)
        state, after = self.environment.step(step_key, state, action, params)
        space = self.environment.observation_space(params)
        inside = contains(space, after.observation) & contains(space, after.final_observation)
        return (state, after), inside


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CASES],
)
def compiled(request):
    return Compiled(CASES[request.param])


@pytest.fixture(scope="module")
def episode(compiled):
    """States and timesteps from the reset on, and whether every observation was in its space."""
    (state, first), inside = compiled.reset(jax.random.key(0), compiled.params)
    seen, all_inside = [(state, first)], [inside]
    for key in jax.random.split(jax.random.key(1), compiled.case.num_steps):
        (state, after), inside = compiled.step(key, seen[-1][0], compiled.params)
        seen.append((state, after))
        all_inside.append(inside)
    return seen, all_inside


def test_shapes_and_dtypes_are_fixed_from_reset_to_the_end(episode):
    seen, _ = episode
    assert all(shapes_and_dtypes(pair) == shapes_and_dtypes(seen[0]) for pair in seen)


def test_flags_are_booleans_and_rewards_are_floats(episode):
    for _, step in episode[0]:
        for flag in (step.terminated, step.truncated):
            assert flag.shape == () and flag.dtype == bool
        assert all(reward.dtype == jnp.float32 for reward in jax.tree.leaves(step.reward))
        assert not (step.terminated & step.truncated)


def test_reset_starts_an_episode_with_no_reward(episode):
    _, first = episode[0][0]
    assert not first.done
    assert all((reward == 0).all() for reward in jax.tree.leaves(first.reward))
    chex.assert_trees_all_equal(first.observation, first.final_observation)


def test_observations_stay_within_the_observation_space(episode):
    _, all_inside = episode
    assert all(all_inside)


def test_masks_are_boolean_and_leave_every_head_an_action(compiled, episode):
    for _, step in episode[0]:
        for mask, heads in compiled.case.masks(step.observation):
            assert mask.dtype == bool
            assert mask.shape[-1] == sum(heads)
            for head in np.split(np.asarray(mask), np.cumsum(heads)[:-1], axis=-1):
                assert head.any(-1).all()


def test_reset_and_step_compile_once(compiled, episode):
    assert episode is not None
    compiled.reset(jax.random.key(9), compiled.other_params)
    assert compiled.num_reset_traces == 1
    assert compiled.num_step_traces <= 1


def test_a_batch_over_params_equals_single_environments(compiled):
    """vmap over keys, states and parameters at once."""
    both = (compiled.params, compiled.other_params)
    keys = jax.random.split(jax.random.key(2), (2, 2))
    singles = []
    for key, params in zip(keys, both, strict=True):
        (state, _), _ = compiled.reset(key[0], params)
        singles.append((state, compiled.step(key[1], state, params)))
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[state for state, _ in singles])
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *both)
    got = compiled.step_batch(keys[:, 1], states, params)
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[after for _, after in singles])
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-6)
    one, other = (jax.tree.map(lambda leaf, i=i: leaf[i], got) for i in range(2))
    assert not same(one, other)  # parameters, or the key where there are none, did something


def test_the_key_matters_exactly_where_something_is_random(compiled):
    (one, _), (other, _) = (compiled.reset(jax.random.key(i), compiled.params) for i in (3, 4))
    (again, _) = compiled.reset(jax.random.key(3), compiled.params)
    chex.assert_trees_all_equal(one, again)
    assert same(one, other) == (not compiled.case.random)


def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


# The auto-reset wrapper, on an environment whose numbers tell everything.


@dataclasses.dataclass(frozen=True)
class Countdown:
    """The state starts at a random number above 100 and counts up; ends after three steps."""

    truncates: bool

    def reset(self, key, params):
        state = {"x": 100 + jax.random.uniform(key), "time": jnp.zeros((), jnp.int32)}
        return state, timestep(state["x"], jnp.zeros(()))

    def step(self, key, state, action, params):
        state = {"x": state["x"] + action + jax.random.uniform(key), "time": state["time"] + 1}
        ended = state["time"] == 3
        return state, timestep(
            state["x"], action, ended & (not self.truncates), ended & self.truncates, info=key
        )


@pytest.mark.parametrize("truncates", [False, True])
def test_auto_reset_shows_the_last_observation_and_starts_the_next_episode(truncates):
    inner = Countdown(truncates)
    environment = AutoReset(inner)
    state, _ = environment.reset(jax.random.key(0), None)
    step = jax.jit(environment.step)
    for i, key in enumerate(jax.random.split(jax.random.key(1), 7), start=1):
        step_key, reset_key = jax.random.split(key)
        expected_state, expected = inner.step(step_key, state, 10.0, None)
        state, after = step(key, state, 10.0, None)
        ends = i % 3 == 0
        assert after.done == ends
        assert after.truncated == (ends and truncates)
        assert after.terminated == (ends and not truncates)
        # What the step led to, its reward and its info are those of the episode that ended.
        np.testing.assert_allclose(after.final_observation, expected.observation, rtol=1e-6)
        assert after.reward == 10.0
        assert (after.info == expected.info).all()
        if ends:
            expected_state, first = inner.reset(reset_key, None)
            assert after.observation == first.observation
            assert after.observation < 101 < after.final_observation
        else:
            assert after.observation == after.final_observation
        chex.assert_trees_all_close(state, expected_state, rtol=1e-6)


def test_auto_reset_has_the_spaces_of_what_it_wraps():
    environment, params, _ = one_step()
    wrapped = AutoReset(environment)
    assert wrapped.action_space(params) == environment.action_space(params)
    assert wrapped.observation_space(params) == environment.observation_space(params)


def test_environments_are_hashable_and_equal_by_value():
    assert hash(OneStepEconomy(0.1)) == hash(OneStepEconomy(0.1))
    assert AutoReset(OneStepEconomy(0.1)) == AutoReset(OneStepEconomy(0.1))
    assert AutoReset(OneStepEconomy(0.1)) != AutoReset(OneStepEconomy(0.2))
