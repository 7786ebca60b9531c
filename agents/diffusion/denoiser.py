"""Learning to denoise: the mean squared error of what the network predicts of a noisy image.

Ho et al. (2020), https://arxiv.org/abs/2006.11239, equation 14. Axes: B images of a batch, L tokens
of a caption.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ai_econ_jax import optimizers
from ai_econ_jax.agents.diffusion.config import Draw, TrainConfig
from ai_econ_jax.envs.diffusion.pixel_model import PixelModel
from ai_econ_jax.envs.diffusion.prompt_model import PromptModel
from ai_econ_jax.envs.diffusion.schedule import alphas_cumprod


@struct.dataclass
class DenoiserState:
    """Everything that changes."""

    key: jax.Array
    weights: Any
    average: Any  # exponential moving average of the weights, which is what is kept
    optimizer: Any
    step: jax.Array  # i32[]


def denoising_loss(
    model: PixelModel | PromptModel,
    weights: Any,
    x0: jax.Array,
    captions: jax.Array,
    timestep: jax.Array,
    noise: jax.Array,
) -> jax.Array:
    """Mean squared error, f32[], of predictions about noisy images.

    Args:
      model: Whose schedule says how noisy, and what is predicted.
      weights: Of the model.
      x0: f32[B, *D], images or clips.
      captions: i32[B, L], their tokens; L is 0 where the model has no prompts.
      timestep: i32[B].
      noise: f32[B, *D], standard normal.
    """
    alpha_bar = jnp.asarray(alphas_cumprod(model.schedule), jnp.float32)[timestep]
    alpha_bar = alpha_bar.reshape(-1, *(1,) * (x0.ndim - 1))
    signal, level = jnp.sqrt(alpha_bar), jnp.sqrt(1 - alpha_bar)
    targets = {
        "epsilon": noise,
        "v_prediction": signal * noise - level * x0,
        "sample": x0,
    }
    condition = model.encode(weights, captions)
    output = model.denoise(weights, condition, signal * x0 + level * noise, timestep)
    return jnp.mean(jnp.square(output - targets[model.schedule.prediction_type]))


@dataclasses.dataclass(frozen=True)
class DenoiserTraining:
    """The learner: ``init``, and a call is one update. Equal ones share a compiled program."""

    model: PixelModel | PromptModel
    draw: Draw
    config: TrainConfig

    def init(self, key: jax.Array) -> DenoiserState:
        """Fresh weights."""
        key, weights_key = jax.random.split(key)
        weights = self.model.init(weights_key)
        optimizer = self._optimizer().init(weights)
        return DenoiserState(key, weights, weights, optimizer, jnp.int32(0))

    def __call__(
        self, state: DenoiserState, data: Any
    ) -> tuple[DenoiserState, dict[str, jax.Array]]:
        """One step on a batch that is drawn from the data."""
        key, image_key, time_key, noise_key = jax.random.split(state.key, 4)
        count = self.config.batch_size
        x0, captions = self.draw(image_key, count, data)
        timesteps = self.model.schedule.num_train_timesteps
        timestep = jax.random.randint(time_key, (count,), 0, timesteps)
        noise = jax.random.normal(noise_key, x0.shape)

        def loss(weights: Any) -> jax.Array:
            return denoising_loss(self.model, weights, x0, captions, timestep, noise)

        error, gradient = jax.value_and_grad(loss)(state.weights)
        updates, optimizer = self._optimizer().update(gradient, state.optimizer, state.weights)
        weights = optax.apply_updates(state.weights, updates)
        # Short at the start, or the average would remember the random weights for long.
        decay = jnp.minimum(self.config.ema_decay, (1 + state.step) / (10 + state.step))
        average = jax.tree.map(
            lambda old, new: decay * old + (1 - decay) * new, state.average, weights
        )
        after = DenoiserState(key, weights, average, optimizer, state.step + 1)
        return after, {"loss": error}

    def _optimizer(self) -> optax.GradientTransformation:
        rate = optimizers.learning_rate_schedule(
            "cosine", self.config.learning_rate, self.config.steps
        )
        return optax.adamw(rate, weight_decay=self.config.weight_decay)
