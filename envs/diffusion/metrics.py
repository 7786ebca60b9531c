"""How good and how different images are: Fréchet distance to real ones, diversity. Spec 4, 5.

On the host, in float64. Axes: N images; F features.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, spatial

_FEATURES = 16  # principal components in which distances are taken


@dataclasses.dataclass(frozen=True)
class FrechetReference:
    """Real images, as a Gaussian over their principal components."""

    centre: NDArray  # f64[D], mean image of the set that gave the components
    components: NDArray  # f64[F, D]
    mean: NDArray  # f64[F], of the reference images
    covariance: NDArray  # f64[F, F]

    @classmethod
    def of(cls, images: ArrayLike, all_images: ArrayLike | None = None) -> FrechetReference:
        """From reference images [N, ...], with the components of all images where given.

        Raises:
          ValueError: Fewer than two images.
        """
        flat = _flat(images)
        basis = flat if all_images is None else _flat(all_images)
        if len(flat) < 2:
            raise ValueError(f"a Fréchet distance needs at least 2 images, got {len(flat)}")
        centre = basis.mean(0)
        _, _, components = np.linalg.svd(basis - centre, full_matrices=False)
        components = components[:_FEATURES]
        features = (flat - centre) @ components.T
        return cls(centre, components, features.mean(0), np.cov(features.T))

    def features(self, images: ArrayLike) -> NDArray:
        """Principal components f64[N, F] of images [N, ...]."""
        return (_flat(images) - self.centre) @ self.components.T

    def distance(self, images: ArrayLike) -> float:
        """Squared Fréchet distance of two Gaussians, in units of the images squared.

        `|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))`.
        """
        features = self.features(images)
        mean, covariance = features.mean(0), np.cov(features.T)
        root = np.asarray(linalg.sqrtm(covariance @ self.covariance))
        trace = np.trace(covariance + self.covariance - 2 * root.real)
        return float(np.sum(np.square(mean - self.mean)) + trace)

    def spread(self, images: ArrayLike) -> float:
        """Mean distance of two images, in principal components."""
        return float(spatial.distance.pdist(self.features(images)).mean())


def pixel_diversity(images: ArrayLike) -> float:
    """Standard deviation over images [N, ...], mean over pixels."""
    return float(_flat(images).std(0).mean())


def _flat(images: ArrayLike) -> NDArray:
    array = np.asarray(images, np.float64)
    return array.reshape(len(array), -1)
