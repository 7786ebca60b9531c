"""DPOK: the model's own weights learn from a buffer of denoising steps. Spec 2.10.

Fan et al. (2023), https://arxiv.org/abs/2305.16381, with the settings of its released code for one
prompt. Axes: B images of an update, S steps of the sampler, C transitions in the buffer.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from ai_econ_jax import config as config_lib
from ai_econ_jax import losses
from ai_econ_jax.envs.diffusion.denoising_mdp import DenoisingEnvironment
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, Task
from ai_econ_jax.rollout import per_environment_keys

_WIDTH = 256
_VALUE_WEIGHT_DECAY = 0.01  # torch's default of AdamW
_VALUE_BATCH = 5 * 256  # five accumulated gradients of 256 transitions make one step


@dataclasses.dataclass(frozen=True)
class DpokConfig:
    """DPOK on all weights, one prompt."""

    images: int = 320
    batch_size: int = 10  # B, per update
    policy_steps: int = 5  # of the optimiser, per update
    transitions: int = 48  # per step: 12 accumulated gradients of 4
    buffer: int = 1000  # C, transitions remembered
    learning_rate: float = 1e-5
    max_gradient_norm: float = 0.1
    clip_range: float = 1e-4
    reward_weight: float = 10.0
    kl_weight: float = 0.01  # of the squared difference to the frozen model's output
    value_learning_rate: float = 1e-4

    def validate(self) -> None:
        """Check sizes and ranges."""
        config_lib.check_range("batch_size", self.batch_size, 1, 1_000_000)
        config_lib.check(
            self.images >= self.batch_size and self.images % self.batch_size == 0,
            "images",
            self.images,
            f"must be a multiple of batch_size, {self.batch_size}, and not 0",
        )
        config_lib.check_range("policy_steps", self.policy_steps, 1, 10_000)
        config_lib.check_range("transitions", self.transitions, 1, 1_000_000)
        config_lib.check_range("buffer", self.buffer, 1, 10_000_000)
        config_lib.check_positive("learning_rate", self.learning_rate)
        config_lib.check_positive("max_gradient_norm", self.max_gradient_norm)
        config_lib.check_positive("clip_range", self.clip_range)
        config_lib.check_range("reward_weight", self.reward_weight, 0.0)
        config_lib.check_range("kl_weight", self.kl_weight, 0.0)
        config_lib.check_positive("value_learning_rate", self.value_learning_rate)


class StepValue(nn.Module):
    """Expected reward of an image on its way: each layer is scaled by a vector of the step."""

    num_steps: int

    @nn.compact
    def __call__(self, x: jax.Array, feature: jax.Array, index: jax.Array) -> jax.Array:
        """f32[N] for x f32[N, *D], the prompt's feature f32[E], and steps i32[N]."""
        count = x.shape[0]
        hidden = jnp.concatenate(
            [x.reshape(count, -1), jnp.broadcast_to(feature, (count, *feature.shape))], 1
        )
        for _ in range(3):
            hidden = nn.Dense(_WIDTH, kernel_init=nn.initializers.xavier_normal())(hidden)
            scale = nn.Embed(self.num_steps, _WIDTH, embedding_init=nn.initializers.uniform(1.0))
            hidden = nn.relu(hidden * scale(index))
        return jnp.squeeze(nn.Dense(1, kernel_init=nn.initializers.xavier_normal())(hidden), -1)


@struct.dataclass
class Transition:
    """One denoising step; with a leading axis C, the buffer of them."""

    x: jax.Array  # f32[*D]
    x_prev: jax.Array  # f32[*D]
    index: jax.Array  # i32[], of the step
    log_prob: jax.Array  # f32[], when it was taken
    reward: jax.Array  # f32[], of the image that it led to


@struct.dataclass
class DpokState:
    """Everything that changes; the weights are among it."""

    key: jax.Array
    task: Task
    learning_rate: jax.Array  # f32[], traced so that a sweep compiles once
    weights: Any
    optimizer: Any
    value: Any
    value_optimizer: Any
    buffer: Transition
    num_seen: jax.Array  # i32[], transitions; the next goes to row mod C


