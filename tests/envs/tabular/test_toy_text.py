import sys

import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular.problem import ProblemError
from ai_econ_jax.envs.tabular.toy_text import arrays_of_table, load_gym

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra [gym]")

# As the releases of gymnasium differ, whatever version of these is registered is taken.
pytestmark = [
    pytest.mark.usefixtures("x64"),
    pytest.mark.filterwarnings("ignore:.*is not registered.*is taken", "ignore:.*out of date"),
]

SLIPPERY = "FrozenLake-v1", {}
STRAIGHT = "FrozenLake-v1", {"is_slippery": False}
LARGE = "FrozenLake-v1", {"map_name": "8x8"}


@pytest.mark.parametrize(
    ("env", "horizon", "value"),
    [
        (SLIPPERY, 20, 0.199133),
        (SLIPPERY, 50, 0.545909),
        (SLIPPERY, 100, 0.744190),
        (SLIPPERY, 2000, 0.823529),
        (STRAIGHT, 5, 0.0),
        (STRAIGHT, 6, 1.0),
        (LARGE, 100, 0.640719),
        (LARGE, 200, 0.913220),
        (("CliffWalking-v1", {}), 13, -13.0),
        (("CliffWalking-v1", {}), 100, -13.0),
        (("Taxi-v4", {}), 20, 7.93),
    ],
)
def test_optimal_values_are_the_known_ones(env, horizon, value):
    name, options = env
    problem = load_gym(name, horizon, **options)
    values, _, _ = dp.optimal(problem.mdp)
    found = problem.value_in_original_units(problem.mdp.initial @ values[0])
    assert abs(float(found) - value) <= 1e-6
    assert problem.stationary


def test_taxi_over_200_steps_is_worth_what_it_is_over_20():
    # Step by step, for [200, 500, 6, 500] would fill 2 GB.
    short = load_gym("Taxi-v4", 1)
    value = jnp.zeros(500)
    for _ in range(200):
        value = dp.backup(short.mdp.transition[0], short.mdp.reward[0], value).max(-1)
    low, high = short.reward_min, short.reward_max
    assert float(short.mdp.initial @ value) * (high - low) + 200 * low == pytest.approx(7.93)


@pytest.mark.parametrize(("options", "duplicates"), [({}, 4), ({"map_name": "8x8"}, 6)])
def test_duplicate_next_states_add_up(options, duplicates):
    table = gymnasium.make("FrozenLake-v1", **options).unwrapped.P
    # Where the episode goes on; in holes and at the goal every entry is the state itself.
    doubled = {
        (state, action)
        for state, actions in table.items()
        for action, outcomes in actions.items()
        if len({following for _, following, _, _ in outcomes}) < len(outcomes)
    }
    assert len(doubled) == duplicates
    mdp = load_gym("FrozenLake-v1", 2, **options).mdp
    np.testing.assert_allclose(mdp.transition.sum(-1), 1.0, atol=1e-12)
    for state, action in doubled:
        for following in range(len(table)):
            expected = sum(p for p, s, _, _ in table[state][action] if s == following)
            np.testing.assert_allclose(mdp.transition[0, state, action, following], expected)


def test_values_agree_with_a_simulation_by_gymnasium():
    horizon = 30
    problem = load_gym("FrozenLake-v1", horizon)
    _, _, policy = dp.optimal(problem.mdp)
    actions = np.asarray(policy).argmax(-1)
    environment = gymnasium.make("FrozenLake-v1").unwrapped
    returns = []
    environment.reset(seed=0)
    for _ in range(2000):
        state, _ = environment.reset()
        total = 0.0
        for step in range(horizon):
            state, reward, terminated, _, _ = environment.step(int(actions[step, state]))
            total += reward
            if terminated:
                break
        returns.append(total)
    value = float(problem.value_in_original_units(dp.value(problem.mdp, policy)))
    assert abs(np.mean(returns) - value) < 4 * np.std(returns) / np.sqrt(len(returns))


def test_a_version_that_is_gone_gives_way_to_the_newest():
    with pytest.warns(UserWarning, match=r"Taxi-v3 is not registered, Taxi-v\d is taken"):
        assert load_gym("Taxi-v3", 1).name.startswith("Taxi-v")


def test_a_state_that_sometimes_ends_is_refused():
    table = {
        0: {0: [(0.5, 1, 1.0, True), (0.5, 0, 0.0, False)], 1: [(1.0, 1, 0.0, False)]},
        1: {0: [(1.0, 0, 0.0, False)], 1: [(1.0, 0, 0.0, False)]},
    }
    with pytest.raises(ProblemError, match="state 1 is entered both with and without the episode"):
        arrays_of_table(table, np.array([1.0, 0.0]))
    table[0][1] = [(1.0, 1, 0.0, True)]
    transition, reward = arrays_of_table(table, np.array([1.0, 0.0]))
    np.testing.assert_array_equal(transition, [[[0.5, 0.5], [0, 1]], [[0, 1], [0, 1]]])
    np.testing.assert_array_equal(reward, [[0.5, 0], [0, 0]])
    with pytest.raises(ProblemError, match="state 1 is entered both"):
        arrays_of_table(table, np.array([0.5, 0.5]))


@pytest.mark.parametrize(
    ("env_id", "options", "message"),
    [
        ("CartPole-v1", {}, "gym env 'CartPole-v1' is not a toy-text table: FrozenLake, CliffWalk"),
        ("Blackjack-v1", {}, "'Blackjack-v1' is not a toy-text table"),
        ("FrozenPond-v1", {}, "gym env 'FrozenPond-v1' cannot be made: "),
        ("FrozenLake-v1", {"slip": 1}, "'FrozenLake-v1' cannot be made with {'slip': 1}"),
    ],
)
def test_what_is_no_table_is_refused(env_id, options, message):
    with pytest.raises(ProblemError, match=message) as caught:
        load_gym(env_id, 5, **options)
    assert "\n" not in str(caught.value)


def test_without_gymnasium_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ProblemError, match=r"pip install 'ai-econ-jax\[gym\]'"):
        load_gym("FrozenLake-v1", 5)
