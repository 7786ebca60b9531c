"""Networks of workers and planner: separate policy and value towers, with memory.

Source: AI Economist, arXiv 2108.02755, official code; spec section 2.3. Axes: T time, B whatever
else is batched, C channels, V x V visible cells, F features, A actions.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax import config as config_lib
from ai_econ_jax import recurrent

MAP_ENCODERS = ("conv", "dense")
# Codes of workers and owners on the index map, of which a world with N workers uses N + 2.
VOCABULARY, EMBEDDING_WIDTH = 100, 4
_CONV_FEATURES = (16, 32)
_LAYER_NORM_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class TowerConfig:
    """Both towers of a role; the defaults are the published workers'.

    Attributes:
      map_encoder: ``conv``, the published one, or ``dense``, one layer that does not look at the
        index map; without effect where the role sees no map.
      map_width: Width of ``dense``.
      hidden: Widths of the layers behind.
      memory: ``lstm``, ``gru`` or ``none``.
      memory_width: H.
    """

    map_encoder: str = "conv"
    map_width: int = 32
    hidden: tuple[int, ...] = (128, 128)
    memory: str = "lstm"
    memory_width: int = 128

    def validate(self) -> None:
        """Check names and ranges."""
        config_lib.check_one_of("map_encoder", self.map_encoder, MAP_ENCODERS)
        config_lib.check_range("map_width", self.map_width, 1, 4096)
        for width in self.hidden:
            config_lib.check_range("hidden", width, 1, 4096)
        config_lib.check_one_of("memory", self.memory, recurrent.MEMORIES)
        config_lib.check_range("memory_width", self.memory_width, 1, 4096)

    @property
    def carry_width(self) -> int:
        """Numbers that one tower remembers."""
        return recurrent.carry_width(self.memory, self.memory_width)


@struct.dataclass
class Inputs:
    """What a role's network reads. ``map`` and ``index_map`` are None where it sees no map.

    Attributes:
      map: f32 or i8[..., C, V, V], 0 or 1.
      index_map: i32 or i8[..., 2, V, V].
      flat: f32[..., F]; time stands in it twice, as in the official network.
      action_mask: bool[..., A].
    """

    map: Any
    index_map: Any
    flat: Any
    action_mask: Any

    def compact(self) -> Inputs:
        """The same with maps in bytes, to be stored."""
        if self.map is None:
            return self
        return dataclasses.replace(
            self, map=self.map.astype(jnp.int8), index_map=self.index_map.astype(jnp.int8)
        )


class ConvEncoder(nn.Module):
    """The published encoder: embedded codes beside the channels, two convolutions, f32[..., 128].

    The 3 x 3 convolutions of stride 2 are written as products of patches with a matrix: under
    `vmap` over seeds they stay products, where a convolution would turn into a grouped one, which
    is an order of magnitude slower on a CPU; and codes are looked up by a product, for the gradient
    of a gather is a scatter.
    """

    num_codes: int

    @nn.compact
    def __call__(self, channels: jax.Array, codes: jax.Array) -> jax.Array:
        """Encode maps ``[..., C, V, V]`` and ``[..., 2, V, V]``."""
        table = self.param(
            "embedding", nn.initializers.uniform(0.05), (VOCABULARY, EMBEDDING_WIDTH)
        )
        codes = jnp.moveaxis(codes, -3, -1)
        embedded = jax.nn.one_hot(codes, self.num_codes) @ table[: self.num_codes]
        embedded = embedded.reshape(*codes.shape[:-1], -1)
        x = jnp.concatenate([jnp.moveaxis(channels, -3, -1).astype(table.dtype), embedded], axis=-1)
        for i, features in enumerate(_CONV_FEATURES):
            kernel = self.param(
                f"conv_{i}", nn.initializers.glorot_uniform(), (3, 3, x.shape[-1], features)
            )
            bias = self.param(f"conv_{i}_bias", nn.initializers.zeros, (features,))
            patches = _patches(x)
            x = nn.relu(patches @ kernel.reshape(-1, features) + bias)
        return x.reshape(*x.shape[:-3], -1)


def _patches(x: jax.Array) -> jax.Array:
    """3 x 3 patches at stride 2 without padding: [..., V, V, C] to [..., V', V', 9 C]."""
    rows, columns = x.shape[-3], x.shape[-2]
    down, along = (rows - 3) // 2 * 2 + 1, (columns - 3) // 2 * 2 + 1
    shifted = [x[..., i : i + down : 2, j : j + along : 2, :] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1)


class DenseEncoder(nn.Module):
    """One layer over all channels of the map, ``f32[..., width]``."""

    width: int

    @nn.compact
    def __call__(self, channels: jax.Array, codes: jax.Array) -> jax.Array:
        """Encode maps ``[..., C, V, V]``."""
        del codes
        flat = channels.reshape(*channels.shape[:-3], -1).astype(jnp.float32)
        return nn.relu(_dense(self.width)(flat))


class Tower(nn.Module):
    """Encoder, layers, memory, output."""

    config: TowerConfig
    num_outputs: int
    num_codes: int

    @nn.compact
    def __call__(
        self, carry: jax.Array, inputs: Inputs, first: jax.Array, time_axis: int = 0
    ) -> tuple[jax.Array, jax.Array]:
        """Read a sequence.

        Args:
          carry: f32[B, carry width].
          inputs: leaves [T, B, ...].
          first: bool[T, B], see ``recurrent.LSTM``.
          time_axis: 0, or 1 where all of these are [B, T, ...]. Only memory looks at time.

        Returns:
          The carry behind the last step, and outputs f32[T, B, num_outputs].
        """
        config, x = self.config, inputs.flat
        if inputs.map is not None:
            encoder: nn.Module
            if config.map_encoder == "conv":
                encoder = ConvEncoder(self.num_codes, name="map")
            else:
                encoder = DenseEncoder(config.map_width, name="map")
            x = jnp.concatenate([encoder(inputs.map, inputs.index_map), x], axis=-1)
        for width in config.hidden:
            x = nn.relu(_dense(width)(x))
        if config.memory != "none":
            x = nn.LayerNorm(epsilon=_LAYER_NORM_EPSILON)(x)
            memory = recurrent.LAYERS[config.memory](config.memory_width, name="memory")
            carry, x = memory(carry, x.swapaxes(0, time_axis), first.swapaxes(0, time_axis))
            x = x.swapaxes(0, time_axis)
        return carry, _dense(self.num_outputs)(x)


class RoleNetwork(nn.Module):
    """Policy and value towers of one role, which share nothing."""

    config: TowerConfig
    num_logits: int
    num_codes: int  # codes in use on the index map

    def setup(self) -> None:
        """Build the towers."""
        self.policy_tower = Tower(self.config, self.num_logits, self.num_codes)
        self.value_tower = Tower(self.config, 1, self.num_codes)

    def __call__(self, carry: RoleCarry, inputs: Inputs, first: jax.Array, time_axis: int = 0):
        """Return the carry, logits f32[T, B, A] (not masked) and values f32[T, B]."""
        policy_carry, logits = self.policy_tower(carry.policy, inputs, first, time_axis)
        value_carry, value = self.value_tower(carry.value, inputs, first, time_axis)
        return RoleCarry(policy_carry, value_carry), logits, jnp.squeeze(value, axis=-1)


@struct.dataclass
class RoleCarry:
    """What the towers of one role remember, f32[B, carry width] each."""

    policy: jax.Array
    value: jax.Array


def _dense(width: int) -> nn.Dense:
    return nn.Dense(width, kernel_init=nn.initializers.glorot_uniform())


def num_parameters(params: Any) -> int:
    """Number of trainable numbers."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
