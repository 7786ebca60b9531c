"""Made-up silhouettes, for tests of scenes without the package that has the real ones."""

import numpy as np

from ai_econ_jax.envs.diffusion.image_data import ImageData
from ai_econ_jax.envs.diffusion.silhouettes import ANIMALS


def silhouettes(per_species: int = 3) -> ImageData:
    """Filled boxes f32[10 n, 28, 28, 1]; each species has proportions of its own."""
    images, labels = [], []
    for label in range(len(ANIMALS)):
        for i in range(per_species):
            image = np.full((28, 28, 1), -1.0, np.float32)
            high, wide = 12 + label, 24 - label - i
            image[14 - high // 2 : 14 + high // 2, 14 - wide // 2 : 14 + wide // 2] = 1.0
            images.append(image)
            labels.append(label)
    return ImageData(np.stack(images), np.array(labels, np.int32), ANIMALS)
