"""Small networks that several systems use. Flax linen: parameters are plain pytrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
