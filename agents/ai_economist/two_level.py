"""Two-level PPO in the one-step economy: workers and planner learn together, on the core.

Every update plays one episode in each environment, from its reset: the planner decides at the
first step, the workers at the second. Each role's experience is one decision per episode, and its
advantage is the episode's return over the critic's estimate. Phase 1 trains the workers on random
schedules; phase 2 trains both roles. Axes: B environments, N workers, L hours.

Source: AI Economist, arXiv 2108.02755.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax import devices, optimizers, ppo
from ai_econ_jax.agents.ai_economist import curricula
from ai_econ_jax.agents.ai_economist.config import RoleConfig, TwoLevelConfig
from ai_econ_jax.agents.ai_economist.moments import ReturnMoments
from ai_econ_jax.agents.ai_economist.networks import WORKER_NETWORKS, BudgetSet, budget_set
from ai_econ_jax.distributions import (
    MultiHeadCategorical,
    masked_categorical,
    sample_by_inverse_cdf,
)
from ai_econ_jax.envs.one_step_economy.best_response import respond
from ai_econ_jax.envs.one_step_economy.environment import (
    OneStepEconomy,
    OneStepParams,
    PerRole,
)
from ai_econ_jax.envs.one_step_economy.outcome import Outcome
from ai_econ_jax.envs.one_step_economy.params import EconomyParams
from ai_econ_jax.losses import masked_mean
from ai_econ_jax.networks import ActorCritic
from ai_econ_jax.rollout import global_indices, per_environment_keys


@struct.dataclass
class RoleState:
    """What one role has learned."""

    policy: ppo.PolicyState
    moments: ReturnMoments


@struct.dataclass
class TwoLevelState:
    """All that the next update reads; the same on every device."""

    workers: RoleState | None  # None where workers respond exactly
    planner: RoleState | None  # None where no planner learns
    env_params: OneStepParams
    key: jax.Array
    num_updates: jax.Array  # i32[], done so far


@struct.dataclass
class Experience:
    """One decision of one role in each environment, ``[B, ...]``."""

    observation: Any
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array


@struct.dataclass
class WorkerInputs:
    """What a worker's network reads, ``[..., N, ...]``."""

    features: jax.Array
    budget: BudgetSet
    action_mask: jax.Array


