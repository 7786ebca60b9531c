"""Sampling from a diffusion model: DDIM with any eta, as pure functions of the initial noise.

Every image has a key of its own, from which the noise of its steps is drawn, so that an image does
not depend on the others of its batch, nor on the device that draws it. Spec 2.9.
Axes: B images, S steps; what follows B is the shape of an image (or latent), written ``*D``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.diffusion.schedule import SamplerConfig, ScheduleConfig, make_steps

# denoise(x f32[B, *D], timestep i32[B]) -> f32[B, *D], the network's output.
Denoise = Callable[[jax.Array, jax.Array], jax.Array]


class Step(NamedTuple):
    """One step of a sampler; stacked over S where a scan runs over them."""

    timestep: jax.Array  # i32[]
    alpha_bar: jax.Array  # f32[]
    alpha_bar_prev: jax.Array  # f32[]
    std: jax.Array  # f32[]


class Trajectory(NamedTuple):
    """What a sampler went through."""

    x: jax.Array  # f32[S, B, *D], at the start of each step
    x_prev: jax.Array  # f32[S, B, *D], at its end, the less noisy
    log_prob: jax.Array  # f32[S, B], of the step, mean over D; 0 where the step is deterministic


def stack_steps(schedule: ScheduleConfig, sampler: SamplerConfig) -> Step:
    """The sampler's steps as arrays of leading axis S."""
    steps = make_steps(schedule, sampler)
    return Step(
        timestep=jnp.asarray(steps.timestep),
        alpha_bar=jnp.asarray(steps.alpha_bar, jnp.float32),
        alpha_bar_prev=jnp.asarray(steps.alpha_bar_prev, jnp.float32),
        std=jnp.asarray(steps.std, jnp.float32),
    )


