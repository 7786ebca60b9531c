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
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.diffusion import folders
from ai_econ_jax.envs.diffusion import weights as weights_lib
from ai_econ_jax.envs.diffusion.schedule import ScheduleConfig
from ai_econ_jax.envs.diffusion.unet import UNet, UNetConfig

_INDEX = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}


@dataclasses.dataclass(frozen=True)
class PixelModel:
    """An unconditional model whose latents are images. Its weights are the U-Net's parameters."""

    unet: UNetConfig
    schedule: ScheduleConfig

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(H, W, C)."""
        return self.unet.input_shape

    def denoise(
        self, weights: Any, condition: jax.Array, x: jax.Array, timestep: jax.Array
    ) -> jax.Array:
        """The U-Net's output, f32[B, H, W, C]; the condition is not read."""
        output = UNet(self.unet).apply({"params": weights}, x, timestep, condition)
        assert isinstance(output, jax.Array)
        return output

    def encode(self, weights: Any, tokens: jax.Array) -> jax.Array:
        """Conditions f32[B, 0] of B captions i32[B, 0], which have no words."""
        return jnp.zeros(tokens.shape)

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
    folders.write_json(folder / "model_index.json", _INDEX)
    folders.save_unet(folder, model.unet, model.schedule, weights, dtype)


def load_folder(folder: pathlib.Path) -> tuple[PixelModel, Any]:
    """Reads a model and its weights, as float32.

    Raises:
      FileNotFoundError: The folder, or a file of it, is missing; which is named.
      ValueError: A config asks for what is not supported.
      WeightsError: Tensors do not fit the config.
    """
    folders.check_index(folder)
    unet, schedule = folders.read_configs(folder)
    if (
        not isinstance(unet, UNetConfig)
        or unet.is_conditional
        or unet.in_channels != unet.out_channels
    ):
        raise ValueError(f"{folder}: is a model with prompts or latents, which this cannot load")
    model = PixelModel(unet, schedule)
    where, tensors = folders.read_tensors(folder / "unet", folders.UNET_FILES)
    template = jax.eval_shape(model.init, jax.random.key(0))
    return model, weights_lib.from_diffusers(tensors, template, where)