class TwoLevel:
    """The learner: ``init`` and ``update`` are pure; the object only holds what is static."""

    def __init__(
        self,
        config: TwoLevelConfig,
        environment: OneStepEconomy,
        economy: EconomyParams,
        has_planner: bool = True,
        workers_are_trained: bool = False,
    ):
        """Take what is static.

        Args:
          config: the configuration.
          environment: the environment.
          economy: an economy of the shape to be learned in.
          has_planner: False saves the planner's cost where schedules are random or fixed.
          workers_are_trained: whether workers come from an earlier phase 1; phase 2 only fine-tunes
            them then, as it does behind a phase 1 of its own.
        """
        self.config = config
        self.has_planner = has_planner
        self.workers_are_trained = workers_are_trained or config.phase1_updates > 0
        self.environment = environment
        self.num_workers = economy.num_workers
        self.head_sizes = (len(environment.rates) + 1,) * economy.num_brackets
        self.worker_network = WORKER_NETWORKS[config.worker_network](
            hidden=config.workers.hidden, activation=config.workers.activation
        )
        self.planner_network = ActorCritic(
            num_logits=sum(self.head_sizes),
            hidden=config.planner.hidden,
            activation=config.planner.activation,
        )
        self.num_updates = config.phase1_updates + config.phase2_updates
        self.worker_batch = _batch_config(config, config.workers)
        self.planner_batch = _batch_config(config, config.planner)
        ppo.validate_batch(self.worker_batch)
        ppo.validate_batch(self.planner_batch)

    def init(
        self, key: jax.Array, env_params: OneStepParams, workers: RoleState | None = None
    ) -> TwoLevelState:
        """Fresh learners; ``workers`` hands over what workers learned before, without optimiser."""
        worker_key, planner_key, key = jax.random.split(key, 3)
        observation = self.environment.reset(key, env_params)[1].observation
        planner = None
        if self.has_planner:
            params = self.planner_network.init(planner_key, observation.planner.features)
            planner = self._role_state(params, ())
        if self.config.worker_kind == "learned":
            fresh = self._role_state(
                self._init_workers(worker_key, observation, env_params),
                (self.num_workers,),
            )
            if workers is not None:
                policy = dataclasses.replace(fresh.policy, params=workers.policy.params)
                fresh = RoleState(policy=policy, moments=workers.moments)
            workers = fresh
        else:
            workers = None
        return TwoLevelState(
            workers=workers,
            planner=planner,
            env_params=env_params,
            key=key,
            num_updates=jnp.zeros((), jnp.int32),
        )

    def update(
        self, state: TwoLevelState, axis_name: str | None = None
    ) -> tuple[TwoLevelState, ppo.Metrics]:
        """Play one episode per environment, then improve both roles."""
        key, episode_key, worker_key, planner_key = jax.random.split(state.key, 4)
        in_phase2 = state.num_updates >= self.config.phase1_updates
        env_params = self._with_curricula(state.env_params, state.num_updates)
        num_devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
        batch_size = self.config.num_environments // num_devices
        by_planner = self._follows_planner(batch_size, axis_name) & in_phase2
        keys = per_environment_keys(episode_key, batch_size, axis_name)
        play = jax.vmap(self._play, (0, 0, None, None))
        experience, returns, outcome = play(keys, by_planner, state, env_params)

        # In phase 1 no schedule is the planner's, and all count.
        metrics = {
            "welfare": masked_mean(returns.planner, by_planner | ~in_phase2, axis_name),
            "welfare_all_schedules": devices.mean_over(jnp.mean(returns.planner), axis_name),
            "utility": devices.mean_over(jnp.mean(outcome.utility), axis_name),
            "hours": devices.mean_over(jnp.mean(outcome.hours), axis_name),
            "equality": devices.mean_over(jnp.mean(outcome.equality), axis_name),
            "productivity": devices.mean_over(jnp.mean(outcome.production), axis_name),
        }

        progress = self._phase_progress(state.num_updates)
        workers = state.workers
        if workers is not None:
            workers, worker_metrics = self._learn(
                worker_key,
                workers,
                experience.workers,
                returns.workers,
                None,
                True,
                self._worker_rates(progress, in_phase2),
                axis_name,
            )
            metrics |= {f"workers/{name}": value for name, value in worker_metrics.items()}
        planner = state.planner
        if planner is not None:
            planner, planner_metrics = self._learn(
                planner_key,
                planner,
                experience.planner,
                returns.planner,
                by_planner[None].astype(jnp.float32),
                False,
                _rates(self.config.planner, progress),
                axis_name,
            )
            # In phase 1 the planner neither acts nor learns.
            planner = jax.tree.map(
                lambda new, old: jnp.where(in_phase2, new, old), planner, state.planner
            )
            metrics |= {f"planner/{name}": value for name, value in planner_metrics.items()}
        state = dataclasses.replace(
            state,
            workers=workers,
            planner=planner,
            key=key,
            num_updates=state.num_updates + 1,
        )
        return state, metrics

    def schedule(self, state: TwoLevelState) -> jax.Array:
        """The schedule in force, ``f32[B]``: the planner's most probable one, or the fixed one."""
        if state.planner is None:
            return state.env_params.fixed_rates
        _, first = self.environment.reset(state.key, state.env_params)
        distribution, _ = self._apply_planner(
            state.planner.policy.params, first.observation.planner
        )
        choice = distribution.mode()
        return jnp.asarray(self.environment.rates, jnp.float32)[jnp.maximum(choice - 1, 0)]

    def hours(self, state: TwoLevelState, rates: jax.Array) -> jax.Array:
        """The workers' most probable hours ``i32[N]`` under any schedule ``rates`` ``f32[B]``."""
        if state.workers is None:
            return respond(state.env_params.economy, rates).hours
        posted = dataclasses.replace(
            state.env_params, fixed_rates=rates, planner_sets_rates=jnp.zeros((), bool)
        )
        env_state, _ = self.environment.reset(state.key, posted)
        idle = PerRole(
            workers=jnp.zeros(self.num_workers, jnp.int32),
            planner=jnp.zeros(len(self.head_sizes), jnp.int32),
        )
        _, taxed = self.environment.step(state.key, env_state, idle, posted)
        inputs = self._worker_inputs(taxed.observation.workers, state.env_params)
        distribution, _ = self._apply_workers(state.workers.policy.params, inputs)
        return distribution.mode()

    def _play(
        self,
        key: jax.Array,
        by_planner: jax.Array,
        state: TwoLevelState,
        env_params: OneStepParams,
    ) -> tuple[PerRole, PerRole, Outcome]:
        """One episode of one environment; its schedule is random where not ``by_planner``.

        Returns:
          The experience of each role (None for one that does not learn), their returns, and the
          outcome.
        """
        num_brackets = len(self.head_sizes)
        # All noise of an episode in one draw: for the planner, a random schedule, and the workers.
        uniform = jax.random.uniform(key, (2 * num_brackets + self.num_workers,))
        planner_noise, schedule_noise, worker_noise = jnp.split(
            uniform, [num_brackets, 2 * num_brackets]
        )
        env_state, first = self.environment.reset(key, env_params)
        choice = 1 + jnp.floor(schedule_noise * len(self.environment.rates)).astype(jnp.int32)
        planner = workers = None
        if state.planner is not None:
            heads, value = self._apply_planner(
                state.planner.policy.params, first.observation.planner
            )
            planned = sample_by_inverse_cdf(planner_noise, heads.distribution.logits)
            choice = jnp.where(by_planner, planned, choice)
            planner = Experience(first.observation.planner, choice, heads.log_prob(choice), value)

        idle = jnp.zeros(self.num_workers, jnp.int32)
        action = PerRole(workers=idle, planner=choice)
        env_state, taxed = self.environment.step(key, env_state, action, env_params)

        def work(hours: jax.Array) -> tuple[Any, PerRole]:
            action = PerRole(workers=hours, planner=jnp.zeros_like(choice))
            after, worked = self.environment.step(key, env_state, action, env_params)
            return after.last, jax.tree.map(jnp.add, taxed.reward, worked.reward)

        if state.workers is None:
            outcome, returns = work(respond(env_params.economy, env_state.rates).hours)
        else:
            inputs = self._worker_inputs(taxed.observation.workers, env_params)
            policy, value = self._apply_workers(state.workers.policy.params, inputs)
            hours = sample_by_inverse_cdf(worker_noise, policy.logits)
            workers = Experience(inputs, hours, policy.log_prob(hours), value)
            outcome, returns = work(hours)
            if self.config.planner_judged_by == "greedy_workers":
                greedy_outcome, greedy_returns = work(policy.mode())
                outcome = greedy_outcome
                returns = dataclasses.replace(returns, planner=greedy_returns.planner)
        return PerRole(workers=workers, planner=planner), returns, outcome

    def _learn(
        self,
        key: jax.Array,
        role: RoleState,
        experience: Experience,
        returns: jax.Array,
        mask: jax.Array | None,
        is_workers: bool,
        rates: tuple[jax.Array, jax.Array],
        axis_name: str | None,
    ) -> tuple[RoleState, ppo.Metrics]:
        """One PPO update of one role from one decision per environment.

        ``rates`` are the learning rate and the entropy coefficient in force.
        """
        learning_rate, entropy_coefficient = rates
        config = self.config.workers if is_workers else self.config.planner
        moments = role.moments.updated(returns, None if mask is None else mask[0], axis_name)
        target = moments.normalize(returns)
        batch = ppo.Batch(
            observation=experience.observation,
            action=experience.action,
            log_prob=experience.log_prob,
            value=experience.value,
            advantage=target - experience.value,
            target=target,
        )
        batch = jax.tree.map(lambda leaf: leaf[None], batch).replace(mask=mask)
        hyperparameters = ppo.Hyperparameters(
            learning_rate=learning_rate,
            clip=config.clip,
            value_coefficient=config.value_coefficient,
            value_clip=jnp.inf,
            entropy_coefficient=entropy_coefficient,
            max_gradient_norm=config.max_gradient_norm,
        )
        policy, metrics = ppo.update_policy(
            key,
            role.policy,
            batch,
            self._apply_workers if is_workers else self._apply_planner,
            optimizers.adam(learning_rate, config.max_gradient_norm),
            hyperparameters,
            self.worker_batch if is_workers else self.planner_batch,
            axis_name,
        )
        return RoleState(policy=policy, moments=moments), metrics

    def _apply_workers(self, params: Any, inputs: WorkerInputs) -> tuple[Any, Any]:
        apply = self.worker_network.apply
        if not self.config.share_worker_policy:
            apply = jax.vmap(apply, in_axes=(0, -2, -2), out_axes=(-2, -1))
        logits, value = apply(params, inputs.features, inputs.budget)
        return masked_categorical(logits, inputs.action_mask), value

    def _apply_planner(self, params: Any, observation: Any) -> tuple[Any, Any]:
        logits, value = self.planner_network.apply(params, observation.features)
        distribution = MultiHeadCategorical(logits, self.head_sizes, observation.action_mask)
        return distribution, value

    @staticmethod
    def _worker_inputs(observation: Any, env_params: OneStepParams) -> WorkerInputs:
        return WorkerInputs(
            features=observation.features,
            budget=budget_set(observation.features, env_params.economy),
            action_mask=observation.action_mask,
        )

    def _init_workers(self, key: jax.Array, observation: PerRole, env_params: OneStepParams) -> Any:
        inputs = self._worker_inputs(observation.workers, env_params)
        if self.config.share_worker_policy:
            return self.worker_network.init(key, inputs.features, inputs.budget)
        keys = jax.random.split(key, self.num_workers)
        return jax.vmap(self.worker_network.init)(keys, inputs.features, inputs.budget)

    @staticmethod
    def _role_state(params: Any, shape: tuple[int, ...]) -> RoleState:
        # The state of Adam does not depend on its hyper-parameters.
        optimizer = optimizers.adam(0.0, 1.0)
        return RoleState(
            policy=ppo.PolicyState(params=params, optimizer_state=optimizer.init(params)),
            moments=ReturnMoments(
                mean=jnp.zeros(shape),
                variance=jnp.ones(shape),
                num_batches=jnp.zeros((), jnp.int32),
            ),
        )

    def _worker_rates(
        self, progress: jax.Array, in_phase2: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Learning rate and entropy coefficient; workers who know their trade only fine-tune it."""
        config = self.config
        rate, entropy = _rates(config.workers, progress)
        fine_tuning = in_phase2 & self.workers_are_trained
        return (
            jnp.where(fine_tuning, config.fine_tuning_rate * rate, rate),
            jnp.where(fine_tuning, config.workers.entropy_end, entropy),
        )

    def _phase_progress(self, num_updates: jax.Array) -> jax.Array:
        """Share of the current phase that is done, ``f32[]``."""
        config = self.config
        in_phase2 = num_updates >= config.phase1_updates
        done = jnp.where(in_phase2, num_updates - config.phase1_updates, num_updates)
        total = jnp.where(in_phase2, config.phase2_updates, config.phase1_updates)
        return done / jnp.maximum(total, 1)

    def _with_curricula(self, params: OneStepParams, num_updates: jax.Array) -> OneStepParams:
        """Parameters in force now.

        Labor-cost warm-up in all of training, tax cap in phase 2. In phase 1 schedules are random,
        whatever the tax model of phase 2.
        """
        config = self.config
        weight = curricula.labor_cost_weight(num_updates, config.labor_warmup_episodes)
        taxed_episodes = num_updates - config.phase1_updates
        cap = curricula.tax_cap(
            taxed_episodes, config.tax_cap_warmup, config.tax_cap_slope, params.rate_cap
        )
        cap = jnp.where(taxed_episodes < 0, params.rate_cap, cap)
        economy = dataclasses.replace(params.economy, labor_cost=params.economy.labor_cost * weight)
        free = params.planner_sets_rates | (taxed_episodes < 0)
        return dataclasses.replace(params, economy=economy, rate_cap=cap, planner_sets_rates=free)

    def _follows_planner(self, batch_size: int, axis_name: str | None) -> jax.Array:
        """``bool[B]``: False for the fixed share of environments that get random schedules."""
        num_random = round(self.config.random_schedule_share * self.config.num_environments)
        return global_indices(batch_size, axis_name) >= num_random


def _rates(config: RoleConfig, progress: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Learning rate and entropy coefficient at a share ``progress`` of a phase."""
    return (
        curricula.linear_anneal(progress, config.learning_rate, 0.0, 1.0),
        curricula.linear_anneal(
            progress, config.entropy_start, config.entropy_end, config.entropy_until
        ),
    )


def _batch_config(config: TwoLevelConfig, role: RoleConfig) -> ppo.BatchConfig:
    return ppo.BatchConfig(
        num_environments=config.num_environments,
        num_steps=1,
        num_epochs=role.num_epochs,
        num_minibatches=role.num_minibatches,
        shuffle_blocks=config.shuffle_blocks,
    )
