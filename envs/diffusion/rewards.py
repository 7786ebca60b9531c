"""Rewards of images: pure functions of parameters and images. Axes: B images."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def linear_reward(direction: jax.Array, images: jax.Array) -> jax.Array:
    """`direction . image`, f32[B], for images f32[B, *D] and a direction f32[*D]."""
    return jnp.einsum("bd,d->b", images.reshape(images.shape[0], -1), direction.reshape(-1))