@dataclasses.dataclass(frozen=True)
class Dpok:
    """The learner: ``init``, and ``update``, one batch of B images and its policy steps."""

    environment: DenoisingEnvironment
    config: DpokConfig

    @property
    def _value(self) -> StepValue:
        return StepValue(self.environment.sampler.num_steps)

    def init(self, key: jax.Array, task: Task, weights: Any) -> DpokState:
        """The frozen model's weights, a fresh value network and an empty buffer.

        Raises:
          ValueError: One batch has more transitions than the buffer holds.
        """
        fresh = self.config.batch_size * self.environment.sampler.num_steps
        if fresh > self.config.buffer:
            raise ValueError(
                f"field buffer = {self.config.buffer}: must hold a batch's {fresh} transitions"
            )
        key, value_key = jax.random.split(key)
        model, size = self.environment.model, self.config.buffer
        latents, index = jnp.zeros((size, *model.latent_shape)), jnp.zeros(size, jnp.int32)
        feature = model.feature(task.condition)
        value = self._value.init(value_key, latents[:1], feature, index[:1])
        rate = jnp.float32(self.config.learning_rate)
        row = jnp.zeros(size)
        return DpokState(
            key=key,
            task=task,
            learning_rate=rate,
            weights=weights,
            optimizer=self._optimizer(rate).init(weights),
            value=value,
            value_optimizer=self._value_optimizer().init(value),
            buffer=Transition(latents, latents, index, row, row),
            num_seen=jnp.int32(0),
        )

    def update(self, state: DpokState, frozen: Any) -> tuple[DpokState, dict[str, jax.Array]]:
        """Draws and scores B images, then learns from the buffer.

        Args:
          state: Before.
          frozen: The frozen model's weights, near which the trained ones are held.

        Returns:
          The state after, and metrics f32[].
        """
        key, noise_key, sampler_key, value_key, policy_key = jax.random.split(state.key, 5)
        count, shape = self.config.batch_size, self.environment.model.latent_shape
        keys = per_environment_keys(noise_key, count, None)
        path, _, rewards = self.environment.play(
            per_environment_keys(sampler_key, count, None),
            jax.vmap(lambda k: jax.random.normal(k, shape))(keys),
            DiffusionParams(state.weights, state.task),
        )
        steps = self.environment.sampler.num_steps
        fresh = Transition(
            x=path.x.reshape(-1, *shape),
            x_prev=path.x_prev.reshape(-1, *shape),
            index=jnp.repeat(jnp.arange(steps), count),
            log_prob=path.log_prob.reshape(-1),
            reward=jnp.tile(rewards, steps),
        )
        rows = (state.num_seen + jnp.arange(count * steps)) % self.config.buffer
        state = dataclasses.replace(
            state,
            key=key,
            buffer=jax.tree.map(lambda old, new: old.at[rows].set(new), state.buffer, fresh),
            num_seen=state.num_seen + count * steps,
        )
        state, value_loss = self._fit_value(state, value_key)
        state, clipped = jax.lax.scan(
            lambda s, k: self._improve(s, frozen, k),
            state,
            jax.random.split(policy_key, self.config.policy_steps),
        )
        return state, {
            "reward": rewards.mean(),
            "reward_std": rewards.std(),
            "value_loss": value_loss,
            "clip_fraction": clipped.mean(),
            "norm_ratio": jnp.float32(1.0),  # the noise stays N(0, I)
        }

    def _fit_value(self, state: DpokState, key: jax.Array) -> tuple[DpokState, jax.Array]:
        """One step of the value network."""
        drawn = self._draw(state, key, _VALUE_BATCH)

        def loss(value: Any) -> jax.Array:
            return losses.value_loss(self._expected(value, state.task, drawn), drawn.reward).mean()

        error, gradient = jax.value_and_grad(loss)(state.value)
        updates, optimizer = self._value_optimizer().update(
            gradient, state.value_optimizer, state.value
        )
        value = optax.apply_updates(state.value, updates)
        return dataclasses.replace(state, value=value, value_optimizer=optimizer), error

    def _improve(
        self, state: DpokState, frozen: Any, key: jax.Array
    ) -> tuple[DpokState, jax.Array]:
        """One step of the weights on transitions drawn from the buffer."""
        drawn = self._draw(state, key, self.config.transitions)
        advantages = drawn.reward - self._expected(state.value, state.task, drawn)
        clip = self.config.clip_range

        def outputs(weights: Any) -> tuple[jax.Array, jax.Array]:
            params = DiffusionParams(weights, state.task)
            return self.environment.log_prob(drawn.index, drawn.x, drawn.x_prev, params)

        _, before = outputs(frozen)

        def loss(weights: Any) -> tuple[jax.Array, jax.Array]:
            log_prob, output = outputs(weights)
            surrogate = losses.ratio_clamp_loss(log_prob, drawn.log_prob, advantages, clip)
            drift = jnp.mean(jnp.square(output - before))
            total = self.config.reward_weight * surrogate.mean() + self.config.kl_weight * drift
            return total, losses.outside_clip(log_prob, drawn.log_prob, clip).mean()

        gradient, clipped = jax.grad(loss, has_aux=True)(state.weights)
        updates, optimizer = self._optimizer(state.learning_rate).update(
            gradient, state.optimizer, state.weights
        )
        weights = optax.apply_updates(state.weights, updates)
        return dataclasses.replace(state, weights=weights, optimizer=optimizer), clipped

    def _draw(self, state: DpokState, key: jax.Array, count: int) -> Transition:
        """Transitions drawn uniformly from the buffer, with replacement."""
        filled = jnp.minimum(state.num_seen, self.config.buffer)
        rows = jax.random.randint(key, (count,), 0, filled)
        return jax.tree.map(lambda values: values[rows], state.buffer)

    def _expected(self, value: Any, task: Task, drawn: Transition) -> jax.Array:
        feature = self.environment.model.feature(task.condition)
        expected = self._value.apply(value, drawn.x, feature, drawn.index)
        assert isinstance(expected, jax.Array)
        return expected

    def _optimizer(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(self.config.max_gradient_norm),
            optax.adamw(learning_rate, weight_decay=0.0),
        )

    def _value_optimizer(self) -> optax.GradientTransformation:
        return optax.adamw(self.config.value_learning_rate, weight_decay=_VALUE_WEIGHT_DECAY)
