import json
import pickle

import jax
import numpy as np
import pytest

from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular import suite
from ai_econ_jax.envs.tabular.files import load_problem, save_problem
from ai_econ_jax.envs.tabular.problem import ProblemError

P = np.full((3, 2, 3), 1 / 3)
R = np.linspace(0, 1, 6).reshape(3, 2)


def write(path, **entries):
    if path.suffix == ".npz":
        np.savez(path, **entries)
    else:
        path.write_text(json.dumps({k: np.asarray(v).tolist() for k, v in entries.items()}))
    return path


def assert_same(problem, other):
    jax.tree.map(np.testing.assert_array_equal, problem.mdp, other.mdp)
    np.testing.assert_array_equal(problem.baseline, other.baseline)
    for field in ("name", "reward_min", "reward_max"):
        assert getattr(problem, field) == getattr(other, field)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", ["cliff3", "dirichlet_sparse", "inventory"])
def test_what_is_saved_comes_back_bit_by_bit(tmp_path, suffix, x64, name):
    with jax.enable_x64(x64):
        problem = suite.load(name, baseline="boltzmann")
        path = tmp_path / f"problem{suffix}"
        save_problem(path, problem)
        loaded = load_problem(path)
        assert_same(problem, loaded)
        again = tmp_path / f"again{suffix}"
        save_problem(again, loaded)
        if suffix == ".json":
            assert again.read_bytes() == path.read_bytes()
        assert loaded.mdp.reward.dtype == (np.float64 if x64 else np.float32)


def test_a_problem_without_a_baseline_comes_back_without(tmp_path):
    problem = suite.dirichlet()
    save_problem(tmp_path / "p.npz", problem)
    assert load_problem(tmp_path / "p.npz").baseline is None


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_every_key_is_read(tmp_path, suffix):
    path = write(
        tmp_path / f"mine{suffix}",
        P=P,
        R=10 * R - 4,
        mu=[0.25, 0.25, 0.5],
        H=4,
        baseline=[1, 0, 1],
        r_min=-4.0,
        r_max=6.0,
        name="ward",
    )
    problem = load_problem(path)
    assert problem.name == "ward" and problem.mdp.horizon == 4
    np.testing.assert_allclose(problem.mdp.reward[0], R, atol=1e-6)
    np.testing.assert_allclose(problem.mdp.initial, [0.25, 0.25, 0.5])
    np.testing.assert_array_equal(problem.baseline.argmax(-1), [[1, 0, 1]] * 4)
    value = dp.value(problem.mdp, problem.baseline)
    assert problem.value_in_original_units(value) == pytest.approx(10 * float(value) - 16, abs=1e-5)


def test_only_p_and_r_are_needed(tmp_path):
    problem = load_problem(write(tmp_path / "short.npz", P=P, R=np.stack([R] * 3)))
    assert problem.name == "short" and problem.mdp.horizon == 3
    assert load_problem(write(tmp_path / "p.npz", P=P, R=R), horizon=7).mdp.horizon == 7


def test_rescaling_takes_the_range_of_the_rewards(tmp_path):
    path = write(tmp_path / "p.npz", P=P, R=20 * R - 5, H=2)
    problem = load_problem(path, rescale=True)
    assert (problem.reward_min, problem.reward_max) == (-5, 15)
    with pytest.raises(ProblemError, match=r"R is -5 at \(0,0\), outside \[0, 1\]: .*--rescale"):
        load_problem(path)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize(
    ("entries", "arguments", "message"),
    [
        (dict(R=R), {}, "P is missing; the file has R"),
        (dict(P=P), {}, "R is missing; the file has P"),
        ({}, {}, "P is missing; the file has nothing"),
        (dict(P=P, R=R), {}, "H is missing"),
        (dict(P=P, R=R, H=3), {"horizon": 4}, "H is 3 by the file, 4 was asked for"),
        (dict(P=P, R=R, H=[3]), {}, "H is .*: must be a number"),
        (dict(P=P, R=R, H=3, gama=1), {}, "key 'gama' is unknown; valid: P, R, mu, H, baseline"),
        (dict(P=P * 0.97, R=R, H=3), {}, r"P sums to 0\.97 at \(0,0\)"),
        (dict(P=P, R=R, H=3, r_min=0.0), {"rescale": True}, "nothing for --rescale to do"),
        (dict(P=P, R=R, H=3, r_max=-1.0, normalized=True), {}, "r_min is 0 and r_max is -1"),
    ],
)
def test_bad_files_are_refused_with_their_path(tmp_path, suffix, entries, arguments, message):
    path = write(tmp_path / f"bad{suffix}", **entries)
    with pytest.raises(ProblemError, match=message) as caught:
        load_problem(path, **arguments)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('the file ran')",)


def test_pickles_are_refused_and_never_run(tmp_path):
    inside = tmp_path / "inside.npz"
    np.savez(inside, P=np.array([Bomb()], object), R=R)
    with pytest.raises(ProblemError, match=r"field P cannot be read .it holds pickled objects"):
        load_problem(inside)
    whole = tmp_path / "whole.npz"
    whole.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ProblemError, match=r"\.npz: not an \.npz archive"):
        load_problem(whole)


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz: no such file"):
        load_problem(tmp_path / "none.npz")
    for name, content, message in (
        ("a.csv", b"1,2", r"must end in \.npz or \.json"),
        ("b.npz", b"", r"\.npz: not an \.npz archive"),
        ("c.json", b"{", "is not JSON"),
        ("d.json", b"[1]", "holds a list, must be an object of lists"),
        ("f.json", b"\xff\xfe", "is not JSON"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ProblemError, match=message):
            load_problem(path)
    bare = tmp_path / "e.npz"
    with bare.open("wb") as file:
        np.save(file, R)
    with pytest.raises(ProblemError, match="holds one bare array"):
        load_problem(bare)
    with pytest.raises(ProblemError, match=r"must end in \.npz or \.json"):
        save_problem(tmp_path / "p.csv", suite.cliff3())


def test_a_damaged_archive_is_refused(tmp_path):
    path = write(tmp_path / "p.npz", P=P, R=R, H=3)
    content = bytearray(path.read_bytes())
    middle = content.index(P.tobytes()[:16]) + 40
    content[middle] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ProblemError, match="field P cannot be read"):
        load_problem(path)
