"""Configuration of training, and the models that can be trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ai_econ_jax import config as config_lib
from ai_econ_jax.envs.diffusion import clips, worlds
from ai_econ_jax.envs.diffusion.image_data import ImageData, load_digits8, load_mnist28
from ai_econ_jax.envs.diffusion.pixel_model import PixelModel
from ai_econ_jax.envs.diffusion.prompt_model import PromptModel
from ai_econ_jax.envs.diffusion.scenes import Stamps
from ai_econ_jax.envs.diffusion.schedule import ScheduleConfig
from ai_econ_jax.envs.diffusion.silhouettes import load_silhouettes
from ai_econ_jax.envs.diffusion.text_encoder import TextConfig
from ai_econ_jax.envs.diffusion.unet import NetworkConfig, UNetConfig
from ai_econ_jax.envs.diffusion.unet3d import UNet3DConfig
from ai_econ_jax.envs.diffusion.worlds import World

# draw(key, B, data) -> images or clips f32[B, *D], captions i32[B, L]
Draw = Callable[[jax.Array, int, Any], tuple[jax.Array, jax.Array]]


def draw_images(key: jax.Array, count: int, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Images of f32[N, H, W, C], with replacement; their captions have no words."""
    rows = jax.random.randint(key, (count,), 0, images.shape[0])
    return images[rows], jnp.zeros((count, 0), jnp.int32)


@dataclasses.dataclass(frozen=True)
class WorldDraw:
    """A world's biased prior; some without their caption, which is what guidance needs."""

    world: World
    size: int = 16
    drop_caption: float = 0.1

    def __call__(self, key: jax.Array, count: int, stamps: Stamps) -> tuple[jax.Array, jax.Array]:
        """Fresh scenes or clips of silhouettes."""
        world_key, drop_key = jax.random.split(key)
        world = self.world
        _, images, captions = world.draw(world_key, count, world.skewed, stamps, self.size)
        dropped = jax.random.bernoulli(drop_key, self.drop_caption, (count, 1))
        return images, jnp.where(dropped, jnp.asarray(world.tokenizer.null), captions)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A model and the data that it learns."""

    model: PixelModel | PromptModel
    load: Callable[[], ImageData]
    draw: Draw = draw_images
    world: World | None = None  # of a model with prompts


def _of_world(world: World, unet: NetworkConfig) -> Recipe:
    """A model with prompts, and a text encoder as wide as what its U-Net attends to."""
    text = TextConfig(
        vocab_size=len(world.tokenizer.words),
        hidden_size=unet.cross_attention_dim,
        intermediate_size=4 * unet.cross_attention_dim,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=world.tokenizer.length,
    )
    model = PromptModel(unet, text, _TO_NOISE, world.tokenizer)
    return Recipe(model, load_silhouettes, WorldDraw(world, unet.sample_size), world)


def _coloured(suffix: str) -> dict[str, Any]:
    """Fields of a network of 16 x 16 pixels in colour; the middle of its levels sees the prompt."""
    kinds = ("", "CrossAttn", "")
    return {
        "sample_size": 16,
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": tuple(f"{kind}Down{suffix}" for kind in kinds),
        "up_block_types": tuple(f"{kind}Up{suffix}" for kind in kinds),
        "block_out_channels": (16, 32, 64),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 64,
        "norm_num_groups": 8,
    }


def _grey(side: int, widths: tuple[int, ...], schedule: ScheduleConfig) -> PixelModel:
    """A model of grey images without prompts, one width a level."""
    return PixelModel(
        UNetConfig(
            sample_size=side,
            in_channels=1,
            out_channels=1,
            down_block_types=("DownBlock2D",) * len(widths),
            mid_block_type="UNetMidBlock2D",
            up_block_types=("UpBlock2D",) * len(widths),
            block_out_channels=widths,
            layers_per_block=1,
            norm_num_groups=8,
        ),
        schedule,
    )


# Stable Diffusion's schedule leaves 9% of the image in the noisiest one that a sampler visits. Of
# 784 pixels, most of them black, the mean is 1.9 deviations lower there than of N(0, I), from which
# samples start; of scenes, it is the colour of the place that the noise's mean then decides. This
# ends in noise; and there an image is read off v, not off the noise.
_TO_NOISE = ScheduleConfig(
    beta_schedule="linear",
    beta_start=1e-4,
    beta_end=0.02,
    prediction_type="v_prediction",
    clip_sample=True,
)

RECIPES = {
    "digits8": Recipe(_grey(8, (16, 32), ScheduleConfig(clip_sample=True)), load_digits8),
    "mnist28": Recipe(_grey(28, (16, 24, 48), _TO_NOISE), load_mnist28),
    "scenes16": _of_world(worlds.SCENES, UNetConfig(**_coloured(UNetConfig.suffix))),
    "clips16": _of_world(
        worlds.CLIPS, UNet3DConfig(num_frames=clips.NUM_FRAMES, **_coloured(UNet3DConfig.suffix))
    ),
}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a model, and the networks that reward and judge its images, are trained."""

    model: str = "digits8"
    start_from: str | None = None  # folder of the model with prompts whose weights it begins with
    steps: int = 3000  # of the denoiser
    batch_size: int = 64
    learning_rate: float = 1e-3  # at the start; falls to 0 along a cosine
    weight_decay: float = 0.01
    ema_decay: float = 0.998  # of the weights that are kept
    classifier_steps: int = 1000  # of what judges, and of what rewards a model without prompts
    reward_steps: int = 1000  # of what rewards a model with prompts
    steps_per_segment: int = 200  # compiled together; between two, the host may save
    log_every: int = 50  # steps averaged into one row; must divide steps_per_segment
    seed: int = 0

    def validate(self) -> None:
        """Check names and ranges."""
        config_lib.check_one_of("model", self.model, tuple(RECIPES))
        counts = ("steps", "batch_size", "classifier_steps", "reward_steps", "steps_per_segment")
        for name in counts:
            config_lib.check_range(name, getattr(self, name), 1, 100_000_000)
        config_lib.check(
            self.log_every >= 1 and self.steps_per_segment % self.log_every == 0,
            "log_every",
            self.log_every,
            f"must divide steps_per_segment, {self.steps_per_segment}",
        )
        config_lib.check(
            self.start_from is None or RECIPES[self.model].world is not None,
            "start_from",
            self.start_from,
            f"must not be set: {self.model} is no model with prompts",
        )
        config_lib.check_positive("learning_rate", self.learning_rate)
        config_lib.check_range("weight_decay", self.weight_decay, 0.0)
        config_lib.check_range("ema_decay", self.ema_decay, 0.0, 1.0, exclude_high=True)
        config_lib.check_range("seed", self.seed, 0, 2**31 - 1)


PRESETS = {
    "digits8": TrainConfig(),
    "mnist28": TrainConfig(
        model="mnist28",
        steps=7000,
        batch_size=16,
        ema_decay=0.999,
        classifier_steps=1500,
    ),
    "scenes16": TrainConfig(
        model="scenes16",
        steps=14_000,
        batch_size=32,
        ema_decay=0.9995,
        classifier_steps=2000,
        reward_steps=8000,
        steps_per_segment=100,
    ),
    "clips16": TrainConfig(
        model="clips16",
        steps=2400,
        batch_size=8,
        reward_steps=2000,
        steps_per_segment=50,
    ),
    # Seconds, for tests: a model that draws noise.
    "smoke": TrainConfig(
        steps=4, batch_size=8, classifier_steps=4, steps_per_segment=2, log_every=1
    ),
}
