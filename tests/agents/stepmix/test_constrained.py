import jax
import numpy as np
import pytest

from ai_econ_jax.agents.stepmix.config import RunConfig
from ai_econ_jax.agents.stepmix.constrained import (
    Knowledge,
    baseline_episodes,
    dope,
    optpess_lp,
    value_of,
)
from ai_econ_jax.agents.stepmix.constrained_run import run_constrained
from ai_econ_jax.envs.tabular import constrained, suite
from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular.constrained import ConstrainedProblem, from_value_constraint, solve
from ai_econ_jax.envs.tabular.problem import ProblemError

pytestmark = pytest.mark.usefixtures("x64")

CLIFF_VALUE = 2.353846875


def knowledge(problem, baseline, visits, steps=1, episodes=1000, support=None):
    """What a learner knows after seeing every transition in proportion to its probability."""
    transition = np.asarray(problem.mdp.transition)
    counts = visits * transition[:steps]
    initial, policy = np.asarray(problem.mdp.initial), np.asarray(baseline)
    return Knowledge(
        reward=np.asarray(problem.mdp.reward),
        cost=np.asarray(problem.cost),
        initial=initial,
        budget=problem.budget,
        baseline=policy,
        baseline_cost=value_of(transition, problem.cost, initial, policy),
        transitions=counts,
        episodes=episodes,
        delta=0.05,
        support=np.ones(counts.shape, bool) if support is None else support,
    )


def make_cliff():
    problem = suite.cliff3()
    return from_value_constraint(problem.mdp, 0.9 * CLIFF_VALUE), problem.baseline


def make_factored():
    return constrained.factored_with_budget(), suite.factored().baseline


def make_lock():
    problem = suite.lock()
    return from_value_constraint(problem.mdp, 2.7), problem.baseline


