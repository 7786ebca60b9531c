"""Searches over the initial noise that FIND is compared with. Spec 2.10.

Best of N keeps the best image of N; the cross-entropy method moves a Gaussian to its elite; ReNO
follows the gradient of the reward through the sampler, for one noise. The first and the last end
with one noise and no distribution: their fresh samples are the model's own.
Axes: B images of an update; D is the shape of the latent.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.find import noise_policy
from ai_econ_jax.agents.find.noise_policy import NoisePolicy, PixelBasis
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, NoiseEnvironment, Task


@dataclasses.dataclass(frozen=True)
class BestOfNConfig:
    """Best of N draws from N(0, I)."""

    images: int = 320  # N
    batch_size: int = 16

    def validate(self) -> None:
        """Check sizes."""
        _check_images(self.images, self.batch_size)


@dataclasses.dataclass(frozen=True)
class CemConfig:
    """The cross-entropy method."""

    images: int = 320
    batch_size: int = 16
    elite_share: float = 0.25  # of a batch
    mean_rate: float = 0.3  # of the way to the elite's mean, per batch
    learn_std: bool = False  # move the deviation too, at the same rate; else it stays 1
    least_std: float = 0.1

    def validate(self) -> None:
        """Check sizes and ranges."""
        _check_images(self.images, self.batch_size)
        config_lib.check_range("elite_share", self.elite_share, 0.0, 1.0, exclude_low=True)
        config_lib.check(
            round(self.elite_share * self.batch_size) >= 1,
            "elite_share",
            self.elite_share,
            f"leaves no image of a batch of {self.batch_size}",
        )
        config_lib.check_range("mean_rate", self.mean_rate, 0.0, 1.0, exclude_low=True)
        config_lib.check_positive("least_std", self.least_std)


@dataclasses.dataclass(frozen=True)
class RenoConfig:
    """Gradient ascent on one noise; ReNO's own settings."""

    images: int = 50  # steps; each draws one image, forward and backward
    learning_rate: float = 5.0
    momentum: float = 0.9  # Nesterov's
    max_gradient_norm: float = 0.1
    regularization: float = 0.01  # of `|z|^2 / 2 - (D - 1) log |z|`, least at |z|^2 = D - 1
    batch_size: int = 1  # always

    def validate(self) -> None:
        """Check ranges."""
        _check_images(self.images, self.batch_size)
        config_lib.check(self.batch_size == 1, "batch_size", self.batch_size, "must be 1")
        config_lib.check_positive("learning_rate", self.learning_rate)
        config_lib.check_range("momentum", self.momentum, 0.0, 1.0, exclude_high=True)
        config_lib.check_positive("max_gradient_norm", self.max_gradient_norm)
        config_lib.check_range("regularization", self.regularization, 0.0)


@struct.dataclass
class SearchState:
    """Everything that changes, of any search."""

    key: jax.Array
    task: Task
    policy: NoisePolicy  # from which the next noises are drawn; ReNO's mean is its noise
    best_noise: jax.Array  # f32[*D]
    best_key: jax.Array  # of its sampler
    best_reward: jax.Array  # f32[]
    optimizer: Any


@dataclasses.dataclass(frozen=True)
class _Search:
    environment: NoiseEnvironment
    config: Any

    @property
    def basis(self) -> PixelBasis:
        """Searches go over the whole noise."""
        return PixelBasis(self.environment.model.latent_shape)

    def init(self, key: jax.Array, task: Task) -> SearchState:
        """Before the first image."""
        shape = self.environment.model.latent_shape
        return SearchState(
            key=key,
            task=task,
            policy=noise_policy.standard(self.basis),
            best_noise=jnp.zeros(shape),
            best_key=key,
            best_reward=jnp.float32(-jnp.inf),
            optimizer=(),
        )

    def sample(self, state: SearchState, keys: jax.Array) -> jax.Array:
        """Initial noises f32[B, *D] of what was found, one for each key."""
        return noise_policy.sample(state.policy, self.basis, keys)[1]

    def _draw(self, state: SearchState, weights: Any) -> tuple[SearchState, jax.Array, jax.Array]:
        """Draws a batch and remembers the best image so far; noises and rewards."""
        key, noise_key, sampler_key = jax.random.split(state.key, 3)
        count = self.config.batch_size
        z = self.sample(state, jax.random.split(noise_key, count))
        keys = jax.random.split(sampler_key, count)
        _, rewards = self.environment.play(keys, z, DiffusionParams(weights, state.task))
        state = _keep_best(dataclasses.replace(state, key=key), z, keys, rewards)
        return state, z, rewards

    def _metrics(self, state: SearchState, rewards: jax.Array) -> dict[str, jax.Array]:
        return {
            "reward": rewards.mean(),
            "reward_std": rewards.std(),
            "best_reward": state.best_reward,
            "norm_ratio": noise_policy.norm_ratio(state.policy, self.basis),
        }


