"""Whole runs: what is exact, what repeats, and what the algorithms must do on small problems."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.stepmix import compiler
from ai_econ_jax.agents.stepmix import run as run_lib
from ai_econ_jax.agents.stepmix.config import RunConfig
from ai_econ_jax.agents.stepmix.run import run
from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular import suite
from ai_econ_jax.envs.tabular.mdp import TabularMDP


def keys(count, first=0):
    return jax.vmap(jax.random.key)(first + np.arange(count))


def load(name, **options):
    """A problem in float64: its constants are then exact, the run itself stays in float32."""
    with jax.enable_x64(True):
        return suite.load(name, **options)


def values(mdp, policy):
    """V* and V(policy) in float64, by plain recursion."""
    transition, reward, initial = (
        np.asarray(x, np.float64) for x in (mdp.transition, mdp.reward, mdp.initial)
    )
    best = own = np.zeros(len(initial))
    for h in reversed(range(len(reward))):
        best = (reward[h] + transition[h] @ best).max(-1)
        own = (np.asarray(policy[h], np.float64) * (reward[h] + transition[h] @ own)).sum(-1)
    return initial @ best, initial @ own


def play(name, algorithm, seeds=4, fraction=0.9, gamma=None, baseline=None, mdp=None, **options):
    """Runs on a problem of the suite; returns the trace with V*, V(baseline) and gamma."""
    problem = load(name) if mdp is None else None
    mdp = problem.mdp if mdp is None else mdp
    baseline = problem.baseline if baseline is None else baseline
    best, own = values(mdp, baseline)
    gamma = fraction * own if gamma is None else gamma
    arguments = {k: options.pop(k) for k in ("log_policies", "on_progress") if k in options}
    config = RunConfig(**{"episodes": 600, "replan_every": 10} | options)
    trace = run(algorithm, mdp, baseline, gamma, keys(seeds), config, **arguments)
    return trace, best, own, gamma


@pytest.mark.parametrize("name", ["cliff3", "bandit2", "lock"])
@pytest.mark.parametrize("algorithm", ["baseline", "switch"])
def test_the_baseline_costs_its_gap_in_every_episode(name, algorithm):
    """Bar 12; `switch` never leaves on these problems."""
    trace, best, own, _ = play(name, algorithm, episodes=30_000, seeds=2, log_points=50)
    np.testing.assert_allclose(trace.regret, 30_000 * (best - own), rtol=1e-6)
    np.testing.assert_allclose(trace.second_half_regret, 15_000 * (best - own), rtol=1e-6)
    np.testing.assert_allclose(trace.last_gap, best - own, rtol=1e-6)
    assert (trace.leave == -1).all()
    assert (trace.violations == 0).all()
    np.testing.assert_allclose(trace.shortfall, 0.9 * own - own, rtol=1e-5)


@pytest.mark.parametrize("algorithm", ["stepmix", "epsmix", "ucbvi", "budget", "allstep"])
def test_an_independent_evaluator_recounts_the_logged_policies(algorithm):
    trace, best, own, gamma = play(
        "bandit2", algorithm, bonus="bernstein", bonus_scale=0.1, episodes=1500, log_points=10**6,
        log_policies=True, seeds=3,
    )  # fmt: skip
    mdp = load("bandit2").mdp
    length = np.diff(trace.episode, prepend=0)
    for seed in range(3):
        worth = np.array([values(mdp, policy[..., seed])[1] for policy in trace.policies])
        share = trace.shares[:, seed].astype(np.float64)
        worth = share * worth + (1 - share) * own
        assert trace.violations[seed] == (length * (worth < gamma - 2e-6)).sum()
        regret = (length * (best - worth)).sum()
        assert trace.regret[seed] == pytest.approx(regret, rel=1e-5)
        assert trace.shortfall[seed] == pytest.approx((gamma - worth).max(), abs=1e-5)
        np.testing.assert_allclose(trace.curves["gap"][:, seed], best - worth, atol=1e-5)
    if algorithm in ("ucbvi", "budget"):
        assert (trace.violations > 0).all()


def test_totals_do_not_depend_on_how_often_curves_are_drawn():
    fine, *_ = play("cliff3", "ucbvi", episodes=777)
    coarse, *_ = play("cliff3", "ucbvi", episodes=777, log_points=3)
    assert fine.episode[-1] == coarse.episode[-1] == 777
    np.testing.assert_array_equal(fine.transitions, coarse.transitions)
    np.testing.assert_array_equal(fine.regret, coarse.regret)
    np.testing.assert_array_equal(fine.violations, coarse.violations)
    np.testing.assert_allclose(fine.curves["regret"][-1], fine.regret, rtol=1e-6)
    assert np.asarray(fine.transitions).sum() == 777 * 5 * 4


def test_all_figures_are_those_of_the_curves_of_every_episode():
    trace, best, _, gamma = play("cliff3", "ucbvi", episodes=1500, replan_every=1, log_points=1500)
    gap = trace.curves["gap"].astype(np.float64)
    np.testing.assert_array_equal(trace.episode, 1 + np.arange(1500))
    np.testing.assert_allclose(trace.regret, gap.sum(0), rtol=1e-6)
    np.testing.assert_allclose(trace.second_half_regret, gap[750:].sum(0), rtol=1e-5)
    np.testing.assert_allclose(trace.last_gap, gap[500:].mean(0), rtol=1e-5)
    np.testing.assert_array_equal(trace.violations, (best - gap < gamma - 5e-6).sum(0))
    np.testing.assert_allclose(trace.shortfall, (gamma - best + gap).max(0), atol=1e-6)


@pytest.mark.parametrize(
    ("algorithm", "name", "fraction", "pooled"),
    [("stepmix", "bandit2", 0.5, 0), ("epsmix", "cliff3", 0.8, 1)],
)
def test_a_seed_among_others_is_the_seed_alone(algorithm, name, fraction, pooled):
    """Bar 20, on runs that leave the baseline and mix."""
    problem = load(name)
    mdp, baseline = problem.mdp, problem.baseline
    gamma = fraction * values(mdp, baseline)[1]
    config = RunConfig(episodes=600, replan_every=10, stationary=bool(pooled))
    together = run(algorithm, mdp, baseline, gamma, keys(4), config)
    again = run(algorithm, mdp, baseline, gamma, keys(4), config)
    assert ((together.leave > 0) & (together.leave < 600)).all()
    levels = together.curves["level"]
    assert ((levels > 0) & (levels < len(baseline))).any(0).all()
    np.testing.assert_array_equal(together.transitions, again.transitions)
    np.testing.assert_array_equal(together.regret, again.regret)
    for seed in (0, 3):
        alone = run(algorithm, mdp, baseline, gamma, keys(1, seed), config)
        np.testing.assert_array_equal(together.transitions[..., seed], alone.transitions[..., 0])
        assert together.regret[seed] == pytest.approx(alone.regret[0], rel=1e-5)


def test_without_a_constraint_stepmix_is_ucbvi():
    """Bar 18: gamma = 0."""
    safe, *_ = play("cliff3", "stepmix", gamma=0.0)
    free, *_ = play("cliff3", "ucbvi", gamma=0.0)
    np.testing.assert_array_equal(safe.transitions, free.transitions)
    np.testing.assert_array_equal(safe.regret, free.regret)
    assert (safe.full == 0).all()


def test_a_constraint_without_slack_is_the_baseline_throughout():
    """Bar 18: gamma_frac = 1 - 1e-9."""
    trace, best, own, _ = play("cliff3", "stepmix", fraction=1 - 1e-9)
    assert (trace.leave == -1).all()
    np.testing.assert_allclose(trace.regret, 600 * (best - own), rtol=1e-6)


def test_with_one_step_the_optimum_is_played_from_the_first_episode():
    """Bar 18: H = 1, where rewards are known and nothing lies ahead."""
    rng = np.random.default_rng(0)
    mdp = TabularMDP(
        transition=rng.dirichlet(np.ones(3), (1, 3, 4)), reward=rng.random((1, 3, 4)),
        initial=rng.dirichlet(np.ones(3)),
    )  # fmt: skip
    trace, *_ = play("", "stepmix", mdp=mdp, baseline=np.full((1, 3, 4), 0.25), episodes=50)
    np.testing.assert_allclose(trace.regret, 0, atol=1e-5)
    assert (trace.full == 0).all()


def test_with_one_action_there_is_no_regret():
    """Bar 18: A = 1."""
    rng = np.random.default_rng(0)
    mdp = TabularMDP(
        transition=rng.dirichlet(np.ones(3), (4, 3, 1)), reward=rng.random((4, 3, 1)),
        initial=rng.dirichlet(np.ones(3)),
    )  # fmt: skip
    for algorithm in ("stepmix", "epsmix", "ucbvi"):
        trace, *_ = play("", algorithm, mdp=mdp, baseline=np.ones((4, 3, 1)), episodes=50)
        np.testing.assert_array_equal(trace.regret, 0)


def test_with_an_optimal_baseline_no_episode_costs_more_than_the_slack():
    """Bar 18: the regret of an episode is at most kappa, and nothing is violated."""
    problem = load("cliff3")
    with jax.enable_x64(True):
        _, _, optimal = dp.optimal(problem.mdp)
    trace, best, own, gamma = play(
        "cliff3", "stepmix", baseline=optimal, fraction=0.6, episodes=3000
    )
    assert best == pytest.approx(own)
    assert (trace.violations == 0).all()
    assert (trace.curves["gap"] <= best - gamma + 1e-5).all()
    assert (trace.leave >= 0).all()


@pytest.mark.parametrize("algorithm", ["stepmix", "epsmix"])
def test_certificates_hold_in_every_episode(algorithm):
    """Bar 16, small: V* - V(pi_k) <= U_k - guaranteed."""
    trace, *_ = play("cliff3", algorithm, episodes=3000, seeds=8)
    assert (trace.broken_certificates == 0).all()
    assert (trace.violations == 0).all()
    assert (trace.leave > 0).all()
    gap, upper, guaranteed = (trace.curves[k] for k in ("gap", "upper", "guaranteed"))
    assert (gap <= upper - guaranteed + 1e-5).all()


def test_without_bounds_stepmix_violates():
    """Bar 10, small; the whole bar is a slow test."""
    trace, *_ = play("bandit2", "greedy_stepmix", episodes=1000, seeds=20)
    assert (trace.violations > 0).mean() >= 0.6
    assert trace.broken_certificates.max() > 0


@pytest.mark.parametrize(("fraction", "predicted"), [(0.6, 131), (0.4, 46)])
def test_departure_from_the_baseline_is_when_the_analysis_says(fraction, predicted):
    """Bar 13, its two fastest: the smallest n with n kl(.6, gamma) >= beta(n)."""
    trace, *_ = play("bandit2", "stepmix", fraction=fraction, episodes=400, seeds=32)
    assert (trace.leave >= 0).all()
    assert 0.6 <= trace.leave.mean() / predicted <= 1.15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "least"),
    [
        ("cliff3", {}, 0.8),
        ("bandit2", {}, 0.8),
        ("lock", {}, 0.8),
        ("dirichlet_sparse", {"seed": 2}, 0.2),
    ],
)
def test_without_bounds_most_runs_violate(name, options, least):
    """Bar 10."""
    problem = load(name, **options)
    trace, *_ = play(
        "", "greedy_stepmix", mdp=problem.mdp, baseline=problem.baseline, episodes=5000, seeds=40
    )
    assert (trace.violations > 0).mean() >= least


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bandit2", "cliff3"])
def test_departure_grows_as_a_power_of_the_slack(name):
    """Bar 14: the slope of log departure in log 1 / kappa."""
    departures, slack = [], []
    for fraction in (0.95, 0.9, 0.8, 0.6):
        trace, _, own, gamma = play(name, "stepmix", fraction=fraction, episodes=40_000, seeds=8)
        assert (trace.leave >= 0).all()
        departures.append(trace.leave.mean())
        slack.append(own - gamma)
    slope = np.polyfit(np.log(1 / np.array(slack)), np.log(departures), 1)[0]
    assert 1.5 <= slope <= 2.5


def test_a_known_baseline_value_lets_epsmix_leave_at_once():
    trace, *_ = play("cliff3", "epsmix", baseline_value_known=True)
    assert (trace.leave == 0).all()
    assert (trace.violations == 0).all()


def test_counts_to_begin_with_are_counts():
    problem = load("cliff3")
    _, own = values(problem.mdp, problem.baseline)
    config = RunConfig(episodes=10)
    arguments = "stepmix", problem.mdp, problem.baseline, 0.9 * own, keys(2), config
    law = np.moveaxis(np.asarray(problem.mdp.transition), -1, 1)
    warm = run(*arguments, initial_transitions=np.round(1e5 * law))
    cold = run(*arguments)
    assert (cold.leave == -1).all()
    assert (warm.full == 0).all()
    assert np.asarray(warm.transitions).sum() == pytest.approx(2 * (45 * 1e5 + 50), rel=1e-3)


def test_pooling_a_stationary_law_leaves_earlier():
    apart, *_ = play("cliff3", "stepmix", episodes=1500)
    pooled, *_ = play("cliff3", "stepmix", episodes=1500, stationary=True)
    assert (pooled.violations == 0).all()
    assert 0 < pooled.leave.mean() < 0.5 * apart.leave.mean()


def test_regret_does_not_depend_on_the_names_of_states_and_actions():
    """Bar 19, the law of the regret: 64 seeds each, a problem without ties."""
    rng = np.random.default_rng(3)
    transition, reward = rng.dirichlet(np.ones(3), (3, 3, 3)), rng.random((3, 3, 3))
    initial, baseline = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3), (3, 3))
    states, actions = np.array([2, 0, 1]), np.array([1, 2, 0])

    def regret(states, actions):
        mdp = TabularMDP(
            transition=transition[:, states][:, :, actions][..., states],
            reward=reward[:, states][:, :, actions],
            initial=initial[states],
        )
        own = baseline[:, states][:, :, actions]
        trace, *_ = play("", "ucbvi", mdp=mdp, baseline=own, bonus="bernstein", seeds=64)
        return trace.regret

    one, other = regret(np.arange(3), np.arange(3)), regret(states, actions)
    error = np.sqrt(one.var() / 64 + other.var() / 64)
    assert abs(one.mean() - other.mean()) < 4 * error


def test_a_run_compiles_twice_at_most_and_a_second_one_not_at_all():
    traced = []
    inner = run_lib._block

    def counting(*arguments):
        traced.append(1)
        return inner(*arguments)

    run_lib._block = counting
    try:
        play("trap2", "ucbvi", seeds=5)
        first = len(traced)
        play("trap2", "ucbvi", seeds=5, episodes=601)
        assert 0 < first <= 2 * 3  # a loop's body is traced a few times for each program
        assert len(traced) == first
    finally:
        run_lib._block = inner


def test_a_compiler_that_does_not_know_an_option_goes_without():
    assert not compiler.accepted({"xla_cpu_no_such_option": ""})


def test_progress_is_told_and_ends_with_the_last_episode():
    told = []
    play("cliff3", "ucbvi", episodes=555, on_progress=told.append)
    assert told[-1] == 555
    assert told == sorted(told)


def test_kahan_sums_keep_what_float32_drops():
    @jax.jit
    def total(term):
        def add(_, carry):
            return run_lib._add(*carry, term)

        sums, lost = jax.lax.fori_loop(0, 300_000, add, (jnp.zeros(1), jnp.zeros(1)))
        plain = jax.lax.fori_loop(0, 300_000, lambda _, x: x + term, jnp.zeros(1))
        return sums - lost, plain

    term = jnp.full(1, 0.1, jnp.float32)
    exact = 300_000 * float(term[0])
    compensated, plain = total(term)
    assert float(compensated[0]) == pytest.approx(exact, rel=2e-7)
    assert float(plain[0]) != pytest.approx(exact, rel=1e-4)


def test_shapes_of_a_trace():
    trace, *_ = play("cliff3", "stepmix", seeds=3, episodes=50)
    points = len(trace.episode)
    for name in run_lib.CURVES:
        chex.assert_shape(trace.curves[name], (points, 3))
    chex.assert_shape(trace.transitions, (5, 3, 3, 3, 3))


def test_a_seed_costs_at_most_64_kib_of_state_and_six_floats_per_point():
    def per_seed(tree):
        return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if leaf.ndim) / seeds

    seeds, shape = 7, (10, 10, 3)
    state = run_lib._initial_state(shape, np.zeros((10, 10, 10, 3)), seeds)
    assert per_seed(state) <= 64 * 1024
    trace, *_ = play("cliff3", "stepmix", seeds=seeds, episodes=50)
    assert per_seed(trace.curves) == 6 * 4 * len(trace.episode)


@pytest.mark.device
@pytest.mark.parametrize("algorithm", ["ucbvi", "stepmix", "epsmix"])
def test_an_accelerator_counts_as_the_cpu_does(algorithm):
    """Bar 20, on a problem without ties."""
    if jax.default_backend() == "cpu":
        pytest.skip("there is no accelerator")
    problem = load("dirichlet_sparse", seed=2, eta=10.0)
    counts = []
    for device in (jax.devices()[0], jax.devices("cpu")[0]):
        with jax.default_device(device):
            trace, *_ = play(
                "", algorithm, mdp=problem.mdp, baseline=problem.baseline, episodes=100, seeds=8
            )
        counts.append(np.asarray(trace.transitions))
    np.testing.assert_array_equal(*counts)