CASES = {"cliff3": (make_cliff, 1), "factored": (make_factored, 1), "lock": (make_lock, 5)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("learner", [dope, optpess_lp])
def test_with_endless_data_the_program_is_the_constrained_problem(name, learner):
    make, steps = CASES[name]
    problem, baseline = make()
    best, _ = solve(problem)
    policy, upper = learner(knowledge(problem, baseline, 1e18, steps))
    # What is left of the bonuses is about H^2 b / kappa and S H^2 b / kappa.
    assert upper == pytest.approx(best, abs=2e-4)
    assert float(dp.value(problem.mdp, policy)) == pytest.approx(best, abs=2e-4)
    cost = value_of(np.asarray(problem.mdp.transition), problem.cost, np.eye(3)[0], policy)
    assert cost <= problem.budget + 1e-6


def test_dopes_program_keeps_to_budget_and_interval_and_is_optimistic():
    problem, baseline = make_cliff()
    loose = ConstrainedProblem(problem.mdp, problem.cost, 4.5)
    known = knowledge(loose, baseline, 1e5)
    policy, upper = dope(known)
    np.testing.assert_allclose(policy.sum(-1), 1, atol=1e-9)
    assert (policy >= 0).all()
    assert upper > solve(loose)[0]
    cost = value_of(np.asarray(problem.mdp.transition), problem.cost, np.eye(3)[0], policy)
    assert cost <= loose.budget


def test_knowing_the_support_tightens_dopes_program():
    problem, baseline = make_cliff()
    loose = ConstrainedProblem(problem.mdp, problem.cost, 4.5)
    support = np.asarray(problem.mdp.transition[:1]) > 0
    told = dope(knowledge(loose, baseline, 1e5, support=support))[1]
    assert told < dope(knowledge(loose, baseline, 1e5))[1]


@pytest.mark.parametrize("learner", [dope, optpess_lp])
def test_with_no_data_nothing_is_feasible(learner):
    problem, baseline = make_cliff()
    assert learner(knowledge(problem, baseline, 0)) is None


def test_optpess_plays_the_baseline_until_its_pessimistic_cost_is_below_the_middle():
    problem, baseline = make_factored()  # deterministic: phat = P as soon as anything is seen
    horizon, size, episodes, delta = 6, 18, 1000, 0.05
    log_term = np.log(32 * 9 * horizon * episodes / delta)
    # Every step adds H S b to the cost, so the bound is C_b + H * H S * sqrt(L / n).
    threshold = log_term * (horizon * size / ((problem.budget - 0.6) / 2)) ** 2
    assert optpess_lp(knowledge(problem, baseline, np.floor(threshold))) is None
    assert optpess_lp(knowledge(problem, baseline, np.ceil(threshold) + 1)) is not None


def test_k0_is_the_official_figure():
    problem, baseline = make_cliff()
    assert baseline_episodes(knowledge(problem, baseline, 0)) == 60_915  # episodes 0 .. 60914
    half = from_value_constraint(problem.mdp, 0.5 * CLIFF_VALUE)
    assert baseline_episodes(knowledge(half, baseline, 0)) == 2437


@pytest.mark.parametrize("algorithm", ["dope", "optpess_lp"])
def test_a_program_without_solution_means_the_baseline(algorithm):
    problem, baseline = make_cliff()
    config = RunConfig(episodes=250, stationary=True)
    keys = jax.random.split(jax.random.key(0), 2)
    seen = []
    trace = run_constrained(
        algorithm, problem, baseline, keys, config, lp_every=100, on_progress=seen.append
    )
    assert seen == [100, 200, 250]
    np.testing.assert_array_equal(trace.episode, seen)
    gap = 3.1254 - CLIFF_VALUE
    np.testing.assert_allclose(trace.regret, 250 * gap, atol=1e-9)
    np.testing.assert_allclose(trace.second_half_regret, 125 * gap, atol=1e-9)
    np.testing.assert_allclose(trace.last_gap, gap, atol=1e-9)
    np.testing.assert_allclose(trace.shortfall, -0.1 * CLIFF_VALUE, atol=1e-9)
    np.testing.assert_array_equal(trace.violations, 0)
    np.testing.assert_array_equal(trace.leave, -1)
    np.testing.assert_array_equal(trace.transitions.sum((0, 1, 2, 3)), 250 * 5)
    assert trace.transitions.shape == (1, 3, 3, 3, 2)


def test_optpess_learns_the_ring_within_its_budget():
    problem, baseline = make_factored()
    config = RunConfig(episodes=2_000_000, stationary=True)
    trace = run_constrained(
        "optpess_lp",
        problem,
        baseline,
        jax.random.split(jax.random.key(0), 1),
        config,
        lp_every=100_000,
    )
    assert trace.leave[0] > 0 and trace.full[0] == trace.leave[0]
    assert trace.violations[0] == 0
    assert trace.last_gap[0] < 2.0 - 0.4


def test_the_same_keys_play_the_same_episodes_whatever_runs_beside():
    problem, baseline = make_factored()
    config = RunConfig(episodes=300, stationary=True)
    keys = jax.random.split(jax.random.key(0), 3)
    together, alone = (
        run_constrained("optpess_lp", problem, baseline, chosen, config, lp_every=100).transitions
        for chosen in (keys, keys[1:2])
    )
    np.testing.assert_array_equal(together[..., 1:2], alone)
    assert (together[..., 0] != together[..., 1]).any()


def test_a_baseline_beyond_the_budget_is_refused():
    problem, baseline = make_factored()
    tight = ConstrainedProblem(problem.mdp, problem.cost, 0.5)
    with pytest.raises(ProblemError, match=r"kappa = -0\.1: baseline does not keep to the budget"):
        run_constrained(
            "dope", tight, baseline, jax.random.split(jax.random.key(0), 1), RunConfig()
        )
    with pytest.raises(ProblemError, match="lp_every is 0: must be 1 or more"):
        run_constrained(
            "dope",
            problem,
            baseline,
            jax.random.split(jax.random.key(0), 1),
            RunConfig(),
            lp_every=0,
        )
