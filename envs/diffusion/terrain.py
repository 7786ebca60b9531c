"""Terrain from a pretrained generator that is a black box: an ONNX file, run on the host. Spec 3.4.

The package adaptive-terrain-diffusion brings a consistency model (Song et al. 2023,
https://arxiv.org/abs/2303.01469), a U-Net of 10.46 million parameters: one pass turns noise of
deviation 80 into a map of heights. The package is never imported; its file is found through its
list of files. There is no gradient, and there are no steps. Axes: B images, S = 128 sides.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ai_econ_jax.envs.diffusion import host_errors, package_files
from ai_econ_jax.envs.diffusion.host_errors import HostError
from ai_econ_jax.envs.diffusion.schedule import ScheduleConfig

SIDE = 128  # S
SIGMA = 80.0  # deviation of the noise that the network was made for, in units of the image
DIFFICULTY = 0.5  # of the terrain, in [0, 1]; at which the reward was normalised
_RADIUS = 32  # of the hill, in pixels
_BASE_MEAN, _BASE_STD = 0.0237, 0.0525  # of the frozen model's hills, over 32 images
_PACKAGE, _VERSION = "adaptive-terrain-diffusion", "0.4.2"
_FILE = "terrain_consistency_unet_difficulty100.onnx"
# The reward is normalised with what this very network draws.
_SHA256 = "95be54b4a39d58320e187a7ec533351c957f16a00be58773c86074828ee67887"
_INPUTS, _OUTPUT = ("noisy", "sigma", "difficulty"), "denoised"
_IMAGES_PER_CALL = 8  # 50 MB each; more are not faster
# One step, from the last of two equal timesteps, where the image's share of the variance is
# 1 / (1 + SIGMA^2), to the image that the network puts out.
_BETA = 1 - (1 + SIGMA**2) ** -0.5
_SCHEDULE = ScheduleConfig(
    num_train_timesteps=2,
    beta_schedule="linear",
    beta_start=_BETA,
    beta_end=_BETA,
    prediction_type="sample",
    steps_offset=1,
    set_alpha_to_one=True,
)

# generator(noisy f32[B, 1, S, S], sigma f32[B], difficulty f32[B]) -> f32[B, 1, S, S], on the host
Generator = Callable[[NDArray, NDArray, NDArray], NDArray]


class TerrainError(HostError):
    """The package, or what runs it, is missing, is not what is expected, or fails."""


@dataclasses.dataclass(frozen=True)
class TerrainModel:
    """A generator on the host, as a model of one step; its condition is the difficulty, f32[].

    Its weights stay in the file: what stands for them is the file's SHA-256, u8[32].
    """

    generator: Generator

    @property
    def schedule(self) -> ScheduleConfig:
        """For a sampler of one step, which ends with what `denoise` returns."""
        return _SCHEDULE

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(S, S, 1)."""
        return (SIDE, SIDE, 1)

    def denoise(
        self, weights: Any, condition: jax.Array, x: jax.Array, timestep: jax.Array
    ) -> jax.Array:
        """Images f32[B, S, S, 1] in [-1, 1] for noise f32[B, S, S, 1] and difficulties f32[B].

        The weights are not read, nor the timestep, which is always the same.
        """
        # Seeds and prompts that are vmapped go over in one call, as more images.
        result = jax.ShapeDtypeStruct(x.shape, jnp.float32)
        return jax.pure_callback(self._on_host, result, x, condition, vmap_method="broadcast_all")

    def null_condition(self, weights: Any) -> jax.Array:
        """Difficulty 0, f32[]; the model has no empty prompt and is not guided."""
        return jnp.float32(0.0)

    def feature(self, condition: jax.Array) -> jax.Array:
        """The difficulty, f32[1]."""
        return condition[None]

    def decode(self, weights: Any, x: jax.Array) -> jax.Array:
        """The image is what the step left."""
        return x

    def _on_host(self, x: Any, condition: Any) -> NDArray:
        z = np.asarray(x, np.float32).reshape(-1, 1, SIDE, SIDE)  # one channel: also NHWC
        difficulty = np.asarray(condition, np.float32).reshape(-1)
        sigma = np.full(len(z), SIGMA, np.float32)
        with host_errors.kept():
            return self.generator(np.float32(SIGMA) * z, sigma, difficulty).reshape(x.shape)


