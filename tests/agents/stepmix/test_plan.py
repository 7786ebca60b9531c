"""Planning against the same recursions written out, one seed and one rung after the other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.stepmix import confidence
from ai_econ_jax.agents.stepmix.confidence import PRESETS, Sizes
from ai_econ_jax.agents.stepmix.plan import known_problem, plan
from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular.mdp import TabularMDP

pytestmark = pytest.mark.usefixtures("x64")

SEEDS = 2


def random_problem(horizon, num_states=3, num_actions=4, deterministic=False, seed=0):
    rng = np.random.default_rng(seed)
    reward = rng.random((horizon, num_states, num_actions))
    initial = rng.dirichlet(np.ones(num_states))
    baseline = rng.dirichlet(np.ones(num_actions), (horizon, num_states))
    baseline[baseline < 0.1] = 0  # of some actions, the baseline never takes all
    if deterministic:
        baseline = np.eye(num_actions)[rng.integers(num_actions, size=(horizon, num_states))]
    baseline /= baseline.sum(-1, keepdims=True)
    return reward, initial, baseline


def random_counts(horizon, num_states=3, num_actions=4, mean=3.0, seed=1, seeds=SEEDS):
    size = (horizon, num_states, num_states, num_actions, seeds)
    return np.random.default_rng(seed).poisson(mean, size).astype(float)


def sizes_of(horizon, num_states=3, num_actions=4, scale=1.0):
    cells = horizon * num_states * num_actions
    return Sizes(cells, num_states, horizon, 0.05, scale)


def plain_plan(name, sizes, reward, initial, baseline, counts):
    """The same for one seed, f[H, X, S, A] counts: policy, upper bound, all H + 1 lower bounds."""
    horizon, num_states, num_actions = reward.shape
    bonus = PRESETS[name](sizes)
    known = confidence.estimate(bonus, jnp.asarray(counts)[..., None])

    @functools.partial(jax.jit, static_argnums=0)
    def compiled(side, cells, high, low, reach):
        shape = num_states, num_states, num_actions, 1
        ahead = (jnp.broadcast_to(v[:, None, None, None], shape) for v in (high, low))
        return side(bonus, cells, *ahead, reach)[..., 0]

    def bound(side, h, high, low):
        cells = jax.tree.map(lambda x: x[h], known)
        return np.asarray(compiled(side, cells, high, low, horizon - 1.0 - h))

    high = np.zeros(num_states)
    low = np.zeros(num_states)
    highs, lows, policy = [high], [low], np.zeros_like(reward)
    for h in reversed(range(horizon)):
        q_high = reward[h] + bound(confidence.upper, h, high, low)
        q_low = reward[h] + bound(confidence.lower, h, high, low)
        greedy = q_high.argmax(1)
        policy[h] = np.eye(num_actions)[greedy]
        high, low = (q[np.arange(num_states), greedy] for q in (q_high, q_low))
        highs, lows = [high, *highs], [low, *lows]
    bounds = [initial @ lows[0]]
    for j in range(1, horizon + 1):
        high, low = highs[j], lows[j]
        for h in reversed(range(j)):
            q_high = reward[h] + bound(confidence.upper, h, high, low)
            q_low = reward[h] + bound(confidence.lower, h, high, low)
            high, low = ((baseline[h] * q).sum(1) for q in (q_high, q_low))
        bounds.append(initial @ low)
    return policy, initial @ highs[0], np.array(bounds)


@pytest.mark.parametrize(
    ("name", "horizon"), [("kl", 1), ("kl", 2), ("kl", 5), ("bernstein", 4), ("bpi", 4)]
)
def test_all_rungs_are_what_the_recursion_gives_one_by_one(name, horizon):
    deterministic = horizon == 5
    reward, initial, baseline = random_problem(horizon, deterministic=deterministic)
    counts = random_counts(horizon, mean=1e5 if name == "bpi" else 3.0)
    counts[0, :, 1, 2] = 0  # unseen
    sizes = sizes_of(horizon)
    rungs = tuple(range(horizon + 1))
    known = known_problem(reward, initial, baseline)
    found = jax.jit(plan, static_argnums=(0, 3))(
        PRESETS[name](sizes), known, jnp.asarray(counts), rungs
    )
    for seed in range(SEEDS):
        args = reward, initial, baseline, counts[..., seed]
        policy, upper, lowers = plain_plan(name, sizes, *args)
        np.testing.assert_array_equal(found.optimistic[..., seed], policy)
        assert found.upper[seed] == pytest.approx(upper, abs=1e-9)
        np.testing.assert_allclose(found.lowers[:, seed], lowers, atol=1e-9)


@pytest.mark.parametrize("horizon", [4, 7])
def test_without_bounds_planning_is_exact_on_the_empirical_problem(horizon):
    reward, initial, baseline = random_problem(horizon)
    counts = random_counts(horizon) + 1
    known = known_problem(reward, initial, baseline)
    rungs = tuple(range(horizon + 1))
    found = plan(PRESETS["zero"](sizes_of(horizon)), known, jnp.asarray(counts), rungs)
    for seed in range(SEEDS):
        laws = np.moveaxis(counts[..., seed], 1, -1)
        laws = laws / laws.sum(-1, keepdims=True)
        mdp = TabularMDP(
            transition=jnp.asarray(laws), reward=jnp.asarray(reward), initial=jnp.asarray(initial)
        )
        values, _, policy = dp.optimal(mdp)
        np.testing.assert_array_equal(found.optimistic[..., seed], policy)
        assert found.upper[seed] == pytest.approx(float(initial @ values[0]), abs=1e-12)
        for j in rungs:
            rung = np.concatenate([baseline[:j], policy[j:]])
            assert found.lowers[j, seed] == pytest.approx(float(dp.value(mdp, rung)), abs=1e-12)


@pytest.mark.parametrize("rungs", [(), (0,), (0, 6), (6,)])
def test_some_rungs_are_what_they_are_among_all(rungs):
    reward, initial, baseline = random_problem(6)
    known, counts = known_problem(reward, initial, baseline), jnp.asarray(random_counts(6))
    bonus = PRESETS["kl"](sizes_of(6))
    every, some = (plan(bonus, known, counts, wanted) for wanted in (tuple(range(7)), rungs))
    np.testing.assert_array_equal(some.optimistic, every.optimistic)
    np.testing.assert_allclose(some.lowers, every.lowers[jnp.asarray(rungs, int)], atol=1e-12)


def test_pooled_counts_are_counts_of_every_step():
    reward, initial, baseline = random_problem(4)
    known, counts = known_problem(reward, initial, baseline), jnp.asarray(random_counts(1))
    bonus, rungs = PRESETS["kl"](sizes_of(4)), tuple(range(5))
    pooled = plan(bonus, known, counts, rungs)
    repeated = plan(bonus, known, jnp.repeat(counts, 4, 0), rungs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), pooled, repeated)


def test_ties_go_to_the_lowest_action():
    reward, initial, baseline = random_problem(3)
    reward[:] = 0.5
    counts = jnp.asarray(random_counts(3)) * 0
    found = plan(PRESETS["kl"](sizes_of(3)), known_problem(reward, initial, baseline), counts, ())
    assert (found.optimistic[:, :, 0] == 1).all()


def test_new_names_for_states_and_actions_change_names_alone():
    """Bar 19: the plan of a relabelled problem is the relabelled plan."""
    horizon = 5
    reward, initial, baseline = random_problem(horizon)
    counts = random_counts(horizon)
    states, actions = np.array([2, 0, 1]), np.array([3, 1, 0, 2])
    bonus, rungs = PRESETS["kl"](sizes_of(horizon)), tuple(range(horizon + 1))
    found = plan(bonus, known_problem(reward, initial, baseline), jnp.asarray(counts), rungs)
    renamed = plan(
        bonus,
        known_problem(
            reward[:, states][..., actions], initial[states], baseline[:, states][..., actions]
        ),
        jnp.asarray(counts[:, states][:, :, states][:, :, :, actions]),
        rungs,
    )
    np.testing.assert_array_equal(renamed.optimistic, found.optimistic[:, states][:, :, actions])
    np.testing.assert_allclose(renamed.lowers, found.lowers, atol=1e-9)
    np.testing.assert_allclose(renamed.upper, found.upper, atol=1e-9)
