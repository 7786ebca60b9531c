"""A small classifier of small images: the reward of some models, and the judge of others.

The reward `log p(class | image)` and the judge of success are two of them, trained on different
images. Spec 3.3. Axes: B images, H and W sides, C channels, K classes.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from numpy.typing import NDArray

from ai_econ_jax.envs.diffusion import folders
from ai_econ_jax.networks import convolve

_WIDTHS = (16, 32)


class Classifier(nn.Module):
    """Two convolutions, each halving the sides, a mean, and a dense layer."""

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits f32[B, K] of images f32[B, H, W, C]."""
        x = images
        for i, width in enumerate(_WIDTHS):
            x = nn.Conv(width, (3, 3), padding=1, conv_general_dilated=convolve, name=f"conv_{i}")(
                x
            )
            x = nn.silu(nn.GroupNorm(8, name=f"norm_{i}")(x))
            x = nn.avg_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        return nn.Dense(self.num_classes, name="head")(x)


@struct.dataclass
class ClassTarget:
    """What the reward asks for."""

    params: Any  # of a `Classifier`
    label: jax.Array  # i32[]


def log_probs(params: Any, images: jax.Array) -> jax.Array:
    """Log-probabilities f32[B, K] of the classes for images f32[B, H, W, C]."""
    num_classes = params["head"]["bias"].shape[0]
    logits = Classifier(num_classes).apply({"params": params}, images)
    assert isinstance(logits, jax.Array)
    return jax.nn.log_softmax(logits)


def class_reward(target: ClassTarget, images: jax.Array) -> jax.Array:
    """`log p(class | image)`, f32[B], at most 0."""
    return jnp.take(log_probs(target.params, images), target.label, axis=1)


def load(folder: pathlib.Path, image_shape: tuple[int, ...]) -> Any:
    """Reads a classifier of images f32[H, W, C]; raises as `folders.load_network`."""

    def init(tensors: Mapping[str, NDArray]) -> Any:
        num_classes = len(tensors.get("head.bias", ()))
        images = jnp.zeros((1, *image_shape))
        return Classifier(num_classes).init(jax.random.key(0), images)["params"]

    return folders.load_network(folder, init)
