"""Small networks that several systems use. Flax linen: parameters are plain pytrees."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": nn.tanh,
    "relu": nn.relu,
    "silu": nn.silu,
}


class MLP(nn.Module):
    """Dense layers with an activation after each but the last.

    Orthogonal kernels with gain sqrt(2), the last with ``output_gain``; zero biases: what PPO
    implementations settled on (Engstrom et al. 2020, "Implementation Matters").
    """

    features: Sequence[int]
    activation: str = "tanh"
    output_gain: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``f32[..., in]`` to ``f32[..., features[-1]]``."""
        for width in self.features[:-1]:
            x = nn.Dense(width, kernel_init=nn.initializers.orthogonal(np.sqrt(2.0)))(x)
            x = ACTIVATIONS[self.activation](x)
        kernel_init = nn.initializers.orthogonal(self.output_gain)
        return nn.Dense(self.features[-1], kernel_init=kernel_init)(x)


class ActorCritic(nn.Module):
    """Separate policy and value towers over the same observation vector."""

    num_logits: int
    hidden: Sequence[int] = (64, 64)
    activation: str = "tanh"

    def setup(self) -> None:
        """Build the towers; the small policy gain starts near the uniform distribution."""
        hidden = tuple(self.hidden)
        self.policy = MLP((*hidden, self.num_logits), self.activation, output_gain=0.01)
        self.critic = MLP((*hidden, 1), self.activation)

    def __call__(self, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return logits ``f32[..., num_logits]`` and value ``f32[...]``."""
        return self.logits(observation), self.value(observation)

    def logits(self, observation: jax.Array) -> jax.Array:
        """Return the logits alone, ``f32[..., num_logits]``."""
        return self.policy(observation)

    def value(self, observation: jax.Array) -> jax.Array:
        """Return the value alone, ``f32[...]``."""
        return jnp.squeeze(self.critic(observation), axis=-1)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **_: Any,
) -> jax.Array:
    """A convolution over one to three axes that stays fast inside ``lax.scan`` on a CPU.

    XLA's CPU convolutions are many times slower in the body of a loop than outside (60 times for
    the gradient of 3 x 3 on 64 images of 8 x 8 x 32), its matrix products are not. So there the
    shifted copies of the image are joined and multiplied by the kernel; elsewhere it is XLA's own.
    For ``nn.Conv(conv_general_dilated=convolve)``, without dilation or groups.

    Args:
      x: f32[B, ..., C], such as f32[B, H, W, C].
      kernel: f32[..., C, O], such as f32[I, J, C, O].
      strides: Of each axis.
      padding: Before and after each axis.

    Returns:
      f32[B, ..., O].
    """
    if jax.default_backend() != "cpu":
        axes = "DHW"[-len(strides) :]
        layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)
    sides, width = kernel.shape[:-2], kernel.shape[-1]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    reach = [size - side + 1 for size, side in zip(x.shape[1:], sides, strict=False)]
    shifted = [
        x[:, *(slice(i, i + r, step) for i, r, step in zip(shift, reach, strides, strict=True))]
        for shift in itertools.product(*map(range, sides))
    ]
    return jnp.concatenate(shifted, -1) @ kernel.reshape(-1, width)
