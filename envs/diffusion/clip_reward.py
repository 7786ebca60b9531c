"""`clip_like`: how well an image, or a clip, goes with a prompt, by two towers trained on pairs.

After CLIP (Radford et al. 2021, https://arxiv.org/abs/2103.00020): both are mapped to vectors of
length 1, and matching ones are pulled together. It plays ImageReward's part. Spec 3.3,
3.6. Axes: B images, F frames of a clip, S side, L tokens, E = 128 of an embedding.
"""

from __future__ import annotations

import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ai_econ_jax.envs.diffusion import folders
from ai_econ_jax.envs.diffusion.prompts import Tokenizer
from ai_econ_jax.envs.diffusion.text_encoder import TextConfig, TextEncoder
from ai_econ_jax.networks import convolve

_WIDTH = 128  # E
_FIRST_SCALE, _LARGEST_SCALE = np.log(1 / 0.07), np.log(100.0)
_UNIT = 100.0  # of a cosine, in a reward
_LEAST_DEVIATION = 1e-3  # of base rewards in this unit; a smaller one is no scale


class ImageTower(nn.Module):
    """Three convolutions that halve the sides, a mean, a dense layer.

    Of a clip: all but the last of each frame, and a convolution and a mean over frames in between.
    """

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """f32[B, E] of images f32[B, S, S, C] or clips f32[B, F, S, S, C]."""
        x = images.reshape(-1, *images.shape[-3:])
        for i, width in enumerate((32, 64, _WIDTH)):
            x = nn.Conv(
                width,
                (3, 3),
                strides=(2, 2),
                padding=((1, 1), (1, 1)),
                conv_general_dilated=convolve,
                name=f"conv_{i}",
            )(x)
            x = nn.silu(nn.GroupNorm(8, name=f"norm_{i}")(x))
        x = x.mean((1, 2))
        if images.ndim > 4:
            over_time = nn.Conv(
                _WIDTH, (3,), padding=((1, 1),), conv_general_dilated=convolve, name="over_time"
            )
            x = nn.silu(over_time(x.reshape(*images.shape[:2], _WIDTH))).mean(1)
        return nn.Dense(_WIDTH, name="projection")(x)


class TextTower(nn.Module):
    """A text encoder and a dense layer on the mean of its states."""

    vocab_size: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """f32[B, E] of tokens i32[B, L]."""
        config = TextConfig(
            vocab_size=self.vocab_size,
            hidden_size=_WIDTH,
            intermediate_size=4 * _WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokens.shape[1],
        )
        states = TextEncoder(config, name="encoder")(tokens)
        return nn.Dense(_WIDTH, name="projection")(states.mean(1))


@struct.dataclass
class ClipTarget:
    """A prompt, and what the model's own images of it earn."""

    image_tower: Any  # parameters
    prompt: jax.Array  # f32[E], of length 1
    mean: jax.Array  # f32[], of 100 cos over the model's images
    deviation: jax.Array  # f32[], of them


def init(key: jax.Array, image_shape: tuple[int, ...], tokenizer: Tokenizer) -> Any:
    """Fresh parameters of both towers, and the logarithm of the scale of their products."""
    image_key, text_key = jax.random.split(key)
    tokens = jnp.asarray(tokenizer.null)[None]
    return {
        "image": ImageTower().init(image_key, jnp.zeros((1, *image_shape)))["params"],
        "text": TextTower(len(tokenizer.words)).init(text_key, tokens)["params"],
        "log_scale": {"bias": jnp.full((1,), _FIRST_SCALE)},
    }


def embed_images(params: Any, images: jax.Array) -> jax.Array:
    """Vectors f32[B, E] of length 1; `params` are the image tower's."""
    return _unit(ImageTower().apply({"params": params}, images))


def embed_captions(params: Any, tokens: jax.Array) -> jax.Array:
    """Vectors f32[B, E] of length 1 of tokens i32[B, L]; `params` are the text tower's."""
    words = params["encoder"]["embeddings"]["token_embedding"]["embedding"]
    return _unit(TextTower(len(words)).apply({"params": params}, tokens))


def contrastive_loss(params: Any, images: jax.Array, captions: jax.Array) -> jax.Array:
    """Mean cross entropy, f32[], of finding each image's caption in the batch, and the reverse.

    Equal captions of a batch are all right.
    """
    scale = jnp.exp(jnp.minimum(params["log_scale"]["bias"][0], _LARGEST_SCALE))
    left = embed_images(params["image"], images)
    right = embed_captions(params["text"], captions)
    logits = scale * left @ right.T
    same = (captions[:, None] == captions[None]).all(-1).astype(jnp.float32)
    target = same / same.sum(1, keepdims=True)
    log_probs = jax.nn.log_softmax(logits, axis=1) + jax.nn.log_softmax(logits.T, axis=1)
    return -(target * log_probs).sum(1).mean() / 2


def cosines(image_tower: Any, prompt: jax.Array, images: jax.Array) -> jax.Array:
    """`100 cos`, f32[B], of images f32[B, (F,) S, S, C] and a prompt's vector f32[E]."""
    return _UNIT * embed_images(image_tower, images) @ prompt


def make_target(params: Any, prompt: jax.Array, base_images: jax.Array) -> ClipTarget:
    """The reward for a prompt, in deviations of the model's own images of it.

    Args:
      params: Of both towers.
      prompt: Tokens i32[L].
      base_images: f32[B, (F,) S, S, C], of the model for this prompt.
    """
    vector = embed_captions(params["text"], prompt[None])[0]
    base = cosines(params["image"], vector, base_images)
    deviation = jnp.maximum(base.std(), _LEAST_DEVIATION)
    return ClipTarget(params["image"], vector, base.mean(), deviation)


def clip_reward(target: ClipTarget, images: jax.Array) -> jax.Array:
    """`(100 cos - mean) / deviation`, f32[B], for images f32[B, (F,) S, S, C]."""
    values = cosines(target.image_tower, target.prompt, images)
    return (values - target.mean) / target.deviation


def load(folder: pathlib.Path, image_shape: tuple[int, ...], tokenizer: Tokenizer) -> Any:
    """Reads both towers; raises as `folders.load_network`."""
    key = jax.random.key(0)
    return folders.load_network(folder, lambda tensors: init(key, image_shape, tokenizer))


def _unit(vectors: Any) -> jax.Array:
    return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
