import numpy as np
import pytest

from ai_econ_jax.envs.tabular import baselines, suite
from ai_econ_jax.envs.tabular import constrained as constrained_lib
from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular.constrained import ConstrainedProblem, solve
from ai_econ_jax.envs.tabular.problem import ProblemError

pytestmark = pytest.mark.usefixtures("x64")

# Optimal values and values of the baseline, to ten digits, from an implementation in NumPy.
KNOWN = [
    ("cliff3", {}, 3.1254, 2.353846875),
    ("bandit2", {}, 0.8, 0.6),
    ("lock", {}, 4.02764176, 3.0),
    ("trap2", {}, 0.96, 0.54),
    ("riverswim", {}, 3.3972639592, 0.1),
    ("riverswim", {"horizon": 40}, 11.7880667074, 0.2),
    ("riverswim", {"num_states": 4, "horizon": 16, "left": 0.1}, 4.3619992441, 1.6),
    ("riverswim", {"num_states": 4, "horizon": 16}, 4.3490727058, 0.08),
    ("dirichlet", {}, 2.3574473351, 2.3124948174),
    ("dirichlet", {"baseline": "rank2"}, 2.3574473351, 2.0694179253),
    ("dirichlet_sparse", {}, 2.4418503696, 2.3375907985),
    ("dirichlet_sparse", {"seed": 2}, 3.8038340569, 3.7715451827),
    ("factored", {}, 4.0, 0.4),
]


def values_of(problem):
    optimum = problem.mdp.initial @ dp.optimal(problem.mdp)[0][0]
    return float(optimum), float(dp.value(problem.mdp, problem.baseline))


