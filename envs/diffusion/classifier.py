"""A small classifier of small images: the reward of some models, and the judge of others.

The reward `log p(class | image)` and the judge of success are two of them, trained on different
images. Spec 3.3. Axes: B images, H and W sides, C channels, K classes.
"""

from __future__ import annotations

import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ai_econ_jax.envs.diffusion import weights as weights_lib
from ai_econ_jax.networks import convolve

_WIDTHS = (16, 32)
_FILE = "model.safetensors"


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


def save(folder: pathlib.Path, params: Any) -> None:
    """Writes a classifier in half precision, as ``model.safetensors`` of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = weights_lib.to_diffusers(params)
    halves = {name: values.astype(np.float16) for name, values in tensors.items()}
    weights_lib.write_safetensors(folder / _FILE, halves)


def load(folder: pathlib.Path, image_shape: tuple[int, ...]) -> Any:
    """Reads a classifier of images f32[H, W, C].

    Raises:
      FileNotFoundError: There is none.
      WeightsError: It is one of other images.
    """
    path = folder / _FILE
    tensors, _ = weights_lib.read_safetensors(path)
    num_classes = len(tensors.get("head.bias", ()))
    template = jax.eval_shape(
        Classifier(num_classes).init, jax.random.key(0), jnp.zeros((1, *image_shape))
    )
    return weights_lib.from_diffusers(tensors, template["params"], str(path))
