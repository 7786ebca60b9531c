"""The U-Net of ModelScope's text-to-video model and of our clips: diffusers' UNet3DConditionModel.

The network of images, applied to every frame, with layers between that look along time: behind
each ResNet four convolutions over frames, behind each transformer, and at the start, one whose
tokens are the frames of a pixel. Fields and names as in ``unet``, diffusers' own. Wang et al.
(2023), https://arxiv.org/abs/2308.06571. Spec 3.5. Axes: B clips, F frames, H and W sides, C
channels. Layers get frames as images, [B F, H, W, C], as diffusers' do.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ai_econ_jax import config as config_lib
from ai_econ_jax.envs.diffusion.unet import (
    TRANSFORMER_EPSILON,
    Block,
    Layers,
    MidBlock,
    NetworkConfig,
    Transformer,
    TransformerBlock,
    UNet,
)
from ai_econ_jax.networks import convolve

_NUM_CONVOLUTIONS = 4
_CONVOLUTION_EPSILON = 1e-5  # of the group norms between them, whatever norm_eps is
_ENTRY_HEADS = 8  # of the transformer at the start


@dataclasses.dataclass(frozen=True)
class UNet3DConfig(NetworkConfig):
    """Fields of diffusers' config, and the number of frames; the defaults are ModelScope's."""

    sample_size: int = 32
    down_block_types: tuple[str, ...] = (
        "CrossAttnDownBlock3D",
        "CrossAttnDownBlock3D",
        "CrossAttnDownBlock3D",
        "DownBlock3D",
    )
    up_block_types: tuple[str, ...] = (
        "UpBlock3D",
        "CrossAttnUpBlock3D",
        "CrossAttnUpBlock3D",
        "CrossAttnUpBlock3D",
    )
    attention_head_dim: int = 64  # here truly the size of a head
    cross_attention_dim: int = 1024
    num_frames: int = 16  # F; ours alone, diffusers' network takes any number

    suffix = "Block3D"

    def validate(self) -> None:
        """As for all networks, and the number of frames."""
        super().validate()
        config_lib.check_range("num_frames", self.num_frames, 1)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input: (F, H, W, C)."""
        return (self.num_frames, *super().input_shape)


class TemporalConvolutions(nn.Module):
    """Four convolutions over frames, residual, the last zero at first: the identity."""

    groups: int
    frames: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B F, H, W, C]."""
        h = x.reshape(-1, self.frames, *x.shape[1:])
        for i in range(1, _NUM_CONVOLUTIONS + 1):
            last = i == _NUM_CONVOLUTIONS
            # Numbers of layers in diffusers' lists; before the others there is a dropout.
            norm, convolution = f"conv{i}_0", f"conv{i}_{2 if i == 1 else 3}"
            h = nn.GroupNorm(self.groups, epsilon=_CONVOLUTION_EPSILON, name=norm)(h)
            h = nn.Conv(
                x.shape[-1],
                (3, 1, 1),
                padding=((1, 1), (0, 0), (0, 0)),
                kernel_init=nn.initializers.zeros if last else nn.initializers.lecun_normal(),
                conv_general_dilated=convolve,
                name=convolution,
            )(nn.silu(h))
        return x + h.reshape(x.shape)


class TemporalTransformer(nn.Module):
    """A transformer block over the frames of each pixel, residual.

    Its last layer is zero at first, so that a new network draws every frame as one of images does.
    """

    heads: int
    head_size: int
    groups: int
    frames: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B F, H, W, C]."""
        channels, width = x.shape[-1], self.heads * self.head_size
        h = x.reshape(-1, self.frames, *x.shape[1:])
        h = nn.GroupNorm(self.groups, epsilon=TRANSFORMER_EPSILON, name="norm")(h)
        pixels = jnp.moveaxis(h, 1, 3)  # [B, H, W, F, C]
        h = nn.Dense(width, name="proj_in")(pixels.reshape(-1, self.frames, channels))
        h = TransformerBlock(width, self.heads, name="transformer_blocks_0")(h, None)
        h = nn.Dense(channels, kernel_init=nn.initializers.zeros, name="proj_out")(h)
        return x + jnp.moveaxis(h.reshape(pixels.shape), 3, 1).reshape(x.shape)


class _OverTime(Layers):
    """Each layer of a level, and what looks along time behind it."""

    config: UNet3DConfig

    def resnet(self, index: int, width: int, x: jax.Array, time: jax.Array) -> jax.Array:
        x = super().resnet(index, width, x, time)
        groups, frames = self.config.norm_num_groups, self.config.num_frames
        return TemporalConvolutions(groups, frames, name=f"temp_convs_{index}")(x)

    def attend(self, index: int, width: int, x: jax.Array, context: jax.Array) -> jax.Array:
        size, groups = self.config.attention_head_dim, self.config.norm_num_groups
        heads = width // size
        x = Transformer(width, heads, groups, linear=True, name=f"attentions_{index}")(x, context)
        over_time = TemporalTransformer(
            heads, size, groups, self.config.num_frames, name=f"temp_attentions_{index}"
        )
        return over_time(x)


class Block3D(_OverTime, Block):
    """The layers of one level, on the way down or up."""


class MidBlock3D(_OverTime, MidBlock):
    """The layers of the lowest level."""


class UNet3D(UNet):
    """The whole network."""

    config: UNet3DConfig

    block = Block3D
    mid_block = MidBlock3D

    def __call__(self, x: jax.Array, timestep: jax.Array, context: jax.Array) -> jax.Array:
        """What the model predicts, f32[B, F, H, W, out_channels].

        Args:
          x: f32[B, F, H, W, in_channels].
          timestep: i32[B].
          context: The prompt's tokens f32[B, L, F], which every frame looks at.
        """
        frames = self.config.num_frames
        time, told = (jnp.repeat(each, frames, axis=0) for each in (timestep, context))
        output = super().__call__(x.reshape(-1, *x.shape[2:]), time, told)
        return output.reshape(-1, frames, *output.shape[1:])

    def enter(self, x: jax.Array) -> jax.Array:
        """Behind the first convolution: attention over frames."""
        config = self.config
        transformer = TemporalTransformer(
            _ENTRY_HEADS,
            config.attention_head_dim,
            config.norm_num_groups,
            config.num_frames,
            name="transformer_in",
        )
        return transformer(x)


def make_network(config: NetworkConfig) -> UNet:
    """The network that a config describes."""
    return UNet3D(config) if isinstance(config, UNet3DConfig) else UNet(config)
