import datetime
import gzip
import importlib.metadata
import pathlib
import pickle

import numpy as np
import pytest

from ai_econ_jax import npz
from ai_econ_jax.envs.diffusion import silhouettes
from ai_econ_jax.envs.diffusion.silhouettes import SilhouettesError, read_pickled_array

MASKS = np.random.default_rng(0).integers(0, 256, (4, 3, 3), np.uint8)


def write(path, value, old_name=False):
    data = pickle.dumps(value, protocol=4)
    if old_name:  # as NumPy 1 wrote it: one letter less, so the length before it too
        new, old = b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"
        assert new in data
        frame = int.from_bytes(data[3:11], "little") - 1
        data = (data[:3] + frame.to_bytes(8, "little") + data[11:]).replace(new, old)
    path.write_bytes(gzip.compress(data))
    return path


@pytest.mark.parametrize("old_name", [False, True], ids=["numpy2", "numpy1"])
def test_an_array_is_read_whoever_wrote_it(tmp_path, old_name):
    path = write(tmp_path / "a.gz", MASKS, old_name)
    np.testing.assert_array_equal(read_pickled_array(path, (4, 3, 3), "uint8"), MASKS)


class Ran(Exception):
    pass


def run():
    raise Ran


class Runs:
    def __reduce__(self):
        return (run, ())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (datetime.date(2024, 1, 1), r"a.gz: pickle asks for datetime.date, which is refused"),
        (Runs(), r"pickle asks for .*run, which is refused"),
        (np.arange(3), r"a.gz: holds int64\[3\], expected uint8\[4, 3, 3\]"),
        (MASKS.astype(np.int16), r"a.gz: holds int16\[4, 3, 3\], expected uint8\[4, 3, 3\]"),
        ([1, 2], "a.gz: holds <class 'list'>, expected uint8"),
    ],
    ids=["class", "function", "shape", "type", "list"],
)
def test_anything_but_the_array_is_refused_by_name(tmp_path, value, message):
    with pytest.raises(SilhouettesError, match=message):
        read_pickled_array(write(tmp_path / "a.gz", value), (4, 3, 3), "uint8")


def test_damaged_files_are_refused(tmp_path):
    path = write(tmp_path / "a.gz", MASKS)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(SilhouettesError, match=r"a.gz: is no whole gzip"):
        read_pickled_array(path, (4, 3, 3), "uint8")
    path.write_bytes(gzip.compress(b"no pickle"))
    with pytest.raises(SilhouettesError, match=r"a.gz: is no whole gzip pickle of an array"):
        read_pickled_array(path, (4, 3, 3), "uint8")


class Package:
    """A distribution whose files are where we want them."""

    def __init__(self, folder):
        self.folder = folder

    def files(self, name):
        assert name == "animal-mnist"
        return [File(path) for path in self.folder.iterdir()]

    def version(self, name):
        return "0.3"


class File:
    def __init__(self, path):
        self.path, self.name = path, path.name

    def locate(self):
        return self.path


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Ten masks, two of them equal."""
    folder = tmp_path / "package"
    folder.mkdir()
    masks = np.random.default_rng(0).integers(0, 256, (10, 28, 28), np.uint8)
    masks[7] = masks[2]
    write(folder / "animal_data_version_3.gz", masks)
    write(folder / "animal_label_version_3.gz", np.arange(10))
    fake = Package(folder)
    monkeypatch.setattr(importlib.metadata, "files", fake.files)
    monkeypatch.setattr(importlib.metadata, "version", fake.version)
    monkeypatch.setattr(silhouettes, "_COUNT", 10)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_copies_go_and_the_second_time_no_pickle_is_read(package, tmp_path):
    data = silhouettes.load_silhouettes()
    assert data.images.shape == (9, 28, 28, 1) and list(data.labels) == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert data.label_names[6] == "giraffe" and -1 <= data.images.min() < data.images.max() <= 1
    for path in package.iterdir():
        path.unlink()
    again = silhouettes.load_silhouettes()
    np.testing.assert_array_equal(again.images, data.images)
    (cached,) = pathlib.Path(tmp_path / "cache" / "ai_econ_jax").glob("*.npz")
    assert npz.read(cached)["masks"].dtype == np.uint8


def test_a_damaged_cache_is_made_again(package, tmp_path):
    data = silhouettes.load_silhouettes()
    (cached,) = pathlib.Path(tmp_path / "cache" / "ai_econ_jax").glob("*.npz")
    cached.write_bytes(cached.read_bytes()[:50])
    np.testing.assert_array_equal(silhouettes.load_silhouettes().images, data.images)
    assert len(npz.read(cached)["labels"]) == 10


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("masks", np.zeros((10, 14, 14), np.uint8)),
        ("masks", np.zeros((10, 28, 28), np.float32)),
        ("labels", np.arange(9)),
        ("labels", np.arange(10) + 1),
    ],
    ids=["shape", "type", "number", "labels"],
)
def test_a_cache_of_something_else_is_made_again(package, tmp_path, field, value):
    data = silhouettes.load_silhouettes()
    (cached,) = pathlib.Path(tmp_path / "cache" / "ai_econ_jax").glob("*.npz")
    npz.write(cached, npz.read(cached) | {field: value})
    again = silhouettes.load_silhouettes()
    np.testing.assert_array_equal(again.images, data.images)
    np.testing.assert_array_equal(again.labels, data.labels)


def test_without_a_folder_to_write_the_package_is_read(package, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(silhouettes.load_silhouettes().images) == 9


def test_a_package_without_the_file_is_named(package):
    (package / "animal_label_version_3.gz").unlink()
    with pytest.raises(SilhouettesError, match=r"animal-mnist 0.3 has no file animal_label_v"):
        silhouettes.load_silhouettes()


def test_labels_out_of_range_are_refused(package):
    write(package / "animal_label_version_3.gz", np.arange(10) + 1)
    with pytest.raises(SilhouettesError, match="has labels outside of 0 to 9"):
        silhouettes.load_silhouettes()


def test_a_missing_package_says_what_to_install(monkeypatch, tmp_path):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(
        SilhouettesError, match=r"ai-econ-jax\[diffusion\].* --no-deps animal-mnist"
    ):
        silhouettes.load_silhouettes()
