"""Real images that the small models learn, each set cut into three that share no image. Spec 3.1.

A generator, the model that rewards it and the judge of both must not have seen the same images:
images are cut by a hash of their pixels, after copies were dropped. Axes: N images.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

# Last digit of the hash of what each part gets.
PARTS = {"generator": (0, 5), "reward": (6, 7), "judge": (8, 9)}
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


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