@pytest.mark.parametrize(("name", "parameters", "optimum", "baseline"), KNOWN)
def test_values_are_the_known_ones(name, parameters, optimum, baseline):
    np.testing.assert_allclose(
        values_of(suite.load(name, **parameters)), (optimum, baseline), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("name", suite.PROBLEMS)
def test_every_problem_is_a_problem(name):
    problem = suite.load(name)
    mdp = problem.mdp
    horizon, num_states, num_actions = mdp.horizon, mdp.num_states, mdp.num_actions
    assert mdp.transition.shape == (horizon, num_states, num_actions, num_states)
    for law in (mdp.transition, mdp.initial, problem.baseline):
        np.testing.assert_allclose(law.sum(-1), 1.0, atol=1e-12)
        assert (law >= 0).all()
    assert mdp.reward.min() >= 0 and mdp.reward.max() <= 1
    optimum, baseline = values_of(problem)
    assert optimum > baseline
    assert problem.name == name
    assert mdp.initial[0] == 1


def test_only_some_problems_are_stationary():
    stationary = {name for name in suite.PROBLEMS if suite.load(name).stationary}
    assert stationary == {"cliff3", "riverswim", "inventory", "factored"}


def test_rewards_of_the_lock_do_not_tell_the_right_action():
    reward = np.asarray(suite.lock().mdp.reward)
    np.testing.assert_array_equal(reward[:, :, 1:], reward[:, :, 1:2].repeat(3, 2))


def test_three_in_four_rewards_of_the_sparse_problem_are_zero():
    dense = suite.load("dirichlet", seed=3, horizon=40).mdp
    sparse = suite.load("dirichlet_sparse", seed=3, horizon=40).mdp
    np.testing.assert_array_equal(dense.transition, sparse.transition)
    kept = np.asarray(sparse.reward) > 0
    assert abs(kept.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / kept.size)
    np.testing.assert_array_equal(sparse.reward[kept], dense.reward[kept])


def test_boltzmann_goes_from_uniform_to_optimal():
    mdp = suite.load("dirichlet").mdp
    values = [float(dp.value(mdp, baselines.boltzmann(mdp, eta))) for eta in (0, 1, 10, 1e4)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(2.3574473351, abs=1e-9)
    np.testing.assert_allclose(baselines.boltzmann(mdp, 0.0), 1 / 5)


def test_second_best_is_second_and_takes_the_higher_of_two_tied_actions():
    mdp = suite.load("dirichlet").mdp
    _, q, _ = dp.optimal(mdp)
    chosen = np.take_along_axis(
        np.asarray(q), np.asarray(baselines.second_best(mdp)).argmax(-1)[..., None], -1
    )
    np.testing.assert_array_equal(chosen[..., 0], np.sort(q, -1)[..., -2])
    tied = suite.load("bandit2").mdp  # step 1: all actions the same
    np.testing.assert_array_equal(baselines.second_best(tied)[1].argmax(-1), 1)
    alone = mdp.replace(transition=mdp.transition[:, :, :1], reward=mdp.reward[:, :, :1])
    np.testing.assert_array_equal(baselines.second_best(alone), 1.0)


def test_a_baseline_may_be_a_table():
    problem = suite.load("cliff3", baseline=[1, 0, 2])
    np.testing.assert_array_equal(problem.baseline.argmax(-1), [[1, 0, 2]] * 5)


def test_inventory_sells_no_more_than_it_has():
    mdp = suite.inventory().mdp
    np.testing.assert_allclose(mdp.transition[0, 0, 0], np.eye(6)[0])
    # Empty stock, order of 2: demand 0, 1, or 2 and more.
    np.testing.assert_allclose(mdp.transition[0, 0, 2], [0.5, 0.2, 0.3, 0, 0, 0], atol=1e-15)
    revenue = (0.2 * 1 + 0.5 * 2) * 8 / 100 / (0.08 * 1.65)
    np.testing.assert_allclose(mdp.reward[0, 0, 2], (revenue - (4 + 4 + 2) / 19 + 1) / 2)
    # An order beyond what fits is cut.
    np.testing.assert_array_equal(mdp.transition[0, 3, 2], mdp.transition[0, 3, 5])
    assert mdp.reward[0, 3, 2] == mdp.reward[0, 3, 5]


@pytest.mark.parametrize("make", ["inventory_with_budget", "factored_with_budget"])
def test_a_budget_is_kept_and_spent(make):
    problem = getattr(constrained_lib, make)()
    value, policy = solve(problem)
    mdp = problem.mdp
    assert abs(dp.value(mdp, policy) - value) <= 1e-9
    spent = (dp.occupancy(mdp, policy) * problem.cost).sum()
    assert spent == pytest.approx(problem.budget, abs=1e-9)
    free, _ = solve(ConstrainedProblem(mdp, problem.cost, np.inf))
    assert free == pytest.approx(float(mdp.initial @ dp.optimal(mdp)[0][0]), abs=1e-9)
    assert value < free


def test_the_ring_with_a_budget_has_its_closed_form_values():
    problem = constrained_lib.factored_with_budget()
    assert solve(problem)[0] == pytest.approx(2.0, abs=1e-9)
    fifth = ConstrainedProblem(problem.mdp, problem.cost, problem.budget / 5)
    assert solve(fifth)[0] == pytest.approx(0.4, abs=1e-9)


def test_a_value_constraint_is_a_budget_for_what_is_missed():
    problem = suite.load("trap2")
    constrained = constrained_lib.from_value_constraint(problem.mdp, 0.5)
    value, policy = solve(constrained)
    assert value == pytest.approx(0.96, abs=1e-9)
    cost = (dp.occupancy(problem.mdp, policy) * constrained.cost).sum()
    assert cost == pytest.approx(2 - 0.96, abs=1e-9)
    with pytest.raises(ProblemError, match=r"budget is 1\.03: no policy costs so little"):
        solve(constrained_lib.from_value_constraint(problem.mdp, 0.97))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cliff"}, r"env 'cliff' is unknown; valid: cliff3, bandit2, lock, trap2, river"),
        ({"name": "cliff3", "horizon": 3}, "env cliff3 has no parameter 'horizon'; valid: none"),
        ({"name": "riverswim", "alpha": 1}, "riverswim has no parameter 'alpha'; valid: num_state"),
        ({"name": "riverswim", "num_states": 1}, "num_states is 1: must be 2 or more"),
        ({"name": "riverswim", "horizon": 0}, "H is 0 by H: must be a whole number, 1 or more"),
        ({"name": "riverswim", "left": 1.5}, r"R is 1\.5 at \(0,0\), outside \[0, 1\]"),
        ({"name": "dirichlet", "alpha": 0.0}, "alpha is 0: must be positive"),
        ({"name": "dirichlet", "seed": -1}, "seed is -1: must be 0 or more"),
        ({"name": "dirichlet", "baseline": "rank3"}, "'rank3' is unknown; valid: boltzmann, rank2"),
        ({"name": "dirichlet", "eta": -1.0}, "eta is -1: must be finite, 0 or more"),
        ({"name": "cliff3", "baseline": [0, 3, 0]}, "baseline holds action 3 at 1: must be in 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(arguments, message):
    with pytest.raises(ProblemError, match=message):
        suite.load(**arguments)
