"""Spaces: what an action or an observation may be. Small, immutable, and usable under jit."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Discrete:
    """Integers ``0 .. n - 1``."""

    n: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one element."""
        return ()

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw uniformly; ``i32[]``."""
        return jax.random.randint(key, (), 0, self.n)

    def contains(self, x: jax.Array) -> jax.Array:
        """Whether ``x`` is an element; ``bool[]``."""
        return jnp.all((x >= 0) & (x < self.n))


@dataclasses.dataclass(frozen=True)
class MultiDiscrete:
    """Vectors of integers; entry ``k`` is in ``0 .. sizes[k] - 1``."""

    sizes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one element."""
        return (len(self.sizes),)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw uniformly; ``i32[len(sizes)]``."""
        return jax.random.randint(key, self.shape, 0, jnp.asarray(self.sizes))

    def contains(self, x: jax.Array) -> jax.Array:
        """Whether ``x`` is an element; ``bool[]``."""
        return jnp.all((x >= 0) & (x < jnp.asarray(self.sizes)))


@dataclasses.dataclass(frozen=True)
class Grid:
    """Matrices of integers of ``rows`` equal rows; column ``k`` is in ``0 .. sizes[k] - 1``."""

    sizes: tuple[int, ...]
    rows: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one element."""
        return (self.rows, len(self.sizes))

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw uniformly; ``i32[rows, len(sizes)]``."""
        return jax.random.randint(key, self.shape, 0, jnp.asarray(self.sizes))

    def contains(self, x: jax.Array) -> jax.Array:
        """Whether ``x`` is an element; ``bool[]``."""
        return jnp.all((x >= 0) & (x < jnp.asarray(self.sizes)))


@dataclasses.dataclass(frozen=True)
class Box:
    """Real arrays of a shape, between ``low`` and ``high`` (which may be infinite)."""

    low: Any
    high: Any
    shape: tuple[int, ...]

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw uniformly (standard normal where a bound is infinite); ``f32[shape]``."""
        bounded = jnp.isfinite(self.low) & jnp.isfinite(self.high)
        low = jnp.where(bounded, self.low, 0.0)
        high = jnp.where(bounded, self.high, 1.0)
        uniform = jax.random.uniform(key, self.shape, minval=low, maxval=high)
        return jnp.where(bounded, uniform, jax.random.normal(key, self.shape))

    def contains(self, x: jax.Array) -> jax.Array:
        """Whether ``x`` is an element; ``bool[]``."""
        return jnp.all((x >= self.low) & (x <= self.high))
