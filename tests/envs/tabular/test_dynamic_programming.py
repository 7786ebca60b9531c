import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular import suite
from ai_econ_jax.envs.tabular.constrained import ConstrainedProblem, solve
from ai_econ_jax.envs.tabular.mdp import TabularMDP

pytestmark = pytest.mark.usefixtures("x64")


def random_mdp(rng, horizon=4, num_states=4, num_actions=3, alpha=0.5):
    shape = (horizon, num_states, num_actions)
    return TabularMDP(
        transition=jnp.asarray(rng.dirichlet(np.full(num_states, alpha), shape)),
        reward=jnp.asarray(rng.random(shape)),
        initial=jnp.asarray(rng.dirichlet(np.ones(num_states))),
    )


def random_policy(rng, mdp):
    return jnp.asarray(rng.dirichlet(np.ones(mdp.num_actions), mdp.reward.shape[:2]))


def by_value_program(mdp):
    """V* of the primal linear program `min mu.V_0`, `V_h >= r + P V_{h+1}`."""
    horizon, num_states, num_actions = mdp.reward.shape
    variables = horizon * num_states
    rows, bounds = [], []
    for h, s, a in itertools.product(range(horizon), range(num_states), range(num_actions)):
        row = np.zeros(variables)
        row[h * num_states + s] = -1
        if h + 1 < horizon:
            row[(h + 1) * num_states :][:num_states] += np.asarray(mdp.transition[h, s, a])
        rows.append(row)
        bounds.append(-mdp.reward[h, s, a])
    objective = np.zeros(variables)
    objective[:num_states] = mdp.initial
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    return scipy.optimize.linprog(
        objective, np.array(rows), np.array(bounds), bounds=(None, None), options=tight
    ).fun


def test_optimal_values_are_those_of_two_linear_programs():
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(100):
        mdp = random_mdp(rng)
        value = float(mdp.initial @ dp.optimal(mdp)[0][0])
        by_occupancy, _ = solve(ConstrainedProblem(mdp, np.zeros(mdp.reward.shape), np.inf))
        worst = max(worst, abs(value - by_value_program(mdp)), abs(value - by_occupancy))
    assert worst <= 1e-8


def test_optimal_values_are_the_best_of_all_deterministic_policies():
    rng = np.random.default_rng(1)
    tables = np.array(list(itertools.product(range(2), repeat=6))).reshape(-1, 3, 2)
    assert len(tables) == 64
    policies = jnp.eye(2)[tables]
    values = jax.vmap(dp.value, (None, 0))
    for _ in range(20):
        mdp = random_mdp(rng, horizon=3, num_states=2, num_actions=2)
        optimum, _, policy = dp.optimal(mdp)
        best = values(mdp, policies).max()
        assert abs(best - mdp.initial @ optimum[0]) <= 1e-12
        assert abs(best - dp.value(mdp, policy)) <= 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_the_value_is_the_occupancy_times_the_reward(seed):
    rng = np.random.default_rng(seed)
    mdp = random_mdp(rng)
    policy = random_policy(rng, mdp)
    visited = dp.occupancy(mdp, policy)
    np.testing.assert_allclose(visited.sum((1, 2)), 1.0, atol=1e-12)
    assert abs((visited * mdp.reward).sum() - dp.value(mdp, policy)) <= 1e-12


def test_the_value_is_affine_in_the_policy_of_one_step_only():
    rng = np.random.default_rng(2)
    mdp = random_mdp(rng, horizon=5)
    first, second = random_policy(rng, mdp), random_policy(rng, mdp)
    for step, weight in itertools.product(range(5), (0.2, 0.5, 0.9)):
        switched = first.at[step].set(second[step])
        mixed = first.at[step].set((1 - weight) * first[step] + weight * second[step])
        expected = (1 - weight) * dp.value(mdp, first) + weight * dp.value(mdp, switched)
        assert abs(dp.value(mdp, mixed) - expected) <= 1e-12
    everywhere = dp.value(mdp, (first + second) / 2)
    assert abs(everywhere - (dp.value(mdp, first) + dp.value(mdp, second)) / 2) > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_performance_difference_lemma(seed):
    rng = np.random.default_rng(seed)
    mdp = random_mdp(rng, horizon=6, num_states=5)
    policy, other = random_policy(rng, mdp), random_policy(rng, mdp)
    values, q = dp.evaluate(mdp, other)
    advantage = q - values[:-1, :, None]
    gain = (dp.occupancy(mdp, policy) * advantage).sum()
    assert abs(dp.value(mdp, policy) - dp.value(mdp, other) - gain) <= 1e-10


def test_values_equal_a_loop_over_time():
    rng = np.random.default_rng(3)
    mdp = random_mdp(rng)
    policy = random_policy(rng, mdp)
    values, q = dp.evaluate(mdp, policy)
    chex.assert_shape(values, (5, 4))
    chex.assert_shape(q, (4, 4, 3))
    expected = np.zeros(4)
    for h in reversed(range(4)):
        expected_q = np.asarray(mdp.reward[h]) + np.asarray(mdp.transition[h]) @ expected
        expected = (np.asarray(policy[h]) * expected_q).sum(-1)
        np.testing.assert_allclose(q[h], expected_q, atol=1e-14)
        np.testing.assert_allclose(values[h], expected, atol=1e-14)


def test_ties_go_to_the_lowest_action():
    mdp = random_mdp(np.random.default_rng(4))
    tied = mdp.replace(
        transition=jnp.repeat(mdp.transition[:, :, :1], 3, 2),
        reward=jnp.repeat(mdp.reward[:, :, :1], 3, 2),
    )
    np.testing.assert_array_equal(dp.optimal(tied)[2].argmax(-1), 0)


@pytest.mark.parametrize("name", ["cliff3", "lock", "dirichlet"])
def test_names_of_states_and_actions_do_not_matter(name):
    mdp = suite.load(name).mdp
    rng = np.random.default_rng(5)
    states, actions = rng.permutation(mdp.num_states), rng.permutation(mdp.num_actions)
    renamed = TabularMDP(
        transition=mdp.transition[:, states][:, :, actions][..., states],
        reward=mdp.reward[:, states][:, :, actions],
        initial=mdp.initial[states],
    )
    values, renamed_values = dp.optimal(mdp)[0], dp.optimal(renamed)[0]
    np.testing.assert_allclose(renamed_values, values[:, states], atol=1e-14)


def test_one_program_serves_many_problems_with_and_without_jit():
    rng = np.random.default_rng(6)
    problems = [random_mdp(rng) for _ in range(3)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)
    optimal = jax.jit(chex.assert_max_traces(lambda mdps: jax.vmap(dp.optimal)(mdps), 1))
    for _ in range(2):
        values, _, _ = optimal(batch)
    for problem, value in zip(problems, values, strict=True):
        np.testing.assert_allclose(value, dp.optimal(problem)[0], atol=1e-14)
