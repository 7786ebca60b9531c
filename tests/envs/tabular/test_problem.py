import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular.problem import ProblemError, make_problem, policy_from_table

UNIFORM = np.full((3, 2, 3), 1 / 3)
REWARD = np.linspace(0, 1, 6).reshape(3, 2)


def altered(array, index, value):
    array = np.array(array, float)
    array[index] = value
    return array


BAD = {
    "P of the wrong rank": (dict(transition=UNIFORM[0]), r"P has shape \(2, 3\): must be \[S, A"),
    "P not square": (dict(transition=np.ones((3, 2, 4)) / 4), r"P has shape \(3, 2, 4\): must be"),
    "no actions": (dict(transition=np.ones((3, 0, 3))), r"P has shape \(3, 0, 3\): must be"),
    "P not summing to 1": (
        dict(transition=altered(np.stack([UNIFORM] * 4), (0, 2, 1, 0), 1 / 3 - 0.03), horizon=None),
        r"P sums to 0\.97 at \(0,2,1\): must sum to 1",
    ),
    "P negative": (
        dict(transition=altered(UNIFORM, (1, 0, 2), -0.5)),
        r"P is -0\.5 at \(1,0,2\): must be 0 or more",
    ),
    "P NaN": (
        dict(transition=altered(UNIFORM, (2, 1, 0), np.nan)),
        r"P is nan at \(2,1,0\): must be finite",
    ),
    "R above 1": (
        dict(reward=altered(REWARD, (2, 1), 3.0)),
        r"R is 3 at \(2,1\), outside \[0, 1\]: give r_min and r_max, or --rescale",
    ),
    "R below r_min": (
        dict(reward=altered(REWARD, (0, 0), -2.0), reward_min=-1.0, reward_max=4.0),
        r"R is -2 at \(0,0\), outside \[-1, 4\]",
    ),
    "R NaN": (dict(reward=altered(REWARD, (1, 1), np.nan)), r"R is nan at \(1,1\): must be finite"),
    "r_min above r_max": (dict(reward_min=2.0), "r_min is 2 and r_max is 1: must be finite, r_min"),
    "R of another shape": (
        dict(reward=np.zeros((3, 3))),
        r"R has shape \(3, 3\): P has 3 states and 2 actions, so it must be \[3, 2\] or",
    ),
    "R without numbers": (dict(reward=[["a", "b"]] * 3), "R has dtype <U1: must be numbers"),
    "R ragged": (dict(reward=[[0, 1], [0], [1, 0]]), "R is not a rectangular array of numbers"),
    "H missing": (dict(horizon=None), "H is missing: neither P nor R has a step axis"),
    "H of 0": (dict(horizon=0), "H is 0 by H: must be a whole number, 1 or more"),
    "H broken": (dict(horizon=2.5), r"H is 2\.5 by H: must be a whole number, 1 or more"),
    "H contradicted": (
        dict(transition=np.stack([UNIFORM] * 4)),
        "H is 5 by H, 4 by P: must agree",
    ),
    "H contradicted by R": (dict(reward=np.stack([REWARD] * 4)), "H is 5 by H, 4 by R: must agree"),
    "mu of the wrong length": (dict(initial=[0.5, 0.5]), r"mu has shape \(2,\): must be \[3\]"),
    "mu not a law": (dict(initial=[0.5, 0.5, 0.5]), r"mu sums to 1\.5: must sum to 1"),
    "mu negative": (dict(initial=[1.5, -0.5, 0.0]), r"mu is -0\.5 at 1: must be 0 or more"),
    "baseline of the wrong shape": (
        dict(baseline=[0, 0]),
        r"baseline has shape \(2,\) of int64: must be integer actions \[3\] or \[5, 3\], or prob",
    ),
    "baseline action out of range": (
        dict(baseline=[[0, 0, 0]] * 4 + [[0, 2, 0]]),
        r"baseline holds action 2 at \(4,1\): must be in 0 \.\. 1",
    ),
    "baseline negative action": (dict(baseline=[0, -1, 0]), "baseline holds action -1 at 1"),
    "baseline not a law": (
        dict(baseline=[[0.5, 0.5], [1.0, 0.0], [0.9, 0.0]]),
        r"baseline sums to 0\.9 at 2: must sum to 1",
    ),
    "baseline of fractional actions": (dict(baseline=[0.0, 0.5, 1.0]), r"of float64: must be int"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case):
    changes, message = BAD[case]
    arguments = dict(transition=UNIFORM, reward=REWARD, horizon=5) | changes
    with pytest.raises(ProblemError, match=message) as caught:
        make_problem("bad", **arguments)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_arrays_without_a_step_axis_hold_at_every_step():
    problem = make_problem("p", UNIFORM, REWARD, horizon=5)
    assert problem.mdp.transition.shape == (5, 3, 2, 3)
    assert problem.mdp.reward.shape == (5, 3, 2)
    np.testing.assert_array_equal(problem.mdp.initial, [1, 0, 0])
    assert problem.stationary and problem.baseline is None
    by_step = make_problem("p", np.stack([UNIFORM] * 4), REWARD)
    assert by_step.mdp.horizon == 4
    assert make_problem("p", UNIFORM, np.stack([REWARD] * 3)).mdp.horizon == 3


def test_rewards_by_next_state_are_averaged():
    rng = np.random.default_rng(0)
    laws = rng.dirichlet(np.ones(3), (4, 3, 2))
    by_next = rng.random((4, 3, 2, 3))
    problem = make_problem("p", laws, by_next)
    np.testing.assert_allclose(problem.mdp.reward, (laws * by_next).sum(-1), rtol=1e-6)
    same_at_every_step = make_problem("p", laws, by_next[0])
    expected = (laws * by_next[0]).sum(-1)
    np.testing.assert_allclose(same_at_every_step.mdp.reward, expected, rtol=1e-6)


def test_where_both_fit_rewards_are_by_step():
    rng = np.random.default_rng(1)
    laws, rewards = rng.dirichlet(np.ones(3), (3, 3, 3)), rng.random((3, 3, 3))
    np.testing.assert_allclose(make_problem("p", laws, rewards).mdp.reward, rewards, rtol=1e-6)
    by_next = make_problem("p", laws[0], rewards, horizon=5).mdp.reward
    np.testing.assert_allclose(by_next[0], (laws[0] * rewards).sum(-1), rtol=1e-6)


@given(
    low=st.floats(-50, 0), high=st.floats(0.5, 50), seed=st.integers(0, 99), rescale=st.booleans()
)
def test_values_come_back_in_original_units(low, high, seed, rescale):
    rng = np.random.default_rng(seed)
    laws = rng.dirichlet(np.ones(3), (4, 3, 2))
    rewards = rng.uniform(low, high, (4, 3, 2))
    scale = dict(rescale=True) if rescale else dict(reward_min=low, reward_max=high)
    with jax.enable_x64(True):
        problem = make_problem("p", laws, rewards, **scale)
        policy = policy_from_table("policy", rng.dirichlet(np.ones(2), (4, 3)), (4, 3, 2))
        original = problem.mdp.replace(reward=jnp.asarray(rewards))
        value = problem.value_in_original_units(dp.value(problem.mdp, policy))
        np.testing.assert_allclose(value, dp.value(original, policy), atol=1e-10)
    if rescale:
        assert problem.reward_min == min(0, rewards.min())
        assert problem.reward_max == max(0, rewards.max())


@pytest.mark.parametrize(
    "table", [[0, 1, 1], [[0, 1, 1]] * 4, [[1.0, 0], [0, 1], [0, 1]], np.eye(2)[[[0, 1, 1]] * 4]]
)
def test_four_ways_to_write_a_policy(table):
    policy = policy_from_table("baseline", table, (4, 3, 2))
    np.testing.assert_array_equal(policy, np.eye(2)[[[0, 1, 1]] * 4])


def test_laws_rounded_to_floats_are_accepted():
    laws = np.random.default_rng(0).dirichlet(np.full(50, 0.1), (50, 4)).astype(np.float32)
    make_problem("p", laws, np.zeros((50, 4)), horizon=2)
