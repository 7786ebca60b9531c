"""Selection: the closed forms, on numbers that can be checked by hand, and on random ones."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.stepmix import select
from ai_econ_jax.agents.stepmix.select import Limits
from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular.mdp import TabularMDP

pytestmark = pytest.mark.usefixtures("x64")

GAMMA = 0.5


def choose(algorithm, lowers, slack=0.0, episodes=1):
    """The choice of one seed; ``lowers`` from rung 0 up, or those that the algorithm reads."""
    limits = Limits(
        gamma=jnp.asarray(GAMMA),
        baseline_value=jnp.asarray(0.7),
        slack=jnp.asarray([slack]),
        episodes=jnp.asarray(float(episodes)),
    )
    horizon = 3
    choice = algorithm(jnp.asarray(lowers, float)[:, None], limits, horizon)
    return type(choice)(*(np.asarray(field)[..., 0] for field in choice))


def test_stepmix_mixes_at_the_one_step_below_the_smallest_safe_rung():
    choice = choose(select.stepmix, [0.1, 0.2, 0.6, 0.8])
    rho = (0.6 - 0.5) / (0.6 - 0.2)
    np.testing.assert_allclose(choice.baseline_weight, [1, 1 - rho, 0])
    assert choice.level == pytest.approx(2 - rho)
    assert choice.guaranteed == GAMMA
    assert choice.share == 1


def test_stepmix_takes_the_smallest_safe_rung_also_where_bounds_are_not_monotone():
    choice = choose(select.stepmix, [0.1, 0.6, 0.2, 0.8])
    rho = 0.1 / 0.5
    np.testing.assert_allclose(choice.baseline_weight, [1 - rho, 0, 0])


def test_stepmix_is_the_baseline_where_no_rung_is_known_to_be_safe():
    choice = choose(select.stepmix, [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(choice.baseline_weight, 1)
    assert choice.level == 3


def test_stepmix_is_optimistic_where_that_is_known_to_be_safe():
    choice = choose(select.stepmix, [0.55, 0.2, 0.6, 0.8])
    np.testing.assert_array_equal(choice.baseline_weight, 0)
    assert (choice.level, choice.guaranteed) == (0, 0.55)


def test_a_bound_that_is_gamma_exactly_is_safe_and_leaves_nothing_to_mix():
    choice = choose(select.stepmix, [0.1, 0.2, 0.5, 0.8])
    np.testing.assert_array_equal(choice.baseline_weight, [1, 1, 0])


@hypothesis.given(hnp.arrays(float, 6, elements=st.floats(0, 1)), st.floats(0.01, 0.99))
def test_the_mixture_spends_its_bounds_down_to_gamma_and_no_further(lowers, gamma):
    limits = Limits(
        gamma=jnp.asarray(gamma),
        baseline_value=jnp.asarray(1.0),
        slack=jnp.zeros(1),
        episodes=jnp.ones(()),
    )
    choice = select.stepmix(jnp.asarray(lowers)[:, None], limits, 5)
    weight = np.asarray(choice.baseline_weight)[:, 0]
    assert np.isfinite(weight).all()
    assert ((weight >= 0) & (weight <= 1)).all()
    assert (np.diff(weight) <= 0).all()  # baseline first
    assert ((weight > 0) & (weight < 1)).sum() <= 1
    if (lowers >= gamma).any() and lowers[0] < gamma:
        rung = int(np.argmax(lowers >= gamma))
        below = 1 - weight[rung - 1]  # share of the rung below
        assert (1 - below) * lowers[rung] + below * lowers[rung - 1] == pytest.approx(gamma)


def random_mdp(seed, horizon=4, num_states=3, num_actions=3):
    rng = np.random.default_rng(seed)
    mdp = TabularMDP(
        transition=jnp.asarray(
            rng.dirichlet(np.ones(num_states), (horizon, num_states, num_actions))
        ),
        reward=jnp.asarray(rng.random((horizon, num_states, num_actions))),
        initial=jnp.asarray(rng.dirichlet(np.ones(num_states))),
    )
    one, other = rng.dirichlet(np.ones(num_actions), (2, horizon, num_states))
    return mdp, one, other


def mixed_value(mdp, baseline, optimistic, weight):
    weight = np.asarray(weight)[:, None, None]
    return float(dp.value(mdp, jnp.asarray(weight * baseline + (1 - weight) * optimistic)))


def test_the_value_is_affine_in_a_mixture_at_one_step_and_not_at_every_step():
    """Why StepMix is safe, and what `allstep` shows (spec 2.5, bar 3)."""
    mdp, baseline, optimistic = random_mdp(seed=1)
    rho = 0.37
    for step in range(4):
        weight = (np.arange(4) < step).astype(float)
        rung = mixed_value(mdp, baseline, optimistic, weight + (np.arange(4) == step))
        below = mixed_value(mdp, baseline, optimistic, weight)
        weight[step] = 1 - rho
        value = mixed_value(mdp, baseline, optimistic, weight)
        assert value == pytest.approx((1 - rho) * rung + rho * below, abs=1e-12)
    ends = [mixed_value(mdp, baseline, optimistic, np.full(4, w)) for w in (1.0, 0.0)]
    every = mixed_value(mdp, baseline, optimistic, np.full(4, 1 - rho))
    assert abs(every - (1 - rho) * ends[0] - rho * ends[1]) > 1e-3


@pytest.mark.parametrize(
    ("lowers", "share", "guaranteed"),
    [
        ((0.6, 0.1), 1.0, 0.6),  # optimism is safe, whatever the baseline is known to be worth
        ((0.2, 0.6), 0.25, GAMMA),
        ((0.2, 0.4), 0.0, GAMMA),  # nothing is known to be safe: the baseline, by assumption
    ],
)
def test_epsmix(lowers, share, guaranteed):
    choice = choose(select.epsmix, lowers)
    assert choice.share == pytest.approx(share)
    assert choice.guaranteed == guaranteed
    assert choice.level == pytest.approx(3 * (1 - share))
    np.testing.assert_array_equal(choice.baseline_weight, 0)
    every = choose(select.allstep, lowers)
    np.testing.assert_allclose(every.baseline_weight, 1 - share)
    assert (every.share, every.guaranteed) == (1, -np.inf)


def test_switch_does_not_mix():
    assert choose(select.switch, [0.49]).share == 0
    assert choose(select.switch, [0.51]).share == 1
    assert choose(select.switch, [0.51]).guaranteed == pytest.approx(0.51)


@pytest.mark.parametrize(
    ("slack", "episodes", "share"), [(0.3, 1, 1), (0.29, 1, 0), (0.3, 2, 0), (0.6, 2, 1)]
)
def test_budget_plays_optimism_for_as_many_episodes_as_its_savings_can_bear(slack, episodes, share):
    choice = choose(select.budget, [0.2], slack, episodes)  # each costs 0.3 below gamma
    assert choice.share == share


def test_every_algorithm_is_described_to_users():
    from ai_econ_jax.agents.stepmix.config import ALGORITHMS

    assert set(select.ALGORITHMS) <= set(ALGORITHMS)
