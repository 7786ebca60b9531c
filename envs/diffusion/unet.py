"""The U-Net of Stable Diffusion 1.x and of our small models: diffusers' UNet2DConditionModel.

One class, described by the fields of diffusers' ``unet/config.json`` under the same names, with
submodules under diffusers' names, so that checkpoints of either load into the other (``weights``).
``unet3d`` makes the network of clips of the same parts. Images are NHWC. Spec 3.5. Axes: B images,
H and W sides, C channels, L tokens, F width of a token.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from ai_econ_jax import config as config_lib
from ai_econ_jax.networks import convolve

MID_BLOCKS = ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D")
TRANSFORMER_EPSILON = 1e-6  # of the group norm before attention, whatever norm_eps is


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Fields of diffusers' config that networks of images and of clips share."""

    sample_size: int = 64  # side of the input
    in_channels: int = 4
    out_channels: int = 4
    down_block_types: tuple[str, ...] = ()
    up_block_types: tuple[str, ...] = ()
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    attention_head_dim: int = 8
    cross_attention_dim: int = 768  # F
    norm_num_groups: int = 32
    norm_eps: float = 1e-5

    suffix: ClassVar[str]  # of the names of its blocks

    def validate(self) -> None:
        """Check names, and that everything divides what it must."""
        levels = len(self.block_out_channels)
        for name in ("down_block_types", "up_block_types"):
            types = getattr(self, name)
            config_lib.check(
                len(types) == levels, name, types, f"must have {levels} items, one per level"
            )
            way = "Down" if name.startswith("down") else "Up"
            kinds = tuple(f"{attention}{way}{self.suffix}" for attention in ("CrossAttn", ""))
            for kind in types:
                config_lib.check_one_of(name, kind, kinds)
        for name in ("sample_size", "in_channels", "out_channels", "layers_per_block"):
            config_lib.check_range(name, getattr(self, name), 1)
        factor = 2 ** (levels - 1)
        config_lib.check(
            self.sample_size % factor == 0,
            "sample_size",
            self.sample_size,
            f"must be divisible by {factor}, for {levels} levels",
        )
        for width in self.block_out_channels:
            for name in ("norm_num_groups", "attention_head_dim"):
                divisor = getattr(self, name)
                config_lib.check(
                    width % divisor == 0, name, divisor, f"must divide the width {width}"
                )
        config_lib.check_positive("norm_eps", self.norm_eps)

    @property
    def mid_attends(self) -> bool:
        """Whether the lowest level looks at the prompt."""
        return True

    @property
    def is_conditional(self) -> bool:
        """Whether any block looks at the prompt."""
        kinds = (*self.down_block_types, *self.up_block_types)
        return self.mid_attends or any("CrossAttn" in kind for kind in kinds)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input: (H, W, C)."""
        return (self.sample_size, self.sample_size, self.in_channels)


@dataclasses.dataclass(frozen=True)
class UNetConfig(NetworkConfig):
    """Fields of diffusers' config; the defaults are Stable Diffusion 1.x."""

    down_block_types: tuple[str, ...] = (
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
    )
    up_block_types: tuple[str, ...] = (
        "UpBlock2D",
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
    )
    mid_block_type: str = "UNetMidBlock2DCrossAttn"
    attention_head_dim: int = 8  # the number of heads, for historical reasons
    use_linear_projection: bool = False  # around attention; else 1 x 1 convolutions

    suffix = "Block2D"

    def validate(self) -> None:
        """As for all networks, and the middle's name."""
        super().validate()
        config_lib.check_one_of("mid_block_type", self.mid_block_type, MID_BLOCKS)

    @property
    def mid_attends(self) -> bool:
        """Whether the lowest level looks at the prompt."""
        return "CrossAttn" in self.mid_block_type


def timestep_embedding(timestep: jax.Array, width: int) -> jax.Array:
    """Cosines, then sines, of the timestep i32[B] at `width / 2` frequencies, f32[B, width]."""
    half = width // 2
    frequency = jnp.exp(-jnp.log(10000.0) * jnp.arange(half) / half)
    angle = timestep[:, None].astype(jnp.float32) * frequency
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def _conv(width: int, name: str, kernel: int = 3, stride: int = 1) -> nn.Conv:
    pad = kernel // 2
    return nn.Conv(
        width,
        (kernel, kernel),
        (stride, stride),
        ((pad, pad), (pad, pad)),
        conv_general_dilated=convolve,
        name=name,
    )


