"""FIND: policy gradient on the initial noise distribution of a frozen diffusion model. Spec 2.

One update draws B noises from the policy, turns them into images, scores them, calibrates the
rewards and takes K steps on a clipped ratio. No gradient passes through the sampler, so nothing of
it is kept. Chen et al. (2024), https://arxiv.org/abs/2407.19453.
Axes: B images; P is the shape of the policy's coordinates, D that of the latent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ai_econ_jax import advantages as advantages_lib
from ai_econ_jax import devices, losses
from ai_econ_jax.agents.find import calibration as calibration_lib
from ai_econ_jax.agents.find import history as history_lib
from ai_econ_jax.agents.find import noise_policy
from ai_econ_jax.agents.find.config import FindConfig
from ai_econ_jax.agents.find.history import History, Rollout
from ai_econ_jax.agents.find.noise_policy import NoisePolicy
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, NoiseEnvironment, Task
from ai_econ_jax.rollout import per_environment_keys

LEAST_STD = 1e-4  # of the policy, after every step; the released code's
EQUAL_REWARDS = 1e-6  # a batch whose rewards deviate less tells nothing apart
_ADAM_EPSILON = 1e-8
_SURROGATES: dict[str, Callable[..., jax.Array]] = {
    "ppo_min": losses.ppo_clip_loss,
    "clamp_only": losses.ratio_clamp_loss,
}


@struct.dataclass
class Hyperparameters:
    """What may change without another compilation, each f32[]; see `FindConfig`."""

    learning_rate: jax.Array
    clip_range: jax.Array
    reward_weight: jax.Array
    kl_weight: jax.Array
    baseline_decay: jax.Array
    baseline_learning_rate: jax.Array


@struct.dataclass
class FindState:
    """Everything that changes."""

    key: jax.Array
    task: Task
    hyperparameters: Hyperparameters
    policy: NoisePolicy
    optimizer: Any
    baseline: Any  # MovingBaseline, Calibration or ()
    history: History


def hyperparameters_of(config: FindConfig) -> Hyperparameters:
    """The traced part of a config."""
    names = (field.name for field in dataclasses.fields(Hyperparameters))
    return Hyperparameters(**{name: jnp.float32(getattr(config, name)) for name in names})


def structure_of(config: FindConfig) -> FindConfig:
    """The static part of a config: equal for all that one compiled program serves."""
    defaults = FindConfig()
    names = (field.name for field in dataclasses.fields(Hyperparameters))
    # The number of images decides how often the program runs, not what it is.
    fixed: dict[str, Any] = {name: getattr(defaults, name) for name in names}
    return dataclasses.replace(config, images=config.batch_size, **fixed)


def policy_loss(
    policy: NoisePolicy,
    u: jax.Array,
    reference_log_prob: jax.Array,
    advantages: jax.Array,
    hyperparameters: Hyperparameters,
    config: FindConfig,
    weights: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """`-lambda_r mean[surrogate(rho, A)] + lambda_kl divergence`, f32[]. Spec 2.4.

    Args:
      policy: That is being trained.
      u: f32[B, *P], drawn noise.
      reference_log_prob: f32[B], of u under the policy in the ratio's denominator.
      advantages: f32[B].
      hyperparameters: Clip range and the two weights.
      config: Which surrogate, reduction and divergence.
      weights: f32[B] of the samples; all ones when None.
      axis_name: Mapped axis over which B is sharded.
    """
    log_prob = noise_policy.log_prob(policy, u, config.logp_reduction)
    surrogate = _SURROGATES[config.surrogate](
        log_prob, reference_log_prob, advantages, hyperparameters.clip_range
    )
    penalty = noise_policy.divergence(policy, config.kl, config.logp_reduction)
    return (
        hyperparameters.reward_weight * losses.masked_mean(surrogate, weights, axis_name)
        + hyperparameters.kl_weight * penalty
    )


@dataclasses.dataclass(frozen=True)
class Find:
    """The learner: ``init``, and ``update``, one iteration of B images."""

    environment: NoiseEnvironment
    config: FindConfig  # only what `structure_of` keeps is read

    @property
    def basis(self) -> noise_policy.Basis:
        """Of the policy's coordinates."""
        return noise_policy.make_basis(self.config.basis, self.environment.model.latent_shape)

    def init(
        self, key: jax.Array, task: Task, hyperparameters: Hyperparameters, shards: int = 1
    ) -> FindState:
        """The standard normal, with nothing learned.

        Args:
          key: All randomness of the run.
          task: Prompt and reward.
          hyperparameters: From `hyperparameters_of`.
          shards: Devices that share each batch; a state remembers its own share of the history.

        Raises:
          ValueError: The batch cannot be shared out evenly.
        """
        if self.config.batch_size % shards:
            raise ValueError(
                f"field batch_size = {self.config.batch_size}: must be a multiple of the number of "
                f"devices, {shards}"
            )
        key, network_key = jax.random.split(key)
        policy = noise_policy.standard(self.basis)
        baseline: Any = ()
        if self.config.baseline == "ema":
            baseline = advantages_lib.init_moving_baseline()
        elif self.config.baseline == "learned":
            feature = self.environment.model.feature(task.condition)
            baseline = calibration_lib.init(
                network_key,
                2 * policy.mean.size + feature.size,
                hyperparameters.baseline_learning_rate,
            )
        return FindState(
            key=key,
            task=task,
            hyperparameters=hyperparameters,
            policy=policy,
            optimizer=_optimizer(hyperparameters).init(self._parameters(policy)),
            baseline=baseline,
            history=history_lib.empty(
                self.config.history, self.config.batch_size // shards, policy
            ),
        )

    def update(
        self, state: FindState, weights: Any, axis_name: str | None = None
    ) -> tuple[FindState, dict[str, jax.Array]]:
        """Draws, scores and learns from B images.

        Args:
          state: Before.
          weights: Of the frozen model.
          axis_name: Mapped axis over which the batch is shared out.

        Returns:
          The state after, and metrics f32[].
        """
        key, noise_key, sampler_key, fit_key, replay_key = jax.random.split(state.key, 5)
        count = state.history.rollouts.reward.shape[1]
        u, z = noise_policy.sample(
            state.policy, self.basis, per_environment_keys(noise_key, count, axis_name)
        )
        _, rewards = self.environment.play(
            per_environment_keys(sampler_key, count, axis_name),
            z,
            DiffusionParams(weights, state.task),
        )
        state = dataclasses.replace(state, key=key)
        state, rollout = self._remember(state, u, rewards, fit_key, axis_name)
        batch = self._batch(state, rollout, replay_key)
        policy, optimizer = self._improve(state, batch, axis_name)
        metrics = self._metrics(state, policy, rollout, axis_name)
        return dataclasses.replace(state, policy=policy, optimizer=optimizer), metrics

    def sample(self, state: FindState, keys: jax.Array) -> jax.Array:
        """Initial noises f32[B, *D] of the learned policy, one for each key."""
        return noise_policy.sample(state.policy, self.basis, keys)[1]

    def _remember(
        self,
        state: FindState,
        u: jax.Array,
        rewards: jax.Array,
        key: jax.Array,
        axis_name: str | None,
    ) -> tuple[FindState, Rollout]:
        """Calibrates the rewards and puts the rollout into the history."""
        rollout = Rollout(
            u=u,
            log_prob=noise_policy.log_prob(state.policy, u, self.config.logp_reduction),
            reward=rewards,
            advantage=rewards,
            policy=state.policy,
        )
        history = history_lib.push(state.history, rollout)
        judged = rewards
        if self.config.stale_reward:
            judged = history.rollouts.reward[history_lib.oldest(history)]
        baseline = state.baseline
        if self.config.baseline == "batch":
            advantage = advantages_lib.standardize(
                judged, axis_name=axis_name, epsilon=1e-6, min_std=EQUAL_REWARDS
            )
        elif self.config.baseline == "ema":
            decay = state.hyperparameters.baseline_decay
            advantage, baseline = advantages_lib.calibrate_moving(
                baseline, judged, decay, axis_name
            )
        elif self.config.baseline == "learned":
            baseline, expected = self._fit(state, history, judged, key, axis_name)
            advantage = judged - expected
        else:
            advantage = judged
        rollout = dataclasses.replace(rollout, advantage=advantage)
        # The same row again, now with advantages.
        history = history_lib.push(state.history, rollout)
        return dataclasses.replace(state, history=history, baseline=baseline), rollout

    def _fit(
        self,
        state: FindState,
        history: History,
        judged: jax.Array,
        key: jax.Array,
        axis_name: str | None,
    ) -> tuple[calibration_lib.Calibration, jax.Array]:
        """One step of g, and what it then expects of the present policy."""
        feature = self.environment.model.feature(state.task.condition)
        present = calibration_lib.inputs(state.policy.mean[None], state.policy.std[None], feature)
        if self.config.stale_reward:  # 256 copies of one old reward, with the present policy
            policies, rewards = present, judged[None]
            weights = jnp.ones_like(rewards)
        else:
            past = history.rollouts
            policies = calibration_lib.inputs(past.policy.mean, past.policy.std, feature)
            rewards = past.reward
            if axis_name is not None:
                key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
            weights = calibration_lib.draw_weights(key, history_lib.filled(history), rewards.shape)
        rate = state.hyperparameters.baseline_learning_rate
        fitted = calibration_lib.fit(state.baseline, policies, rewards, weights, rate, axis_name)
        return fitted, calibration_lib.expected_reward(fitted, present)[0]

    def _batch(
        self, state: FindState, rollout: Rollout, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Noise, reference log-probability, advantage and weight of what is learned from."""
        u, log_prob, advantage = rollout.u, rollout.log_prob, rollout.advantage
        weights = jnp.ones_like(advantage)
        if self.config.replay:
            past, alive = history_lib.draw_past(state.history, key, self.config.replay)
            u = jnp.concatenate([u, past.u.reshape(-1, *u.shape[1:])])
            log_prob = jnp.concatenate([log_prob, past.log_prob.reshape(-1)])
            advantage = jnp.concatenate([advantage, past.advantage.reshape(-1)])
            old = jnp.broadcast_to(alive[:, None], past.advantage.shape)
            weights = jnp.concatenate([weights, old.reshape(-1)])
        return u, self._reference(u, log_prob), advantage, weights

    def _reference(self, u: jax.Array, behaviour_log_prob: jax.Array) -> jax.Array:
        """Log-probability of u under the policy in the ratio's denominator, f32[B]. Spec 2.4."""
        if self.config.ratio_reference == "behaviour":
            return behaviour_log_prob
        start = noise_policy.standard(self.basis)
        return noise_policy.log_prob(start, u, self.config.logp_reduction)

    def _improve(
        self,
        state: FindState,
        batch: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
        axis_name: str | None,
    ) -> tuple[NoisePolicy, Any]:
        """K steps of Adam on one batch."""
        u, reference, advantage, weights = batch

        def loss(parameters: NoisePolicy) -> jax.Array:
            policy = self._policy(parameters)
            return policy_loss(
                policy,
                u,
                reference,
                advantage,
                state.hyperparameters,
                self.config,
                weights,
                axis_name,
            )

        def one_step(carry: tuple[NoisePolicy, Any], _: None):
            policy, optimizer = carry
            parameters = self._parameters(policy)
            gradient = devices.mean_over(jax.grad(loss)(parameters), axis_name)
            updates, optimizer = _optimizer(state.hyperparameters).update(gradient, optimizer)
            policy = self._policy(optax.apply_updates(parameters, updates))
            policy = dataclasses.replace(policy, std=jnp.maximum(policy.std, LEAST_STD))
            if self.config.norm_preserve:
                policy = noise_policy.preserve_norm(policy)
            return (policy, optimizer), None

        steps = self.config.policy_steps
        (policy, optimizer), _ = jax.lax.scan(
            one_step, (state.policy, state.optimizer), None, steps
        )
        return policy, optimizer

    def _parameters(self, policy: NoisePolicy) -> NoisePolicy:
        """What Adam steps on."""
        if self.config.std_parameter == "direct":
            return policy
        return dataclasses.replace(policy, std=jnp.log(policy.std))

    def _policy(self, parameters: NoisePolicy) -> NoisePolicy:
        if self.config.std_parameter == "direct":
            return parameters
        return dataclasses.replace(parameters, std=jnp.exp(parameters.std))

    def _metrics(
        self, state: FindState, policy: NoisePolicy, rollout: Rollout, axis_name: str | None
    ) -> dict[str, jax.Array]:
        reduction = self.config.logp_reduction
        moved = losses.outside_clip(
            noise_policy.log_prob(policy, rollout.u, reduction),
            self._reference(rollout.u, rollout.log_prob),
            state.hyperparameters.clip_range,
        )
        mean = losses.masked_mean(rollout.reward, None, axis_name)
        variance = losses.masked_mean(jnp.square(rollout.reward - mean), None, axis_name)
        return {
            "reward": mean,
            "reward_std": jnp.sqrt(variance),
            "equal_rewards": (variance < EQUAL_REWARDS**2).astype(jnp.float32),
            "advantage": losses.masked_mean(rollout.advantage, None, axis_name),
            "clip_fraction": losses.masked_mean(moved, None, axis_name),
            "divergence": noise_policy.divergence(policy, self.config.kl, reduction),
            "norm_ratio": noise_policy.norm_ratio(policy, self.basis),
            "std": jnp.mean(policy.std),
        }


def _optimizer(hyperparameters: Hyperparameters) -> optax.GradientTransformation:
    # AdamW of the released code has weight decay 0, and its gradient clip is never applied.
    return optax.adam(hyperparameters.learning_rate, eps=_ADAM_EPSILON)
