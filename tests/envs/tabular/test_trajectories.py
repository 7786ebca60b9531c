import jax
import numpy as np
import pytest

from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular import suite
from ai_econ_jax.envs.tabular.problem import ProblemError
from ai_econ_jax.envs.tabular.trajectories import (
    Trajectories,
    count_transitions,
    generate,
    load_trajectories,
    save_trajectories,
)

MDP = suite.cliff3().mdp
UNIFORM = np.full((5, 3, 3), 1 / 3, np.float32)


@pytest.fixture(scope="module")
def data():
    return generate(jax.random.key(0), MDP, UNIFORM, 20_000)


def test_states_and_actions_follow_their_laws(data):
    counts = count_transitions(data, 3, 3)
    assert counts.shape == (5, 3, 3, 3) and counts.sum() == 5 * 20_000
    visits = counts.sum(-1)
    expected = np.asarray(dp.occupancy(MDP, UNIFORM)) * 20_000
    assert (np.abs(visits - expected) <= 5 * np.sqrt(expected) + 1e-6).all()
    law = np.asarray(MDP.transition)
    deviation = np.abs(counts - visits[..., None] * law)
    assert (deviation <= 5 * np.sqrt(visits[..., None] * law) + 1e-6).all()


def test_counts_equal_a_loop(data):
    few = Trajectories(data.states[:50], data.actions[:50])
    counts = np.zeros((5, 3, 3, 3))
    for states, actions in zip(few.states, few.actions, strict=True):
        for h in range(5):
            counts[h, states[h], actions[h], states[h + 1]] += 1
    np.testing.assert_array_equal(count_transitions(few, 3, 3), counts)


def test_the_same_key_draws_the_same_data(data):
    again = generate(jax.random.key(0), MDP, UNIFORM, 20_000)
    np.testing.assert_array_equal(again.states, data.states)
    assert (generate(jax.random.key(1), MDP, UNIFORM, 20_000).states != data.states).any()


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_files_come_back(tmp_path, data, suffix):
    few = Trajectories(data.states[:7], data.actions[:7])
    path = tmp_path / f"data{suffix}"
    save_trajectories(path, few)
    loaded = load_trajectories(path, MDP)
    np.testing.assert_array_equal(loaded.states, few.states)
    np.testing.assert_array_equal(loaded.actions, few.actions)
    assert loaded.states.dtype == np.int32


GOOD = dict(states=np.zeros((4, 6), int), actions=np.zeros((4, 5), int))


def altered(index, value, like):
    array = like.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(states=altered((2, 5), 3, GOOD["states"])),
            r"states holds state 3 at \(2,5\): must be in 0 \.\. 2",
        ),
        (
            dict(actions=altered((1, 0), -1, GOOD["actions"])),
            r"actions holds action -1 at \(1,0\): must be in 0 \.\. 2",
        ),
        (dict(states=GOOD["actions"]), r"states has shape \(4, 5\): must be \[n, 6\], H being 5"),
        (dict(actions=GOOD["states"]), r"actions has shape \(4, 6\): must be \[n, 5\], H being 5"),
        (dict(actions=GOOD["actions"][:3]), "states hold 4 trajectories, actions 3"),
        (dict(states=GOOD["states"] * 1.0), "states has dtype float64: must be integers"),
        (dict(states=np.zeros(6, int)), r"states has shape \(6,\): must be"),
    ],
)
def test_data_that_do_not_fit_are_refused(tmp_path, changes, message):
    path = tmp_path / "data.npz"
    np.savez(path, **(GOOD | changes))
    with pytest.raises(ProblemError, match=message) as caught:
        load_trajectories(path, MDP)
    assert str(caught.value).startswith(f"{path}: ")


def test_files_without_the_arrays_are_refused(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, states=GOOD["states"])
    with pytest.raises(ProblemError, match="actions is missing"):
        load_trajectories(path, MDP)
    np.savez(path, **GOOD, rewards=1)
    with pytest.raises(ProblemError, match="key 'rewards' is unknown; valid: states, actions"):
        load_trajectories(path, MDP)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_trajectories(tmp_path / "none.npz", MDP)
    with pytest.raises(ProblemError, match="num_episodes is 0: must be 1 or more"):
        generate(jax.random.key(0), MDP, UNIFORM, 0)
