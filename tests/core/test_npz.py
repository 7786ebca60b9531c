"""Files of arrays: what is written comes back, and no damaged byte gives other arrays."""

import pickle
import time

import numpy as np
import pytest

from ai_econ_jax import npz

ARRAYS = {
    "coin": np.linspace(0, 1, 5, dtype=np.float32),
    "name": np.array("R1"),
    "order": np.arange(6, dtype=np.int16).reshape(2, 3),
}


def assert_same(arrays):
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)


@pytest.fixture
def path(tmp_path):
    npz.write(tmp_path / "arrays.npz", ARRAYS)
    return tmp_path / "arrays.npz"


def test_arrays_come_back(path):
    assert_same(npz.read(path))


def test_the_same_arrays_make_the_same_bytes(path, monkeypatch):
    written = path.read_bytes()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100_000)
    npz.write(path, ARRAYS)
    assert path.read_bytes() == written


def assert_these_arrays_or_one_line(path, content):
    path.write_bytes(content)
    try:
        arrays = npz.read(path)
    except npz.NpzError as error:
        assert "\n" not in str(error)
    else:
        assert_same(arrays)


@pytest.mark.parametrize("flip", [0x01, 0x08, 0x80, 0xFF])
def test_one_damaged_byte_anywhere(path, flip):
    whole = path.read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= flip
        assert_these_arrays_or_one_line(path, bytes(content))


def test_a_file_cut_anywhere(path):
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place])
        with pytest.raises(npz.NpzError):
            npz.read(path)


def test_a_line_end_in_the_name_of_a_damaged_array(path):
    whole = path.read_bytes()
    damaged = whole[:40].replace(b"coin", b"co\nn") + whole[40:].replace(b"coin", b"co\nn")
    damaged = damaged.replace(ARRAYS["coin"].tobytes()[:8], b"\0" * 8)
    assert_these_arrays_or_one_line(path, damaged[: len(damaged) // 2] + damaged[-200:])


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", pickle.dumps({"coin": 1})])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(npz.NpzError, match=r"^not an \.npz archive$"):
        npz.read(tmp_path / "a.npz")


def test_a_bare_array(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(npz.NpzError, match=r"holds one bare array, must be an \.npz archive"):
        npz.read(tmp_path / "a.npy")


def test_pickled_objects_are_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    np.savez(tmp_path / "a.npz", coin=np.array([Trap()], object))
    with pytest.raises(npz.NpzError, match=r"field coin cannot be read .it holds pickled objects"):
        npz.read(tmp_path / "a.npz")


def test_bytes_after_an_array(tmp_path):
    import zipfile

    np.save(tmp_path / "coin.npy", np.zeros(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("coin.npy", (tmp_path / "coin.npy").read_bytes() + b"ab")
    with pytest.raises(npz.NpzError, match=r"field coin cannot be read .2 bytes after the array"):
        npz.read(tmp_path / "a.npz")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        npz.read(tmp_path / "none.npz")
