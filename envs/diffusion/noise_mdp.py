"""The one-step decision problem: choose the initial noise, get the reward of the image. Spec 2.1.

The state is the prompt, the action is z, the transition is the whole sampler of the frozen model,
through which no gradient is asked for. Axes: B images; D stands for the shape of the latent.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax.environment import TimeStep, timestep
from ai_econ_jax.envs.diffusion import sampler as sampler_lib
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig, ScheduleConfig
from ai_econ_jax.spaces import Box


class Model(Protocol):
    """A diffusion model; immutable and hashable, its weights come from outside."""

    @property
    def schedule(self) -> ScheduleConfig:
        """How it was trained to denoise."""
        ...

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of the initial noise."""
        ...

    def denoise(
        self, weights: Any, condition: jax.Array, x: jax.Array, timestep: jax.Array
    ) -> jax.Array:
        """The network's output f32[B, *D] for x f32[B, *D], timestep i32[B], condition [B, ...]."""
        ...

    def null_condition(self, weights: Any) -> jax.Array:
        """The condition of the empty prompt."""
        ...

    def feature(self, condition: jax.Array) -> jax.Array:
        """A vector f32[E] that stands for the prompt; E may be 0."""
        ...

    def decode(self, weights: Any, x: jax.Array) -> jax.Array:
        """Images f32[B, ...] of latents f32[B, *D]."""
        ...


@struct.dataclass
class Task:
    """What is asked of the model."""

    condition: Any  # of the prompt, as the model's `denoise` takes it, without the batch axis
    reward: Any  # parameters of the reward function, any pytree


@struct.dataclass
class DiffusionParams:
    """Parameters of both decision problems: the model's weights, and the task."""

    weights: Any
    task: Task


_CLIPS_AT_ONCE = 32  # of 8 frames: as many frames as images are drawn at once elsewhere

# reward(parameters, images f32[B, ...]) -> f32[B]
Reward = Callable[[Any, jax.Array], jax.Array]


def denoiser(model: Model, sampler: SamplerConfig, params: DiffusionParams) -> sampler_lib.Denoise:
    """The model's network for a prompt, guided where the sampler asks for it."""

    def denoise(x: jax.Array, at: jax.Array, condition: jax.Array) -> jax.Array:
        return model.denoise(params.weights, condition, x, at)

    null = model.null_condition(params.weights)
    return sampler_lib.guided(denoise, params.task.condition, null, sampler.guidance_scale)


def generate(
    model: Model, sampler: SamplerConfig, keys: jax.Array, z: jax.Array, params: DiffusionParams
) -> jax.Array:
    """Images f32[B, ...] of initial noises f32[B, *D] with keys key[B]."""
    denoise = denoiser(model, sampler, params)
    return model.decode(
        params.weights, sampler_lib.sample(denoise, model.schedule, sampler, z, keys)
    )


def generate_many(
    model: Model, sampler: SamplerConfig, keys: jax.Array, z: jax.Array, params: DiffusionParams
) -> jax.Array:
    """As `generate`; of clips a part after the other, whose frames need memory all at once."""
    if len(model.latent_shape) < 4:
        return generate(model, sampler, keys, z, params)
    count = len(z)
    parts = -(-count // _CLIPS_AT_ONCE)
    size = -(-count // parts)
    # Where parts of one size hold more than there are, the last ends with the first clips again.
    rows = jnp.arange(parts * size).reshape(parts, size) % count

    def part(row: jax.Array) -> jax.Array:
        return generate(model, sampler, keys[row], z[row], params)

    images = jax.lax.map(part, rows)
    return images.reshape(-1, *images.shape[2:])[:count]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def draw_images(
    model: Model,
    sampler: SamplerConfig,
    count: int,
    key: jax.Array,
    weights: Any,
    condition: jax.Array,
) -> jax.Array:
    """The frozen model's own images f32[count, ...] of a prompt, from noise of N(0, I)."""
    noise_key, sampler_key = jax.random.split(key)
    z = jax.random.normal(noise_key, (count, *model.latent_shape))
    params = DiffusionParams(weights, Task(condition, None))
    return generate_many(model, sampler, jax.random.split(sampler_key, count), z, params)


@dataclasses.dataclass(frozen=True)
class NoiseEnvironment:
    """The one-step problem. Its action is the initial noise f32[*D], its observation the prompt."""

    model: Model
    sampler: SamplerConfig
    reward: Reward

    def reset(self, key: jax.Array, params: DiffusionParams) -> tuple[tuple[()], TimeStep]:
        """Show the prompt: observation f32[E]."""
        return (), self._timestep(params, jnp.float32(0.0), False, {})

    def step(
        self, key: jax.Array, state: tuple[()], action: jax.Array, params: DiffusionParams
    ) -> tuple[tuple[()], TimeStep]:
        """Draw the image of a noise f32[*D]; ``info["image"]`` holds it. The episode ends."""
        images, rewards = self.play(key[None], action[None], params)
        return (), self._timestep(params, rewards[0], True, {"image": images[0]})

    def play(
        self, keys: jax.Array, z: jax.Array, params: DiffusionParams
    ) -> tuple[jax.Array, jax.Array]:
        """As `step`, for a batch in one call of the network: z f32[B, *D] with keys key[B].

        Returns:
          Images f32[B, ...] and rewards f32[B].
        """
        images = self.generate(keys, z, params)
        return images, self.reward(params.task.reward, images)

    def generate(self, keys: jax.Array, z: jax.Array, params: DiffusionParams) -> jax.Array:
        """Images f32[B, ...] of initial noises f32[B, *D], without their rewards."""
        return generate(self.model, self.sampler, keys, z, params)

    def observation_space(self, params: DiffusionParams) -> Box:
        """The prompt's feature."""
        return Box(-jnp.inf, jnp.inf, self.model.feature(params.task.condition).shape)

    def action_space(self, params: DiffusionParams) -> Box:
        """All of R^D."""
        return Box(-jnp.inf, jnp.inf, self.model.latent_shape)

    def _timestep(
        self, params: DiffusionParams, reward: jax.Array, terminated: bool, info: dict
    ) -> TimeStep:
        feature = self.model.feature(params.task.condition)
        return timestep(feature, reward, terminated=terminated, info=info)
