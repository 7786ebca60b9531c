"""The true problem: exact gaps against dynamic programming, rollouts against the laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.stepmix import world as world_lib
from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular import suite

HORIZON, STATES, ACTIONS = 4, 5, 3


def random_world(seed=0, sparse=False):
    """A random problem in float64, a baseline, and its world."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(STATES), (HORIZON, STATES, ACTIONS))
    if sparse:
        transition = transition * (rng.random(transition.shape) < 0.5) + 1e-300
        transition[transition < 1e-200] = 0
        transition[..., 0] += transition.sum(-1) == 0
        transition /= transition.sum(-1, keepdims=True)
    reward = rng.random((HORIZON, STATES, ACTIONS))
    initial = rng.dirichlet(np.ones(STATES))
    baseline = rng.dirichlet(np.ones(ACTIONS), (HORIZON, STATES))
    baseline[..., 1] = 0
    baseline /= baseline.sum(-1, keepdims=True)
    arrays = transition, reward, initial, baseline
    return arrays, world_lib.make_world(*arrays)


def values(transition, reward, initial, policy):
    """V*, V(policy) in float64, by plain recursion."""
    best = own = np.zeros(STATES)
    for h in reversed(range(HORIZON)):
        best = (reward[h] + transition[h] @ best).max(-1)
        own = (policy[h] * (reward[h] + transition[h] @ own)).sum(-1)
    return initial @ best, initial @ own


def test_the_gap_is_the_difference_of_values_to_the_last_digit_of_float32():
    (transition, reward, initial, baseline), world = random_world()
    best, own = values(transition, reward, initial, baseline)
    assert world.optimal_value == pytest.approx(best, rel=1e-12)
    assert world.baseline_gap == pytest.approx(best - own, rel=1e-12)
    gap = world_lib.gap_of(world, jnp.asarray(initial, jnp.float32), world.baseline[..., None])
    assert float(gap[0]) == pytest.approx(best - own, rel=2e-6)


def test_the_gap_of_a_nearly_optimal_policy_keeps_its_digits():
    (transition, reward, initial, baseline), world = random_world()
    optimal = np.eye(ACTIONS)[np.asarray(world.disadvantage).argmin(-1)]
    policy = (1 - 1e-6) * optimal + 1e-6 * baseline
    best, own = values(transition, reward, initial, policy)
    policy = jnp.asarray(policy, jnp.float32)[..., None]
    gap = world_lib.gap_of(world, jnp.asarray(initial, jnp.float32), policy)
    assert float(gap[0]) == pytest.approx(best - own, rel=0.1)  # the policy itself is rounded
    assert 0 < float(gap[0]) < 1e-5


def test_the_world_of_a_suite_problem_agrees_with_dynamic_programming():
    problem = suite.load("cliff3")
    arrays = (problem.mdp.transition, problem.mdp.reward, problem.mdp.initial, problem.baseline)
    world = world_lib.make_world(*(np.asarray(x, np.float64) for x in arrays))
    assert world.optimal_value == pytest.approx(3.1254, abs=1e-6)
    baseline_value = float(dp.value(problem.mdp, problem.baseline))
    assert world.optimal_value - world.baseline_gap == pytest.approx(baseline_value, abs=1e-6)


def play(share=None, live=None, pooled=False, sparse=False, episodes=20_000, seeds=3):
    (_, _, initial, baseline), world = random_world(sparse=sparse)
    rng = np.random.default_rng(1)
    policy = rng.dirichlet(np.ones(ACTIONS), (HORIZON, STATES))
    policy[..., 2] = 0
    policy /= policy.sum(-1, keepdims=True)
    keys = jax.vmap(jax.random.key)(np.arange(seeds))
    noise = world_lib.draw(keys, 0, episodes, HORIZON)
    counts = jnp.zeros((1 if pooled else HORIZON, STATES, STATES, ACTIONS, seeds))
    live = jnp.ones(episodes, bool) if live is None else live
    share = None if share is None else jnp.full(seeds, share)
    lanes = jnp.broadcast_to(jnp.asarray(policy, jnp.float32)[..., None], (*policy.shape, seeds))
    counts, played = jax.jit(world_lib.roll_out)(world, lanes, share, noise, live, counts)
    return (initial, policy, baseline), world, np.asarray(counts), np.asarray(played)


def occupancy(initial, policy, transition):
    state, visited = initial, []
    for h in range(HORIZON):
        visited.append(state[:, None] * policy[h])
        state = np.einsum("sa,sax->x", visited[-1], transition[h])
    return np.array(visited)


def test_transitions_are_drawn_from_the_law_and_actions_from_the_policy():
    (initial, policy, _), world, counts, played = play()
    assert played.all()
    transition = np.asarray(world.transition, np.float64)
    joint = occupancy(initial, policy, transition)[..., None] * transition  # [H, S, A, X]
    frequency = np.moveaxis(counts.sum(-1), 1, -1) / 60_000
    error = np.sqrt(joint * (1 - joint) / 60_000)
    assert (np.abs(frequency - joint) < 5 * error + 1e-12).all()


def test_what_has_no_probability_never_happens():
    (_, policy, _), world, counts, _ = play(sparse=True)
    happened = np.moveaxis(counts.sum(-1), 1, -1)
    assert happened[np.asarray(world.transition) == 0].sum() == 0
    assert happened.sum(-1)[policy == 0].sum() == 0


def test_a_share_of_episodes_is_played_by_the_policy_and_the_rest_by_the_baseline():
    (initial, policy, baseline), world, counts, played = play(share=0.3)
    assert played.mean() == pytest.approx(0.3, abs=0.01)
    transition = np.asarray(world.transition, np.float64)
    expected = 0.3 * occupancy(initial, policy, transition)
    expected += 0.7 * occupancy(initial, baseline, transition)
    frequency = counts.sum((1, -1)) / 60_000
    np.testing.assert_allclose(frequency, expected, atol=0.012)


def test_pooled_counts_are_the_sum_over_steps():
    *_, apart, _ = play(episodes=500)
    *_, pooled, _ = play(episodes=500, pooled=True)
    np.testing.assert_array_equal(pooled, apart.sum(0, keepdims=True))


def test_episodes_beyond_the_end_leave_no_trace():
    *_, counts, _ = play(episodes=50, live=jnp.arange(50) < 20)
    *_, fewer, _ = play(episodes=20)
    np.testing.assert_array_equal(counts, fewer)
    assert counts.sum() == 20 * HORIZON * 3


def test_an_episode_is_the_same_in_whatever_block_and_company_it_is_drawn():
    keys = jax.vmap(jax.random.key)(np.arange(4))
    together = world_lib.draw(keys, 0, 10, HORIZON)
    alone = world_lib.draw(keys[2:3], 7, 1, HORIZON)
    np.testing.assert_array_equal(together[:, 7, 2], alone[:, 0, 0])
