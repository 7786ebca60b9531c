"""The text encoder of Stable Diffusion 1.x and of our small models: CLIP's text transformer.

Described by the fields of transformers' ``text_encoder/config.json`` under the same names, with
submodules under transformers' names (CLIPTextModel), so that checkpoints of either load into the
other. Radford et al. (2021), https://arxiv.org/abs/2103.00020. Spec 3.5. Axes: B prompts, L tokens,
F width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from numpy.typing import NDArray

from ai_econ_jax import config as config_lib
from ai_econ_jax.envs.diffusion import weights as weights_lib


def quick_gelu(x: jax.Array) -> jax.Array:
    """`x sigmoid(1.702 x)`."""
    return x * jax.nn.sigmoid(1.702 * x)


def _exact_gelu(x: jax.Array) -> jax.Array:
    return nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "quick_gelu": quick_gelu,
    "gelu": _exact_gelu,
}
_PREFIX = "text_model."  # of the names in files; transformers 5 has none in memory


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Fields of transformers' config; the defaults are those of Stable Diffusion 1.x."""

    vocab_size: int = 49408
    hidden_size: int = 768  # F
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77  # L, at most
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    def validate(self) -> None:
        """Check names, and that the heads divide the width."""
        for field in dataclasses.fields(self):
            if field.type == "int":
                config_lib.check_range(field.name, getattr(self, field.name), 1)
        config_lib.check(
            self.hidden_size % self.num_attention_heads == 0,
            "num_attention_heads",
            self.num_attention_heads,
            f"must divide hidden_size, {self.hidden_size}",
        )
        config_lib.check_one_of("hidden_act", self.hidden_act, tuple(ACTIVATIONS))
        config_lib.check_positive("layer_norm_eps", self.layer_norm_eps)


class Embeddings(nn.Module):
    """Of tokens and of their places."""

    config: TextConfig

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """f32[B, L, F] of tokens i32[B, L]."""
        config = self.config
        init = nn.initializers.normal(0.02)
        words = nn.Embed(
            config.vocab_size, config.hidden_size, embedding_init=init, name="token_embedding"
        )
        places = nn.Embed(
            config.max_position_embeddings,
            config.hidden_size,
            embedding_init=init,
            name="position_embedding",
        )
        return words(tokens) + places(jnp.arange(tokens.shape[1]))


class SelfAttention(nn.Module):
    """Multi-head attention in which a token sees itself and those before it."""

    config: TextConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, L, F]."""
        width, heads = self.config.hidden_size, self.config.num_attention_heads

        def project(name: str) -> jax.Array:
            return nn.Dense(width, name=name)(x).reshape(*x.shape[:2], heads, -1)

        mixed = jax.nn.dot_product_attention(
            project("q_proj"), project("k_proj"), project("v_proj"), is_causal=True
        )
        return nn.Dense(width, name="out_proj")(mixed.reshape(x.shape))


class FeedForward(nn.Module):
    """Two dense layers."""

    config: TextConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, L, F]."""
        x = nn.Dense(self.config.intermediate_size, name="fc1")(x)
        x = ACTIVATIONS[self.config.hidden_act](x)
        return nn.Dense(self.config.hidden_size, name="fc2")(x)


class Layer(nn.Module):
    """Self-attention and feed-forward, each behind a layer norm, residual."""

    config: TextConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, L, F]."""
        epsilon = self.config.layer_norm_eps
        h = nn.LayerNorm(epsilon=epsilon, name="layer_norm1")(x)
        x = x + SelfAttention(self.config, name="self_attn")(h)
        h = nn.LayerNorm(epsilon=epsilon, name="layer_norm2")(x)
        return x + FeedForward(self.config, name="mlp")(h)


class Encoder(nn.Module):
    """The layers."""

    config: TextConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, L, F]."""
        for i in range(self.config.num_hidden_layers):
            x = Layer(self.config, name=f"layers_{i}")(x)
        return x


class TextEncoder(nn.Module):
    """The whole network. What a diffusion model attends to is the state of every token."""

    config: TextConfig

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """States f32[B, L, F] of tokens i32[B, L], behind the last layer norm."""
        x = Embeddings(self.config, name="embeddings")(tokens)
        x = Encoder(self.config, name="encoder")(x)
        return nn.LayerNorm(epsilon=self.config.layer_norm_eps, name="final_layer_norm")(x)


def init(key: jax.Array, config: TextConfig) -> Any:
    """Fresh parameters."""
    tokens = jnp.zeros((1, config.max_position_embeddings), jnp.int32)
    return TextEncoder(config).init(key, tokens)["params"]


def to_file(params: Any) -> dict[str, NDArray]:
    """Parameters under transformers' names in files, and in its layouts."""
    return {_PREFIX + name: value for name, value in weights_lib.to_diffusers(params).items()}


def from_file(tensors: Mapping[str, NDArray], config: TextConfig, where: str) -> Any:
    """Parameters from a file's arrays, in float32; names with or without ``text_model.``.

    Raises:
      WeightsError: A tensor is missing, unexpected, of another shape, or not finite.
    """
    bare = {
        name.removeprefix(_PREFIX): value
        for name, value in tensors.items()
        if not name.endswith("position_ids")  # a counter, which older files keep
    }
    template = jax.eval_shape(lambda key: init(key, config), jax.random.key(0))
    return weights_lib.from_diffusers(bare, template, where)
