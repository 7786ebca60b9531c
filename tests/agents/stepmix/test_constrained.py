import jax
import numpy as np
import pytest
import scipy.optimize

from ai_econ_jax.agents.stepmix.config import RunConfig
from ai_econ_jax.agents.stepmix.constrained import (
    LEARNERS,
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
from ai_econ_jax.envs.tabular.problem import ProblemError, make_problem

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


def dope_by_loops(known):
    """Value of DOPE's program, every row written out, pooled counts."""
    horizon, num_states, num_actions = known.reward.shape
    log_term = np.log(6 * num_states**2 * horizon * known.episodes / known.delta)
    cells = list(np.ndindex(horizon, num_states, num_actions, num_states))
    column = {cell: i for i, cell in enumerate(cells)}
    objective, budget_row = np.zeros(len(cells)), np.zeros(len(cells))
    rows, inflow = [budget_row], []
    flow = np.zeros((horizon * num_states, len(cells)))
    for h, s, a in np.ndindex(horizon, num_states, num_actions):
        counts = known.transitions[0, s, a]
        n = counts.sum()
        law = counts / n
        beta = 2 * np.sqrt(log_term * law * (1 - law) / n) + 14 * log_term / (3 * n)
        block = [column[h, s, a, x] for x in range(num_states)]
        objective[block] = known.reward[h, s, a] + horizon**2 / known.kappa * beta.sum()
        budget_row[block] = known.cost[h, s, a] + horizon * beta.sum()
        for x in range(num_states):
            for sign in (1, -1):  # sign * (z_x - law_x sum z) <= beta_x sum z
                row = np.zeros(len(cells))
                row[block] = -sign * law[x] - beta[x]
                row[block[x]] += sign
                rows.append(row)
    for h, s in np.ndindex(horizon, num_states):
        for a, x in np.ndindex(num_actions, num_states):
            flow[h * num_states + s, column[h, s, a, x]] += 1
            if h > 0:
                flow[h * num_states + s, column[h - 1, x, a, s]] -= 1
        inflow.append(known.initial[s] if h == 0 else 0)
    limits = np.zeros(len(rows))
    limits[0] = known.budget
    result = scipy.optimize.linprog(-objective, np.array(rows), limits, flow, inflow)
    return -result.fun


@pytest.mark.parametrize("visits", [2e4, 1e6])
def test_dopes_value_is_that_of_its_program_written_out(visits):
    problem, baseline = make_cliff()
    problem = ConstrainedProblem(problem.mdp, problem.cost, 4.9)
    known = knowledge(problem, baseline, visits)
    assert dope(known)[1] == pytest.approx(dope_by_loops(known), rel=1e-7)


def test_both_ends_of_dopes_interval_bind():
    # One action; the middle state pays. Optimism moves as much mass to it as beta allows.
    transition = np.zeros((2, 3, 1, 3))
    transition[:, :, 0] = [0.2, 0.3, 0.5]
    reward = np.zeros((2, 3, 1))
    reward[1, 1] = 1
    mdp = make_problem("p", transition, reward).mdp
    problem = ConstrainedProblem(mdp, np.zeros((2, 3, 1)), 10.0)
    known = knowledge(problem, np.ones((2, 3, 1)), 1e6)
    log_term = np.log(6 * 9 * 2 * 1000 / 0.05)
    law = transition[0, 0, 0]
    beta = 2 * np.sqrt(log_term * law * (1 - law) / 1e6) + 14 * log_term / 3e6
    bonus = 2 * 4 / 10 * beta.sum()
    # What the middle gains, the others must lose: each by its own beta at most.
    gain = min(beta[1], beta[0] + beta[2])
    assert dope(known)[1] == pytest.approx(0.3 + gain + bonus, abs=1e-8)


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


def test_optpess_value_in_closed_form():
    problem, baseline = make_factored()  # worth 2/3 of its budget
    visits, horizon, size = 1e8, 6, 18
    bonus = np.sqrt(np.log(32 * 9 * horizon * 1000 / 0.05) / visits)
    left = problem.budget - horizon * size * bonus
    weight = size + 4 * horizon * (1 + size) / (problem.budget - 0.6)
    _, upper = optpess_lp(knowledge(problem, baseline, visits))
    assert upper == pytest.approx(2 / 3 * left + horizon * weight * bonus, abs=1e-9)


def test_k0_is_the_official_figure():
    problem, baseline = make_cliff()
    assert baseline_episodes(knowledge(problem, baseline, 0)) == 60_915  # episodes 0 .. 60914
    half = from_value_constraint(problem.mdp, 0.5 * CLIFF_VALUE)
    assert baseline_episodes(knowledge(half, baseline, 0)) == 2437


@pytest.mark.parametrize("algorithm", ["dope", "optpess_lp"])
def test_a_program_without_solution_means_the_baseline(algorithm):
    problem, baseline = make_cliff()
    config = RunConfig(episodes=250)
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


@pytest.mark.parametrize(("make", "steps"), [(make_cliff, 1), (make_lock, 5)])
def test_counts_are_pooled_wherever_the_law_is_the_same_at_every_step(make, steps):
    problem, baseline = make()
    keys = jax.random.split(jax.random.key(0), 2)
    config = RunConfig(episodes=20, stationary=False)
    trace = run_constrained("optpess_lp", problem, baseline, keys, config, lp_every=20)
    assert len(trace.transitions) == steps
    np.testing.assert_array_equal(trace.transitions.sum((1, 2, 3)), 20 * 5 / steps)


@pytest.mark.parametrize("make", [make_cliff, make_lock])
def test_counts_to_begin_with_are_what_is_planned_from(make, monkeypatch):
    problem, baseline = make()
    horizon, num_states, num_actions = problem.mdp.shape
    shape = (horizon, num_states, num_states, num_actions)  # [H, X, S, A]
    given = np.arange(np.prod(shape)).reshape(shape)
    planned = []

    def learner(known):
        planned.append(known.transitions)

    monkeypatch.setitem(LEARNERS, "optpess_lp", learner)

    def play(counts):
        keys, config = jax.random.split(jax.random.key(0), 1), RunConfig(episodes=20)
        return run_constrained(
            "optpess_lp",
            problem,
            baseline,
            keys,
            config,
            lp_every=20,
            initial_transitions=counts,
        ).transitions[..., 0]

    warm, cold = play(given), play(None)
    begun = given if len(warm) > 1 else given.sum(0, keepdims=True)
    np.testing.assert_array_equal(warm, begun + cold)
    np.testing.assert_array_equal(np.moveaxis(planned[0], -1, 1), begun)
    pooled = given.sum(0, keepdims=True)
    if len(warm) == 1:
        np.testing.assert_array_equal(play(pooled), warm)
    else:
        with pytest.raises(
            ProblemError, match=r"initial_transitions has shape \(1, .*must be \[5,"
        ):
            play(pooled)


def test_optpess_learns_the_ring_within_its_budget():
    problem, baseline = make_factored()
    config = RunConfig(episodes=2_000_000)
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
    config = RunConfig(episodes=300)
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
