"""Silhouettes of animals: what the scenes are made of. Spec 3.1.

They come with the package animal-mnist, as gzip pickles of two NumPy arrays. The package itself is
never imported (its modules import TensorFlow), and a pickle may run anything, so the files are
found through the package's list of files, and read by an unpickler that admits three names of
NumPy. What was read is kept as ``.npz``, which cannot run anything.
"""

from __future__ import annotations

import contextlib
import gzip
import pathlib
import pickle
import zlib

import numpy as np
from numpy.typing import NDArray

from ai_econ_jax import devices, npz
from ai_econ_jax.envs.diffusion import package_files
from ai_econ_jax.envs.diffusion.image_data import ImageData

# Label 0 to 9, in this order.
ANIMALS = (
    "bear",
    "bird",
    "cat",
    "cow",
    "dog",
    "elephant",
    "giraffe",
    "horse",
    "sheep",
    "zebra",
)
SIDE = 28
_PACKAGE, _VERSION = "animal-mnist", "0.4"
_COUNT = 10_000
_IMAGES_FILE, _LABELS_FILE = "animal_data_version_3.gz", "animal_label_version_3.gz"
# NumPy 2 moved numpy.core to numpy._core; the files were written by either.
_ALLOWED = {
    (module, name)
    for module, name in (
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    )
}


class SilhouettesError(ValueError):
    """The package, or a file of it, is not what is expected."""


def load_silhouettes() -> ImageData:
    """All different silhouettes f32[N, 28, 28, 1], from -1 (background) to 1, with their animals.

    Raises:
      SilhouettesError: The package is missing, or a file of it holds something else.
    """
    cache = devices.cache_folder() / f"silhouettes-{_VERSION}.npz"
    try:
        arrays = npz.read(cache)
        masks, labels = arrays["masks"], arrays["labels"]
        _check(cache, masks, (_COUNT, SIDE, SIDE), "uint8")
        _check(cache, labels, (_COUNT,), "int64")
        _check_labels(cache, labels)
    # Not there, damaged, or of something else: read the package again.
    except (OSError, npz.NpzError, KeyError, SilhouettesError):
        masks, labels = _read_package()
        with contextlib.suppress(OSError):  # a folder that cannot be written costs time alone
            cache.parent.mkdir(parents=True, exist_ok=True)
            npz.write(cache, {"masks": masks, "labels": labels})
    return to_data(masks, labels)


def to_data(masks: NDArray, labels: NDArray) -> ImageData:
    """Masks u8[N, 28, 28] and labels [N] as images, without copies."""
    images = (masks[..., None] / 127.5 - 1).astype(np.float32)
    return ImageData(images, labels.astype(np.int32), ANIMALS).without_copies()


def read_pickled_array(path: pathlib.Path, shape: tuple[int, ...], dtype: str) -> NDArray:
    """The one array of a gzip pickle.

    Raises:
      SilhouettesError: The file is damaged, asks for anything but an array, or the array is of
        another shape or type.
    """
    try:
        with gzip.open(path, "rb") as file:
            value = _ArrayUnpickler(file).load()
    except SilhouettesError as error:
        raise SilhouettesError(f"{path}: {error}") from None
    # What a damaged pickle raises is not promised.
    except Exception as error:
        kind = "" if isinstance(error, OSError | EOFError | zlib.error) else " pickle of an array"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SilhouettesError(f"{path}: is no whole gzip{kind} ({reason})") from None
    _check(path, value, shape, dtype)
    return value


def _check(path: pathlib.Path, value: object, shape: tuple[int, ...], dtype: str) -> None:
    if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != np.dtype(dtype):
        found = (
            f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else type(value)
        )
        raise SilhouettesError(f"{path}: holds {found}, expected {np.dtype(dtype)}{list(shape)}")


def _check_labels(path: pathlib.Path, labels: NDArray) -> None:
    if not ((labels >= 0) & (labels < len(ANIMALS))).all():
        raise SilhouettesError(f"{path}: has labels outside of 0 to 9")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise SilhouettesError(f"pickle asks for {module}.{name}, which is refused")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _read_package() -> tuple[NDArray, NDArray]:
    missing = (
        f"scenes need the silhouettes of {_PACKAGE}: pip install 'ai-econ-jax[diffusion]' && "
        f"pip install --no-deps {_PACKAGE}=={_VERSION}"
    )
    images_path, labels_path = package_files.find(
        _PACKAGE, _VERSION, (_IMAGES_FILE, _LABELS_FILE), missing, SilhouettesError
    )
    masks = read_pickled_array(images_path, (_COUNT, SIDE, SIDE), "uint8")
    labels = read_pickled_array(labels_path, (_COUNT,), "int64")
    _check_labels(labels_path, labels)
    return masks, labels