class TimeEmbedding(nn.Module):
    """Two dense layers on the sinusoids of the timestep."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, width] of f32[B, C0]."""
        x = nn.silu(nn.Dense(self.width, name="linear_1")(x))
        return nn.Dense(self.width, name="linear_2")(x)


class ResnetBlock(nn.Module):
    """Two convolutions behind group norms, the time added in between, and a shortcut."""

    width: int
    groups: int
    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        """f32[B, H, W, width] of x f32[B, H, W, C] and time f32[B, E]."""
        h = nn.silu(nn.GroupNorm(self.groups, epsilon=self.epsilon, name="norm1")(x))
        h = _conv(self.width, "conv1")(h)
        shift = nn.Dense(self.width, name="time_emb_proj")(nn.silu(time))
        h = h + shift[:, None, None]
        h = nn.silu(nn.GroupNorm(self.groups, epsilon=self.epsilon, name="norm2")(h))
        h = _conv(self.width, "conv2")(h)
        if x.shape[-1] != self.width:
            x = _conv(self.width, "conv_shortcut", kernel=1)(x)
        return x + h


class OutputProjection(nn.Module):
    """A dense layer that is the first of a list, as diffusers names it."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[..., width]."""
        return nn.Dense(self.width, name="layers_0")(x)


class Attention(nn.Module):
    """Multi-head attention from one sequence to another."""

    width: int
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """f32[B, N, width] of x f32[B, N, width], which looks at context f32[B, L, F]."""

        def project(name: str, values: jax.Array) -> jax.Array:
            flat = nn.Dense(self.width, use_bias=False, name=name)(values)
            return flat.reshape(*flat.shape[:2], self.heads, -1)

        mixed = jax.nn.dot_product_attention(
            project("to_q", x), project("to_k", context), project("to_v", context)
        )
        mixed = mixed.reshape(*x.shape[:2], self.width)
        return OutputProjection(self.width, name="to_out")(mixed)


class FeedForward(nn.Module):
    """A gated layer of four times the width, with the exact GELU."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, N, width]."""
        both = nn.Dense(8 * self.width, name="net_0_proj")(x)
        value, gate = jnp.split(both, 2, axis=-1)
        return nn.Dense(self.width, name="net_2")(value * nn.gelu(gate, approximate=False))


class TransformerBlock(nn.Module):
    """Self-attention, attention to the prompt, feed-forward; each behind a layer norm, residual.

    Without a prompt, self-attention twice.
    """

    width: int
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array | None) -> jax.Array:
        """f32[B, N, width] of x and context f32[B, L, F]."""
        h = nn.LayerNorm(epsilon=1e-5, name="norm1")(x)
        x = x + Attention(self.width, self.heads, name="attn1")(h, h)
        h = nn.LayerNorm(epsilon=1e-5, name="norm2")(x)
        look = h if context is None else context
        x = x + Attention(self.width, self.heads, name="attn2")(h, look)
        h = nn.LayerNorm(epsilon=1e-5, name="norm3")(x)
        return x + FeedForward(self.width, name="ff")(h)


class Transformer(nn.Module):
    """A transformer block over the pixels of an image."""

    width: int
    heads: int
    groups: int
    linear: bool  # dense layers around attention; else 1 x 1 convolutions

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """f32[B, H, W, width] of x and context f32[B, L, F]."""

        def project(name: str, values: jax.Array) -> jax.Array:
            layer = nn.Dense(self.width, name=name) if self.linear else _conv(self.width, name, 1)
            return layer(values)

        h = nn.GroupNorm(self.groups, epsilon=TRANSFORMER_EPSILON, name="norm")(x)
        h = project("proj_in", h).reshape(x.shape[0], -1, self.width)
        h = TransformerBlock(self.width, self.heads, name="transformer_blocks_0")(h, context)
        return x + project("proj_out", h.reshape(*x.shape[:-1], self.width))


