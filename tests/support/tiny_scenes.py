"""Made-up silhouettes, and the smallest models of scenes and clips, for tests."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.diffusion import clips
from ai_econ_jax.envs.diffusion.image_data import ImageData
from ai_econ_jax.envs.diffusion.prompt_model import PromptModel
from ai_econ_jax.envs.diffusion.schedule import ScheduleConfig
from ai_econ_jax.envs.diffusion.silhouettes import ANIMALS
from ai_econ_jax.envs.diffusion.text_encoder import TextConfig
from ai_econ_jax.envs.diffusion.unet import UNetConfig
from ai_econ_jax.envs.diffusion.unet3d import UNet3DConfig
from ai_econ_jax.envs.diffusion.worlds import CLIPS, SCENES, World


def silhouettes(per_species: int = 3) -> ImageData:
    """Filled boxes f32[10 n, 28, 28, 1], n <= 75; each species has proportions of its own."""
    images, labels = [], []
    for label in range(len(ANIMALS)):
        for i in range(per_species):
            image = np.full((28, 28, 1), -1.0, np.float32)
            high, wide = 12 + label, 24 - label - i % 3
            # Moved by up to two pixels, the first three not at all.
            down, across = 14 + (i // 3 + 2) % 5 - 2, 14 + (i // 15 + 2) % 5 - 2
            rows = slice(down - high // 2, down + high // 2)
            image[rows, across - wide // 2 : across + wide // 2] = 1.0
            images.append(image)
            labels.append(label)
    return ImageData(np.stack(images), np.array(labels, np.int32), ANIMALS)


def _text(world: World) -> TextConfig:
    return TextConfig(
        vocab_size=len(world.tokenizer.words),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=world.tokenizer.length,
    )


MODEL = PromptModel(
    UNetConfig(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        down_block_types=("CrossAttnDownBlock2D",),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D",),
        block_out_channels=(8,),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=8,
        norm_num_groups=4,
    ),
    _text(SCENES),
    ScheduleConfig(clip_sample=True),
)
# Made of the layers that CLIP_MODEL has: with attention at the lowest level too, and as many heads.
START_MODEL = dataclasses.replace(
    MODEL,
    unet=dataclasses.replace(
        MODEL.unet, mid_block_type="UNetMidBlock2DCrossAttn", attention_head_dim=4
    ),
)
CLIP_MODEL = PromptModel(
    UNet3DConfig(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        down_block_types=("CrossAttnDownBlock3D",),
        up_block_types=("UpBlock3D",),
        block_out_channels=(8,),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=8,
        norm_num_groups=4,
        num_frames=clips.NUM_FRAMES,
    ),
    _text(CLIPS),
    ScheduleConfig(clip_sample=True),
    CLIPS.tokenizer,
)


def random_like(template: Any) -> Any:
    """Random parameters of the shapes of a template."""
    generator = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * generator.standard_normal(leaf.shape), jnp.float32), template
    )