def predict(
    schedule: ScheduleConfig, output: jax.Array, x: jax.Array, alpha_bar: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The image and the noise that the network's output says `x` is made of.

    `x = sqrt(a) x0 + sqrt(1 - a) noise`. A clipped image goes with the noise that then remains.

    Args:
      schedule: What the output means, and whether images are clipped.
      output: f32[..., *D], of the network.
      x: f32[..., *D], its input.
      alpha_bar: a, f32[], or broadcastable to x.

    Returns:
      x0 and noise, each of the shape of x.
    """
    signal, noise_level = jnp.sqrt(alpha_bar), jnp.sqrt(1 - alpha_bar)
    if schedule.prediction_type == "epsilon":
        x0, noise = (x - noise_level * output) / signal, output
    elif schedule.prediction_type == "v_prediction":
        x0, noise = signal * x - noise_level * output, signal * output + noise_level * x
    else:
        x0, noise = output, (x - signal * output) / noise_level
    if schedule.clip_sample:
        limit = schedule.clip_sample_range
        x0 = jnp.clip(x0, -limit, limit)
        noise = (x - signal * x0) / noise_level
    return x0, noise


def step_mean(schedule: ScheduleConfig, step: Step, x: jax.Array, output: jax.Array) -> jax.Array:
    """Mean of x at the end of a step, of the shape of x; its standard deviation is `step.std`."""
    x0, noise = predict(schedule, output, x, step.alpha_bar)
    left = jnp.maximum(1 - step.alpha_bar_prev - jnp.square(step.std), 0.0)
    return jnp.sqrt(step.alpha_bar_prev) * x0 + jnp.sqrt(left) * noise


def step_log_prob(x_prev: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Log-density of steps under N(mean, std^2), the mean over D; 0 where std is 0.

    Args:
      x_prev: f32[B, *D].
      mean: f32[B, *D].
      std: f32[], or f32[B] where every sample is at a step of its own.

    Returns:
      f32[B].
    """
    positive = std > 0
    scale = jnp.where(positive, std, 1.0)
    scale = scale.reshape(scale.shape + (1,) * (x_prev.ndim - scale.ndim))
    log_density = jax.scipy.stats.norm.logpdf(x_prev, mean, scale)
    return jnp.where(positive, log_density.reshape(x_prev.shape[0], -1).mean(1), 0.0)


def step_noise(keys: jax.Array, index: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The noise f32[B, *D] of step `index` of the images with these keys, key[B]."""

    def draw(key: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(key, index), shape)

    return jax.vmap(draw)(keys)


def guided(
    denoise: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    condition: jax.Array,
    null_condition: jax.Array,
    scale: float,
) -> Denoise:
    """Classifier-free guidance, `e_null + w (e_condition - e_null)`, in one call of 2 B.

    Args:
      denoise: `(x f32[B, *D], timestep i32[B], condition f32[B, ...]) -> f32[B, *D]`.
      condition: f32[...], of the prompt, for all images.
      null_condition: f32[...], of the empty prompt.
      scale: w; up to 1 there is no guidance, and only the prompt's condition is used.
    """

    def broadcast(value: jax.Array, count: int) -> jax.Array:
        return jnp.broadcast_to(value, (count, *value.shape))

    def plain(x: jax.Array, timestep: jax.Array) -> jax.Array:
        return denoise(x, timestep, broadcast(condition, x.shape[0]))

    def doubled(x: jax.Array, timestep: jax.Array) -> jax.Array:
        count = x.shape[0]
        both = jnp.concatenate([broadcast(null_condition, count), broadcast(condition, count)])
        output = denoise(jnp.concatenate([x, x]), jnp.concatenate([timestep, timestep]), both)
        without, with_prompt = jnp.split(output, 2)
        return without + scale * (with_prompt - without)

    return doubled if scale > 1 else plain


def sample(
    denoise: Denoise,
    schedule: ScheduleConfig,
    sampler: SamplerConfig,
    z: jax.Array,
    keys: jax.Array,
) -> jax.Array:
    """Turns initial noise into images; keeps nothing on the way.

    Args:
      denoise: The network.
      schedule: Of the network.
      sampler: Steps and eta.
      z: Initial noise f32[B, *D].
      keys: key[B], of the noise that the steps add; not read at eta 0.

    Returns:
      f32[B, *D].
    """
    steps = stack_steps(schedule, sampler)

    def one_step(x: jax.Array, inputs: tuple[jax.Array, Step]):
        index, step = inputs
        x_prev, _ = _advance(denoise, schedule, sampler.eta > 0, x, keys, index, step)
        return x_prev, None

    x, _ = jax.lax.scan(one_step, z, (jnp.arange(sampler.num_steps), steps))
    return x


def sample_trajectory(
    denoise: Denoise,
    schedule: ScheduleConfig,
    sampler: SamplerConfig,
    z: jax.Array,
    keys: jax.Array,
) -> tuple[jax.Array, Trajectory]:
    """As `sample`, the same images, and every step with its log-probability."""
    steps = stack_steps(schedule, sampler)

    def one_step(x: jax.Array, inputs: tuple[jax.Array, Step]):
        index, step = inputs
        x_prev, mean = _advance(denoise, schedule, sampler.eta > 0, x, keys, index, step)
        return x_prev, Trajectory(x, x_prev, step_log_prob(x_prev, mean, step.std))

    return jax.lax.scan(one_step, z, (jnp.arange(sampler.num_steps), steps))


def _advance(
    denoise: Denoise,
    schedule: ScheduleConfig,
    adds_noise: bool,
    x: jax.Array,
    keys: jax.Array,
    index: jax.Array,
    step: Step,
) -> tuple[jax.Array, jax.Array]:
    """One step: x at its end, and the mean of that."""
    timestep = jnp.broadcast_to(step.timestep, x.shape[:1])
    mean = step_mean(schedule, step, x, denoise(x, timestep))
    if not adds_noise:
        return mean, mean
    return mean + step.std * step_noise(keys, index, x.shape[1:]), mean
