"""Memory for policies: recurrent layers over time that forget where an episode starts. Flax linen.

Time-major: axes T time, B whatever else is batched, H width.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

MEMORIES = ("none", "lstm", "gru")


def carry_width(kind: str, width: int) -> int:
    """Numbers that a memory of ``kind`` and ``width`` keeps per sequence.

    Raises:
      ValueError: unknown ``kind``.
    """
    widths = {"none": 0, "lstm": 2 * width, "gru": width}
    if kind not in widths:
        raise ValueError(f"field memory = {kind!r}: must be one of {', '.join(MEMORIES)}")
    return widths[kind]


class LSTM(nn.Module):
    """Long short-term memory, with Keras' initial values: forget gates start open.

    ``i, f, g, o = x K + h R + b`` (sigmoid, g tanh), ``c' = f c + i g``, ``h' = o tanh(c')``.
    Hochreiter and Schmidhuber (1997). The carry is ``[c, h]`` side by side.
    """

    width: int

    @nn.compact
    def __call__(
        self, carry: jax.Array, x: jax.Array, first: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Read a sequence.

        Args:
          carry: f32[B, 2 H].
          x: f32[T, B, F].
          first: bool[T, B], the step is the first of an episode: the carry is zeroed before it.

        Returns:
          The carry behind the last step, and the outputs f32[T, B, H].
        """
        width = self.width
        kernel = self.param(
            "kernel", nn.initializers.glorot_uniform(), (x.shape[-1], 4 * width), x.dtype
        )
        recurrent = self.param("recurrent", nn.initializers.orthogonal(), (width, 4 * width))
        bias = self.param("bias", _open_forget_gates, (4 * width,))
        projected = x @ kernel + bias  # one large product for all steps

        def step(carry: jax.Array, inputs: tuple[jax.Array, jax.Array]):
            projected, starts = inputs
            cell, hidden = jnp.split(jnp.where(starts[..., None], 0.0, carry), 2, axis=-1)
            gates = projected + hidden @ recurrent
            let_in, keep, new, let_out = jnp.split(gates, 4, axis=-1)
            cell = nn.sigmoid(keep) * cell + nn.sigmoid(let_in) * jnp.tanh(new)
            hidden = nn.sigmoid(let_out) * jnp.tanh(cell)
            return jnp.concatenate([cell, hidden], axis=-1), hidden

        return jax.lax.scan(step, carry, (projected, first))


class GRU(nn.Module):
    """Gated recurrent unit, two thirds of an LSTM's cost.

    ``z, r = x K + h R + b`` (sigmoid), ``n = tanh(x K_n + b_n + r (h R_n))``,
    ``h' = (1 - z) n + z h``. Cho et al. (2014), https://arxiv.org/abs/1406.1078. The carry is h.
    """

    width: int

    @nn.compact
    def __call__(
        self, carry: jax.Array, x: jax.Array, first: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Read a sequence; as ``LSTM``, with a carry f32[B, H]."""
        width = self.width
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), (x.shape[-1], 3 * width))
        recurrent = self.param("recurrent", nn.initializers.orthogonal(), (width, 3 * width))
        bias = self.param("bias", nn.initializers.zeros, (3 * width,))
        projected = x @ kernel + bias

        def step(hidden: jax.Array, inputs: tuple[jax.Array, jax.Array]):
            projected, starts = inputs
            hidden = jnp.where(starts[..., None], 0.0, hidden)
            of_x, of_hidden = jnp.split(projected, 3, -1), jnp.split(hidden @ recurrent, 3, -1)
            keep, read = (nn.sigmoid(of_x[i] + of_hidden[i]) for i in range(2))
            new = jnp.tanh(of_x[2] + read * of_hidden[2])
            hidden = (1.0 - keep) * new + keep * hidden
            return hidden, hidden

        return jax.lax.scan(step, carry, (projected, first))


LAYERS = {"lstm": LSTM, "gru": GRU}


def _open_forget_gates(key: jax.Array, shape: tuple[int], dtype: jnp.dtype = jnp.float32):
    del key
    quarter = shape[0] // 4
    return jnp.zeros(shape, dtype).at[quarter : 2 * quarter].set(1.0)
