"""Rewards that are computed on the host: the size of a JPEG file, or any Python function. Spec 3.3.

They have no gradient. A reward is a number for each image; one that is not is an error that names
the image. Axes: B images of shape ``*I``, usually H, W, C.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from ai_econ_jax.envs.diffusion import host_errors
from ai_econ_jax.envs.diffusion.host_errors import HostError

NAMES = ("jpeg", "neg_jpeg")
_PROMPT_BYTES = 1024  # a prompt is an array of one shape, so that another compiles nothing new
_JPEG_QUALITY = 95
_BYTES_PER_UNIT = 1000

# function(images uint8[B, *I], a prompt for each) -> B floats
Score = Callable[[NDArray, Sequence[str]], ArrayLike]


class RewardError(HostError):
    """A reward cannot be had, or is no number; the message is one line that says which and why."""


@dataclasses.dataclass(frozen=True)
class HostReward:
    """A reward as the environments call it; its parameters are the prompt, from `encode_prompt`."""

    name: str
    score: Score

    def __call__(self, prompt: jax.Array, images: jax.Array) -> jax.Array:
        """Rewards f32[B] of images f32[B, *I] in [-1, 1], for a prompt uint8[1024]."""
        levels = jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)
        result = jax.ShapeDtypeStruct(images.shape[:1], jnp.float32)
        return jax.pure_callback(self._call, result, prompt, levels, vmap_method="broadcast_all")

    def _call(self, prompt: ArrayLike, images: ArrayLike) -> NDArray:
        """On the host; both may have leading axes, over seeds and prompts that run side by side."""
        pixels, texts = np.asarray(images), np.asarray(prompt)
        lead, count = texts.shape[:-1], pixels.shape[texts.ndim - 1]
        prompts = [decode_prompt(text) for text in texts.reshape(-1, texts.shape[-1])]
        each = [text for text in prompts for _ in range(count)]
        flat = pixels.reshape(-1, *pixels.shape[texts.ndim :])
        with host_errors.kept():
            return self._checked(flat, each).reshape(*lead, count)

    def _checked(self, images: NDArray, prompts: Sequence[str]) -> NDArray:
        try:
            rewards = np.asarray(self.score(images, prompts))
        except Exception as error:
            if isinstance(error, RewardError):
                raise
            raise RewardError(
                f"reward {self.name}: raised {type(error).__name__}: {error}"
            ) from error
        if rewards.shape != (len(images),):
            raise RewardError(
                f"reward {self.name}: returned shape {rewards.shape} for {len(images)} images, "
                f"must be ({len(images)},)"
            )
        if not np.issubdtype(rewards.dtype, np.floating):
            raise RewardError(
                f"reward {self.name}: returned numbers of type {rewards.dtype}, must be floats"
            )
        with np.errstate(over="ignore"):  # too large for float32 is refused below
            singles = rewards.astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(singles))
        if bad.size:
            raise RewardError(
                f"reward {self.name}: image {bad[0]} of {len(images)} got {rewards[bad[0]]}, must "
                "be finite"
            )
        return singles


def make(name: str) -> HostReward:
    """The reward called ``jpeg``, ``neg_jpeg`` or ``module:function``.

    ``jpeg`` is minus the size of a JPEG file of quality 95, in thousands of bytes: it asks for
    images that compress well. ``neg_jpeg`` asks for the opposite. A function of a module, which may
    lie in the working directory, gets images uint8[B, *I] and B prompts, and returns B floats.

    Raises:
      RewardError: Another name; a module or function that cannot be had.
    """
    if name in NAMES:
        sign = -1.0 if name == "jpeg" else 1.0
        return HostReward(name, _JpegSize(sign))
    module_name, colon, function_name = name.partition(":")
    if not (colon and module_name and function_name):
        raise RewardError(f"reward {name!r}: must be {', '.join(NAMES)} or module:function")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # a console script does not look there
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module is the user's: importing it runs it
        reason = " ".join(str(error).split())
        raise RewardError(
            f"reward {name!r}: cannot import {module_name}: {type(error).__name__}: {reason}"
        ) from None
    score: Any = getattr(module, function_name, None)
    if not callable(score):
        raise RewardError(f"reward {name!r}: {module_name} has no function {function_name}")
    return HostReward(name, score)


def encode_prompt(prompt: str) -> jax.Array:
    """A prompt as uint8[1024], its UTF-8 and zeros.

    Raises:
      RewardError: It is longer.
    """
    data = prompt.encode()
    if len(data) > _PROMPT_BYTES:
        raise RewardError(
            f"prompt of {len(data)} bytes: a reward on the host takes at most {_PROMPT_BYTES}"
        )
    return jnp.asarray(np.frombuffer(data.ljust(_PROMPT_BYTES, b"\0"), np.uint8))


def decode_prompt(data: ArrayLike) -> str:
    """What `encode_prompt` was given."""
    return np.asarray(data, np.uint8).tobytes().rstrip(b"\0").decode()


@dataclasses.dataclass(frozen=True)
class _JpegSize:
    sign: float

    def __call__(self, images: NDArray, prompts: Sequence[str]) -> NDArray:
        return np.array([self.sign * _jpeg_bytes(image) / _BYTES_PER_UNIT for image in images])


def _jpeg_bytes(image: NDArray) -> int:
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise RewardError(
            f"reward jpeg: needs images of 1 or 3 channels, the model's have shape {image.shape}"
        )
    buffer = io.BytesIO()
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.tell()
