"""DDPO: the model's own weights learn, by PPO on every denoising step. Spec 2.10.

Black et al. (2023), https://arxiv.org/abs/2305.13301, with the settings of its released code.
Axes: B images, S steps of the sampler, G groups that each take one step of the optimiser.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ai_econ_jax import advantages as advantages_lib
from ai_econ_jax import config as config_lib
from ai_econ_jax import losses
from ai_econ_jax.envs.diffusion.denoising_mdp import DenoisingEnvironment
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, Task
from ai_econ_jax.envs.diffusion.sampler import Trajectory
from ai_econ_jax.rollout import per_environment_keys


@dataclasses.dataclass(frozen=True)
class DdpoConfig:
    """DDPO on all weights."""

    images: int = 320
    batch_size: int = 16  # B, per update; 256 in the released code
    groups: int = 2  # G, steps of the optimiser per batch
    learning_rate: float = 3e-4
    weight_decay: float = 1e-4
    max_gradient_norm: float = 1.0
    clip_range: float = 1e-4
    advantage_clip: float = 5.0
    prompt_buffer: int = 32  # last rewards against which a reward is judged
    prompt_min_count: int = 16  # from how many on; before that, its own batch

    def validate(self) -> None:
        """Check sizes and ranges."""
        config_lib.check_range("batch_size", self.batch_size, 2, 1_000_000)
        config_lib.check(
            self.images >= self.batch_size and self.images % self.batch_size == 0,
            "images",
            self.images,
            f"must be a multiple of batch_size, {self.batch_size}, and not 0",
        )
        config_lib.check(
            self.groups >= 1 and self.batch_size % self.groups == 0,
            "groups",
            self.groups,
            f"must divide batch_size, {self.batch_size}",
        )
        config_lib.check_positive("learning_rate", self.learning_rate)
        config_lib.check_range("weight_decay", self.weight_decay, 0.0)
        config_lib.check_positive("max_gradient_norm", self.max_gradient_norm)
        config_lib.check_positive("clip_range", self.clip_range)
        config_lib.check_positive("advantage_clip", self.advantage_clip)
        config_lib.check_range("prompt_buffer", self.prompt_buffer, 1, 1_000_000)
        config_lib.check_range("prompt_min_count", self.prompt_min_count, 1, self.prompt_buffer)


@struct.dataclass
class DdpoState:
    """Everything that changes; the weights are among it."""

    key: jax.Array
    task: Task
    learning_rate: jax.Array  # f32[], traced so that a sweep compiles once
    weights: Any
    optimizer: Any
    prompts: advantages_lib.PromptBuffer


@dataclasses.dataclass(frozen=True)
class Ddpo:
    """The learner: ``init``, and ``update``, one batch of B images and G steps."""

    environment: DenoisingEnvironment
    config: DdpoConfig

    def init(self, key: jax.Array, task: Task, weights: Any) -> DdpoState:
        """The frozen model's weights, from where they will move."""
        rate = jnp.float32(self.config.learning_rate)
        return DdpoState(
            key=key,
            task=task,
            learning_rate=rate,
            weights=weights,
            optimizer=self._optimizer(rate).init(weights),
            prompts=advantages_lib.init_prompt_buffer(1, self.config.prompt_buffer),
        )

    def update(
        self, state: DdpoState, weights: Any = None
    ) -> tuple[DdpoState, dict[str, jax.Array]]:
        """Draws and scores B images, then learns from every step of them.

        Args:
          state: Before.
          weights: The frozen model's, not read: the state's are trained.

        Returns:
          The state after, and metrics f32[].
        """
        key, noise_key, sampler_key = jax.random.split(state.key, 3)
        count, shape = self.config.batch_size, self.environment.model.latent_shape
        keys = per_environment_keys(noise_key, count, None)
        z = jax.vmap(lambda k: jax.random.normal(k, shape))(keys)
        path, _, rewards = self.environment.play(
            per_environment_keys(sampler_key, count, None),
            z,
            DiffusionParams(state.weights, state.task),
        )
        advantages, prompts = advantages_lib.calibrate_per_prompt(
            state.prompts,
            rewards,
            jnp.zeros(count, jnp.int32),
            self.config.prompt_min_count,
        )
        limit = self.config.advantage_clip
        advantages = jnp.clip(advantages, -limit, limit)
        state = dataclasses.replace(state, key=key, prompts=prompts)

        def one_group(carry: tuple[Any, Any], group: tuple[Trajectory, jax.Array]):
            return self._improve(state, *carry, *group)

        groups = self.config.groups
        by_group = jax.tree.map(
            lambda x: jnp.moveaxis(x.reshape(x.shape[0], groups, -1, *x.shape[2:]), 1, 0), path
        )
        (weights, optimizer), clipped = jax.lax.scan(
            one_group,
            (state.weights, state.optimizer),
            (by_group, advantages.reshape(groups, -1)),
        )
        metrics = {
            "reward": rewards.mean(),
            "reward_std": rewards.std(),
            "clip_fraction": clipped.mean(),
            "norm_ratio": jnp.float32(1.0),  # the noise stays N(0, I)
        }
        return dataclasses.replace(state, weights=weights, optimizer=optimizer), metrics

    def _improve(
        self,
        state: DdpoState,
        weights: Any,
        optimizer: Any,
        path: Trajectory,
        advantages: jax.Array,
    ) -> tuple[tuple[Any, Any], jax.Array]:
        """One step of the optimiser on the mean over a group's images and all their steps."""
        steps = path.log_prob.shape[0]

        def loss(weights: Any, index: jax.Array, at: Trajectory) -> tuple[jax.Array, jax.Array]:
            indices = jnp.broadcast_to(index, advantages.shape)
            params = DiffusionParams(weights, state.task)
            log_prob, _ = self.environment.log_prob(indices, at.x, at.x_prev, params)
            clip = self.config.clip_range
            terms = losses.ppo_clip_loss(log_prob, at.log_prob, advantages, clip)
            return terms.mean() / steps, losses.outside_clip(log_prob, at.log_prob, clip).mean()

        def add(total: Any, inputs: tuple[jax.Array, Trajectory]):
            gradient, clipped = jax.grad(loss, has_aux=True)(weights, *inputs)
            return jax.tree.map(jnp.add, total, gradient), clipped

        zero = jax.tree.map(jnp.zeros_like, weights)
        gradient, clipped = jax.lax.scan(add, zero, (jnp.arange(steps), path))
        updates, optimizer = self._optimizer(state.learning_rate).update(
            gradient, optimizer, weights
        )
        return (optax.apply_updates(weights, updates), optimizer), clipped.mean()

    def _optimizer(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(self.config.max_gradient_norm),
            optax.adamw(learning_rate, weight_decay=self.config.weight_decay),
        )