@dataclasses.dataclass(frozen=True)
class BestOfN(_Search):
    """Draws from N(0, I), keeps the best."""

    def update(self, state: SearchState, weights: Any) -> tuple[SearchState, dict[str, jax.Array]]:
        """Draws B images of the frozen model of these weights."""
        state, _, rewards = self._draw(state, weights)
        return state, self._metrics(state, rewards)


@dataclasses.dataclass(frozen=True)
class Cem(_Search):
    """Moves a Gaussian towards the mean of its best draws."""

    def update(self, state: SearchState, weights: Any) -> tuple[SearchState, dict[str, jax.Array]]:
        """Draws B images of the frozen model of these weights, and moves the Gaussian."""
        state, z, rewards = self._draw(state, weights)
        _, best = jax.lax.top_k(rewards, round(self.config.elite_share * z.shape[0]))
        elite, rate = z[best], self.config.mean_rate
        policy = state.policy
        mean = (1 - rate) * policy.mean + rate * elite.mean(0)
        std = policy.std
        if self.config.learn_std:
            std = (1 - rate) * std + rate * elite.std(0)
            std = jnp.maximum(std, self.config.least_std)
        state = dataclasses.replace(state, policy=NoisePolicy(mean, std))
        return state, self._metrics(state, rewards)


@dataclasses.dataclass(frozen=True)
class Reno(_Search):
    """Gradient ascent on the reward of one noise; needs a reward with a gradient.

    Eyring et al. (2024), https://arxiv.org/abs/2406.04312.
    """

    def init(self, key: jax.Array, task: Task) -> SearchState:
        """Begin with a draw from N(0, I)."""
        key, noise_key = jax.random.split(key)
        state = super().init(key, task)
        start = jax.random.normal(noise_key, self.environment.model.latent_shape)
        policy = NoisePolicy(start, jnp.zeros_like(start))
        optimizer = self._optimizer().init(start)
        return dataclasses.replace(state, policy=policy, optimizer=optimizer)

    def update(self, state: SearchState, weights: Any) -> tuple[SearchState, dict[str, jax.Array]]:
        """One step of the noise, through the frozen model of these weights."""
        key, sampler_key = jax.random.split(state.key)
        keys, noise = sampler_key[None], state.policy.mean
        params = DiffusionParams(weights, state.task)

        def loss(z: jax.Array) -> tuple[jax.Array, jax.Array]:
            _, rewards = self.environment.play(keys, z[None], params)
            length = jnp.sqrt(jnp.sum(jnp.square(z)))
            off_shell = 0.5 * jnp.square(length) - (z.size - 1) * jnp.log(length)
            return self.config.regularization * off_shell - rewards[0], rewards

        gradient, rewards = jax.grad(loss, has_aux=True)(noise)
        state = _keep_best(dataclasses.replace(state, key=key), noise[None], keys, rewards)
        updates, optimizer = self._optimizer().update(gradient, state.optimizer, noise)
        moved = dataclasses.replace(state.policy, mean=optax.apply_updates(noise, updates))
        state = dataclasses.replace(state, policy=moved, optimizer=optimizer)
        return state, self._metrics(state, rewards)

    def sample(self, state: SearchState, keys: jax.Array) -> jax.Array:
        """The model's own noise: one noise is no distribution."""
        return noise_policy.sample(noise_policy.standard(self.basis), self.basis, keys)[1]

    def _optimizer(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(self.config.max_gradient_norm),
            optax.sgd(self.config.learning_rate, self.config.momentum, nesterov=True),
        )


def _keep_best(
    state: SearchState, z: jax.Array, keys: jax.Array, rewards: jax.Array
) -> SearchState:
    """Remembers the best of a batch if it is better than the best so far."""
    index = jnp.argmax(rewards)
    better = rewards[index] > state.best_reward
    return dataclasses.replace(
        state,
        best_noise=jnp.where(better, z[index], state.best_noise),
        best_key=jax.lax.select(better, keys[index], state.best_key),
        best_reward=jnp.where(better, rewards[index], state.best_reward),
    )


def _check_images(images: int, batch_size: int) -> None:
    config_lib.check_range("batch_size", batch_size, 1, 1_000_000)
    config_lib.check(
        images >= batch_size and images % batch_size == 0,
        "images",
        images,
        f"must be a multiple of batch_size, {batch_size}, and not 0",
    )