class Resample(nn.Module):
    """A convolution that halves the sides, or one behind a doubling."""

    width: int
    up: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, H', W', width]."""
        if self.up:
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
            return _conv(self.width, "conv")(x)
        return _conv(self.width, "conv", stride=2)(x)


class Layers(nn.Module):
    """What a level is made of; subclasses say in which order."""

    config: NetworkConfig

    def resnet(self, index: int, width: int, x: jax.Array, time: jax.Array) -> jax.Array:
        """A ResNet block."""
        config = self.config
        block = ResnetBlock(width, config.norm_num_groups, config.norm_eps, name=f"resnets_{index}")
        return block(x, time)

    def attend(self, index: int, width: int, x: jax.Array, context: jax.Array) -> jax.Array:
        """A transformer."""
        config = self.config
        assert isinstance(config, UNetConfig)
        transformer = Transformer(
            width,
            heads=config.attention_head_dim,
            groups=config.norm_num_groups,
            linear=config.use_linear_projection,
            name=f"attentions_{index}",
        )
        return transformer(x, context)


class Block(Layers):
    """The layers of one level, on the way down or up."""

    kind: str
    level: int

    @nn.compact
    def __call__(
        self, x: jax.Array, time: jax.Array, context: jax.Array, skips: list[jax.Array]
    ) -> jax.Array:
        """Down: appends what it makes to `skips`. Up: takes those off again, last first."""
        config, up = self.config, "Up" in self.kind
        width = config.block_out_channels[self.level]
        for i in range(config.layers_per_block + up):
            if up:
                x = jnp.concatenate([x, skips.pop()], axis=-1)
            x = self.resnet(i, width, x, time)
            if "CrossAttn" in self.kind:
                x = self.attend(i, width, x, context)
            if not up:
                skips.append(x)
        if up and self.level > 0:
            x = Resample(width, True, name="upsamplers_0")(x)
        elif not up and self.level < len(config.block_out_channels) - 1:
            x = Resample(width, False, name="downsamplers_0")(x)
            skips.append(x)
        return x


class MidBlock(Layers):
    """The layers of the lowest level; without a prompt, diffusers has one ResNet there."""

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, context: jax.Array) -> jax.Array:
        """f32[B, H, W, C]."""
        width = self.config.block_out_channels[-1]
        x = self.resnet(0, width, x, time)
        if self.config.mid_attends:
            x = self.attend(0, width, x, context)
            x = self.resnet(1, width, x, time)
        return x


class UNet(nn.Module):
    """The whole network."""

    config: NetworkConfig

    block: ClassVar[type[Block]] = Block
    mid_block: ClassVar[type[MidBlock]] = MidBlock

    @nn.compact
    def __call__(self, x: jax.Array, timestep: jax.Array, context: jax.Array) -> jax.Array:
        """What the model predicts, f32[B, H, W, out_channels].

        Args:
          x: f32[B, H, W, in_channels].
          timestep: i32[B].
          context: The prompt's tokens f32[B, L, F]; not read where no block attends to them.
        """
        config = self.config
        widths = config.block_out_channels
        time = timestep_embedding(timestep, widths[0])
        time = TimeEmbedding(4 * widths[0], name="time_embedding")(time)
        x = self.enter(_conv(widths[0], "conv_in")(x))
        skips = [x]
        for i, kind in enumerate(config.down_block_types):
            x = self.block(config, kind, i, name=f"down_blocks_{i}")(x, time, context, skips)
        x = self.mid_block(config, name="mid_block")(x, time, context)
        for i, kind in enumerate(config.up_block_types):
            level = len(widths) - 1 - i
            x = self.block(config, kind, level, name=f"up_blocks_{i}")(x, time, context, skips)
        x = nn.GroupNorm(config.norm_num_groups, epsilon=config.norm_eps, name="conv_norm_out")(x)
        return _conv(config.out_channels, "conv_out")(nn.silu(x))

    def enter(self, x: jax.Array) -> jax.Array:
        """Between the first convolution and the levels: nothing, for images."""
        return x
