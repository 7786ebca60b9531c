"""A U-Net in the space of pixels, without prompts; and folders of models in diffusers' layout.

::

    model_index.json
    unet/config.json              unet/diffusion_pytorch_model[.fp16].safetensors
    scheduler/scheduler_config.json
    reward/model.safetensors      ours: the classifier that rewards
    judge/model.safetensors       ours: the classifier that judges

Spec 3.5. The models that the library brings are folders beside this file, under ``models``.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from ai_econ_jax import config as config_lib
from ai_econ_jax import workdir as workdir_lib
from ai_econ_jax.envs.diffusion import weights as weights_lib
from ai_econ_jax.envs.diffusion.schedule import ScheduleConfig
from ai_econ_jax.envs.diffusion.unet import UNet, UNetConfig

MODELS = pathlib.Path(__file__).parent / "models"
_INDEX = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
_UNET_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")


@dataclasses.dataclass(frozen=True)
class PixelModel:
    """An unconditional model whose latents are images. Its weights are the U-Net's parameters."""

    unet: UNetConfig
    schedule: ScheduleConfig

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(H, W, C)."""
        return (self.unet.sample_size, self.unet.sample_size, self.unet.in_channels)

    def denoise(
        self, weights: Any, condition: jax.Array, x: jax.Array, timestep: jax.Array
    ) -> jax.Array:
        """The U-Net's output, f32[B, H, W, C]; the condition is not read."""
        output = UNet(self.unet).apply({"params": weights}, x, timestep, condition)
        assert isinstance(output, jax.Array)
        return output

    def null_condition(self, weights: Any) -> jax.Array:
        """The empty prompt, f32[0]."""
        return jnp.zeros(0)

    def feature(self, condition: jax.Array) -> jax.Array:
        """What a prompt tells a learner, f32[0]: nothing."""
        return jnp.zeros(0)

    def decode(self, weights: Any, x: jax.Array) -> jax.Array:
        """Images f32[B, H, W, C] in [-1, 1]."""
        return jnp.clip(x, -1.0, 1.0)

    def init(self, key: jax.Array) -> Any:
        """Fresh weights."""
        inputs = (jnp.zeros((1, *self.latent_shape)), jnp.zeros(1, jnp.int32), jnp.zeros((1, 0)))
        return UNet(self.unet).init(key, *inputs)["params"]


def save_folder(folder: pathlib.Path, model: PixelModel, weights: Any, dtype: Any) -> None:
    """Writes a model in diffusers' layout, numbers of a type such as float16."""
    _write_json(folder / "model_index.json", _INDEX)
    unet = dataclasses.asdict(model.unet) | {"_class_name": "UNet2DConditionModel"}
    _write_json(folder / "unet" / "config.json", unet)
    scheduler = dataclasses.asdict(model.schedule) | {
        "_class_name": "DDIMScheduler",
        "timestep_spacing": "leading",
    }
    _write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    name = _UNET_FILES[jnp.dtype(dtype) == jnp.float16]
    tensors = weights_lib.to_diffusers(weights)
    halves = {key: value.astype(dtype) for key, value in tensors.items()}
    weights_lib.write_safetensors(folder / "unet" / name, halves)


def load_folder(folder: pathlib.Path) -> tuple[PixelModel, Any]:
    """Reads a model and its weights, as float32.

    Raises:
      FileNotFoundError: The folder, or a file of it, is missing; which is named.
      ConfigError: A config asks for what is not supported.
      WeightsError: Tensors do not fit the config.
    """
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"{folder}: has no model_index.json, so it is no diffusers model")
    unet = _read_config(folder / "unet" / "config.json", UNetConfig)
    if unet.is_conditional or unet.in_channels != unet.out_channels:
        raise ValueError(f"{folder}: is a model with prompts or latents, which this cannot load")
    schedule = _read_config(folder / "scheduler" / "scheduler_config.json", ScheduleConfig)
    model = PixelModel(unet, schedule)
    return model, load_unet(folder / "unet", model)


def load_unet(folder: pathlib.Path, model: PixelModel) -> Any:
    """Weights of the U-Net in a folder, the half-precision file if it is the only one."""
    found = [folder / name for name in _UNET_FILES if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{folder}: has no {_UNET_FILES[0]}, nor the .fp16 one")
    tensors, _ = weights_lib.read_safetensors(found[0])
    template = jax.eval_shape(model.init, jax.random.key(0))
    return weights_lib.from_diffusers(tensors, template, str(found[0]))


def _write_json(path: pathlib.Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    workdir_lib.write_json(path, data)


@functools.cache
def _fields(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


def _read_config(path: pathlib.Path, cls: Any) -> Any:
    """A diffusers config as one of ours; fields that we do not know are theirs alone."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is missing")
    try:
        data = json.loads(path.read_text())
        known = {name: data[name] for name in _fields(cls) if name in data}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: is no JSON object ({error})") from None
    try:
        return config_lib.validate(config_lib.from_dict(cls, known))
    except config_lib.ConfigError as error:
        raise ValueError(f"{path}: {error}") from None