@dataclasses.dataclass(frozen=True)
class OnnxGenerator:
    """The network of a file; equal files share one session."""

    path: pathlib.Path

    def __call__(self, noisy: NDArray, sigma: NDArray, difficulty: NDArray) -> NDArray:
        """Images f32[B, 1, S, S] of any number of noises, a few at a time."""
        session = _session(self.path)
        parts = []
        for start in range(0, len(noisy), _IMAGES_PER_CALL):
            some = slice(start, start + _IMAGES_PER_CALL)
            inputs = (noisy[some], sigma[some], difficulty[some])
            try:
                parts += session.run([_OUTPUT], dict(zip(_INPUTS, inputs, strict=True)))
            except Exception as error:  # onnxruntime's own classes, a dozen of them
                raise _unable(self.path, error) from None
        return np.concatenate(parts)


def load() -> tuple[TerrainModel, jax.Array]:
    """The model of the package, and what stands for its weights, u8[32].

    Raises:
      TerrainError: The package or onnxruntime is missing, or the file is not the network.
    """
    (path,) = package_files.find(_PACKAGE, _VERSION, (_FILE,), _missing(_PACKAGE), TerrainError)
    digest = hashlib.sha256(path.read_bytes())
    if digest.hexdigest() != _SHA256:
        raise TerrainError(
            f"{path}: has SHA-256 {digest.hexdigest()}, expected {_SHA256}; "
            f"install {_PACKAGE}=={_VERSION}"
        )
    _session(path)
    weights = jnp.asarray(np.frombuffer(digest.digest(), np.uint8))
    return TerrainModel(OnnxGenerator(path)), weights


def terrain_hill(parameters: Any, images: jax.Array) -> jax.Array:
    """How far the middle stands out, f32[B], in deviations of the frozen model. Spec 3.4.

    `(mean over a disc of radius 32 in the middle - mean elsewhere - 0.0237) / 0.0525`.

    Args:
      parameters: Not read.
      images: f32[B, S, S, 1].
    """
    disc = _disc()
    heights = images[..., 0]
    hill = heights[:, disc].mean(1) - heights[:, ~disc].mean(1)
    return (hill - _BASE_MEAN) / _BASE_STD


@functools.cache
def _disc() -> NDArray:
    """Which pixels are the hill's, bool[S, S]; the middle is between the pixels."""
    off = np.arange(SIDE) - (SIDE - 1) / 2
    return np.square(off)[:, None] + np.square(off) <= _RADIUS**2


def _missing(name: str) -> str:
    return (
        f"model terrain needs {name}: pip install 'ai-econ-jax[terrain]' && "
        f"pip install --no-deps {_PACKAGE}=={_VERSION}"
    )


@functools.cache
def _session(path: pathlib.Path) -> Any:
    """Runs the network of a file, on as many threads as the process has processors."""
    try:
        import onnxruntime
    except ImportError as error:
        raise TerrainError(_missing(f"onnxruntime ({error})")) from None
    options = onnxruntime.SessionOptions()
    affinity = getattr(os, "sched_getaffinity", lambda process: range(os.cpu_count() or 1))
    options.intra_op_num_threads = len(affinity(0))
    # A thread that waits must not take the processor from JAX.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as there
        raise _unable(path, error) from None


def _unable(path: pathlib.Path, error: Exception) -> TerrainError:
    reason = " ".join(str(error).split())
    return TerrainError(f"{path}: onnxruntime cannot run it ({reason})")
