"""What a reward is to be expected to be: the calibration network g of FIND. Spec 2.3.

g sees the noise policy and the prompt, `r_bar = g(mean, std, prompt)`, and learns the mean reward
of that policy's images, so that `r - r_bar` says whether a noise did better than its policy.
Axes: M rollouts (one policy each), B images of a rollout, E size of the prompt's feature.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ai_econ_jax import devices, losses

_WIDTH = 256
_WEIGHT_DECAY = 0.01  # torch's default of AdamW, which the released code leaves as it is
_GRADIENTS, _BATCH = 5, 256  # gradients averaged into one step, and rewards in each
# Uniform in +-1/sqrt(fan_in), kernel and bias, as torch's Linear begins.
_UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class CalibrationNetwork(nn.Module):
    """Three hidden layers of 256 and ReLU."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Expected reward f32[...] for inputs f32[..., 2 P + E]."""
        for _ in range(3):
            dense = nn.Dense(_WIDTH, kernel_init=_UNIFORM, bias_init=_uniform_bias(x.shape[-1]))
            x = nn.relu(dense(x))
        last = nn.Dense(
            1,
            kernel_init=nn.initializers.xavier_normal(),
            bias_init=_uniform_bias(_WIDTH),
        )
        return jnp.squeeze(last(x), -1)


def _uniform_bias(fan_in: int) -> Any:
    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        bound = fan_in**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Calibration(NamedTuple):
    """The network and its optimiser's state."""

    params: Any
    optimizer: Any


def inputs(mean: jax.Array, std: jax.Array, feature: jax.Array) -> jax.Array:
    """What g sees, f32[M, 2 P + E], of policies f32[M, *P] and a prompt f32[E]."""
    count = mean.shape[0]
    parts = [mean.reshape(count, -1), std.reshape(count, -1)]
    return jnp.concatenate([*parts, jnp.broadcast_to(feature, (count, *feature.shape))], 1)


def init(key: jax.Array, size: int, learning_rate: jax.Array) -> Calibration:
    """A fresh g for inputs of a size."""
    params = CalibrationNetwork().init(key, jnp.zeros((1, size)))
    return Calibration(params, _optimizer(learning_rate).init(params))


def expected_reward(calibration: Calibration, policies: jax.Array) -> jax.Array:
    """g, f32[M], of inputs f32[M, 2 P + E]."""
    return _predict(calibration.params, policies)


def fit(
    calibration: Calibration,
    policies: jax.Array,
    rewards: jax.Array,
    weights: jax.Array,
    learning_rate: jax.Array,
    axis_name: str | None = None,
) -> Calibration:
    """One step of AdamW on `mean (g(policy) - r)^2`.

    Args:
      calibration: Before.
      policies: Inputs f32[M, 2 P + E].
      rewards: f32[M, B].
      weights: f32[M, B], how often each reward counts.
      learning_rate: f32[].
      axis_name: Mapped axis over which B is sharded.

    Returns:
      After.
    """

    def loss(params: Any) -> jax.Array:
        predicted = _predict(params, policies)[:, None]
        errors = losses.value_loss(jnp.broadcast_to(predicted, rewards.shape), rewards)
        return losses.masked_mean(errors, weights, axis_name)

    gradient = devices.mean_over(jax.grad(loss)(calibration.params), axis_name)
    updates, optimizer = _optimizer(learning_rate).update(
        gradient, calibration.optimizer, calibration.params
    )
    return Calibration(optax.apply_updates(calibration.params, updates), optimizer)


def draw_weights(key: jax.Array, filled: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """How often each remembered reward is drawn for one step, f32[M, B].

    The released code adds up 5 gradients of 256 rewards each, drawn with replacement, before it
    steps: that is one gradient of 1,280, in which a reward counts as often as it was drawn.

    Args:
      key: Drawn from.
      filled: i32[], rollouts in the history; the first so many rows.
      shape: (M, B).
    """
    count = _GRADIENTS * _BATCH
    drawn = jax.random.randint(key, (count,), 0, filled * shape[1])
    return jnp.zeros(shape[0] * shape[1]).at[drawn].add(1.0).reshape(shape)


def _predict(params: Any, policies: jax.Array) -> jax.Array:
    predicted = CalibrationNetwork().apply(params, policies)
    assert isinstance(predicted, jax.Array)
    return predicted


def _optimizer(learning_rate: jax.Array) -> optax.GradientTransformation:
    return optax.adamw(learning_rate, weight_decay=_WEIGHT_DECAY)
