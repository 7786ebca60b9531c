import dataclasses
import pickle
import re

import numpy as np
import pytest

from ai_econ_jax.envs.gather_trade_build import episode_log
from ai_econ_jax.envs.gather_trade_build.episode_log import EpisodeLog

FIELDS = [field.name for field in dataclasses.fields(EpisodeLog)]


@pytest.fixture(scope="module")
def saved(episode, tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "episode.npz"
    episode_log.save(episode, path)
    return path


def contents(path):
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def assert_equal(a, b):
    for name in FIELDS:
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype, name
        np.testing.assert_array_equal(left, right, err_msg=name)


def assert_refused(path, *words):
    with pytest.raises(ValueError) as refusal:
        episode_log.load(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    for word in words:
        assert word in message


def test_what_is_saved_is_what_is_loaded(episode, saved):
    assert_equal(episode_log.load(saved), episode)


def test_folders_on_the_way_are_made(episode, tmp_path):
    episode_log.save(episode, tmp_path / "a" / "b" / "episode.npz")
    assert_equal(episode_log.load(tmp_path / "a" / "b" / "episode.npz"), episode)


def test_a_log_is_small(saved):
    assert saved.stat().st_size < 100_000


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path / 'no.npz'}: no such")):
        episode_log.load(tmp_path / "no.npz")


@pytest.mark.parametrize("content", [b"", b"step,coin\n1,2\n", pickle.dumps({"coin": 1})])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "episode.npz"
    path.write_bytes(content)
    assert_refused(path, "not an episode log: not an .npz archive")


def test_a_bare_array_is_refused(tmp_path):
    path = tmp_path / "array.npy"
    np.save(path, np.zeros(3))
    assert_refused(path, "not an episode log: holds one bare array, must be an .npz archive")


def test_another_kind_of_archive_is_refused(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, coin=np.zeros(3))
    assert_refused(path, "not an episode log (field format is 'None')")


def test_another_version_is_refused(saved, tmp_path):
    path = tmp_path / "future.npz"
    np.savez(path, **(contents(saved) | {"version": np.array(9, np.int32)}))
    assert_refused(path, "field version is 9, this program reads 1")


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_named(saved, tmp_path, name):
    path = tmp_path / "partial.npz"
    kept = contents(saved)
    del kept[name]
    np.savez(path, **kept)
    assert_refused(path, f"field {name} is missing")


def test_an_array_of_python_objects_is_refused_unread(saved, tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    path = tmp_path / "trap.npz"
    np.savez(path, **(contents(saved) | {"coin": np.array([Trap()], object)}))
    assert_refused(path, "field coin cannot be read")


def _set(name, index, value):
    def change(arrays):
        array = arrays[name].copy()
        array[index] = value
        return {name: array}

    return change


def _cut(**indices):
    return lambda arrays: {name: arrays[name][index] for name, index in indices.items()}


BAD = [
    (lambda a: {"coin": a["coin"].astype(float)}, "coin has type float64, must be float32"),
    (lambda a: {"worker_names": a["coin"][0]}, "worker_names has type float32, must be str"),
    (_cut(labor=np.s_[:, :3]), "labor has shape (91, 3), must be [S = 91, N = 4]"),
    (_cut(coin=np.s_[:-1]), "coin has shape (90, 4), must be [S = 91, N = 4]"),
    (_cut(location=np.s_[..., :1]), "location has shape (91, 4, 1), must be [S, N = 4, 2]"),
    (
        _cut(worker_actions=np.s_[1:], planner_actions=np.s_[1:]),
        "coin has 91 states, must have one more than the 89 steps",
    ),
    (_set("utility", (3, 1), np.nan), "utility has a value that is not finite"),
    (_set("house_owner", (5, 2, 2), 4), "house_owner has 4, must be below N = 4"),
    (_set("house_owner", (5, 2, 2), -2), "house_owner has -2, must be at least -1"),
    (_set("location", (7, 0, 1), 9), "location has 9, must be below W = 9"),
    (_set("inventory", (7, 0, 1), -1), "inventory has -1, must be at least 0"),
    (_set("order_side", (7, 0, 0, 0), 3), "order_side has 3, must be below 3"),
    (_set("rates", (7, 0), 1.5), "rates has 1.5, must be below 1.0001"),
    (_set("trade_buyer", 0, 7), "trade_buyer has 7, must be below N = 4"),
    (_set("trade_step", -1, 91), "trade_step has 91, must be below S = 91"),
    (_set("trade_step", -1, 1), "trade_step must not descend"),
    (_set("cutoffs", 3, 1.0), "must ascend strictly"),
    (lambda a: {"config": np.array("{")}, "config is not a JSON object"),
    (lambda a: {"config": np.array("[1]")}, "config is not a JSON object"),
]


@pytest.mark.parametrize(
    ("change", "message"), BAD, ids=lambda part: part[:30] if isinstance(part, str) else "change"
)
def test_a_wrong_field_is_named_with_what_is_allowed(saved, tmp_path, change, message):
    arrays = contents(saved)
    path = tmp_path / "bad.npz"
    np.savez(path, **(arrays | change(arrays)))
    assert_refused(path, "field ", message)


def test_a_log_is_checked_when_it_is_made(episode):
    with pytest.raises(ValueError, match="field coin has a value that is not finite"):
        dataclasses.replace(episode, coin=np.full_like(episode.coin, np.inf))
    with pytest.raises(ValueError, match="field coin is a list, must be a numpy array"):
        dataclasses.replace(episode, coin=[1.0])
