"""Two-level recurrent PPO in gather-trade-build: pure ``init`` and ``update``, on the core.

An update plays T steps in every environment, in runs of L steps, each a row of the training batch
with the memory that it started from; then it improves the workers and, where there is one, the
planner. All episodes have one length, a multiple of L, so they end between runs: environments are
restarted there, and not in every step. Axes: K = T / L runs, L steps, B environments, N workers.

Source: AI Economist, arXiv 2108.02755; spec sections 2.2 and 2.4.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from ai_econ_jax import advantages, devices, optimizers, ppo
from ai_econ_jax.agents.ai_economist.curricula import linear_anneal
from ai_econ_jax.agents.ai_economist.gather_trade_build import episodes, planners
from ai_econ_jax.agents.ai_economist.gather_trade_build.config import LearningConfig, RoleConfig
from ai_econ_jax.agents.ai_economist.gather_trade_build.roles import (
    PlannerRole,
    WorkerRole,
)
from ai_econ_jax.agents.ai_economist.gather_trade_build.saez_pool import pool
from ai_econ_jax.agents.ai_economist.gather_trade_build.state import (
    Carries,
    Experience,
    State,
    each_worker,
    estimate,
    fold_workers,
    rows,
)
from ai_econ_jax.envs.gather_trade_build import GatherTradeBuild, Params, PerRole
from ai_econ_jax.rollout import (
    EnvironmentBatch,
    Trajectory,
    init_batch,
    per_environment_keys,
    restart_finished,
    rollout,
)

PLANNER_KINDS = ("none", "learned", "random", "search")
_ADAM_EPSILON = 1e-8


class TwoLevel:
    """The learner of one phase: ``init`` and ``update`` are pure, the object holds constants."""

    def __init__(
        self,
        config: LearningConfig,
        environment: GatherTradeBuild,
        num_updates: int,
        planner_kind: str = "none",
        tax_period: int = 100,
    ):
        """Take what is static.

        Args:
          config: The configuration.
          environment: The environment, without auto-reset.
          num_updates: Of the phase; learning-rate schedules end there.
          planner_kind: Of ``PLANNER_KINDS``; none where the tax model needs no planner.
          tax_period: In steps; read where the planner acts at decision points only.

        Raises:
          ValueError: Sizes that do not divide, or a planner and a tax model that do not fit.
        """
        if (planner_kind != "none") != environment.world.planner_acts:
            raise ValueError(
                f"planner {planner_kind!r} does not fit tax_model {environment.config.tax_model!r}"
            )
        if environment.config.multi_action:
            raise ValueError("multi_action = True: workers choose one action per step here")
        self.config = config
        self.environment = environment
        self.num_updates = num_updates
        self.planner_kind = planner_kind
        self.tax_period = tax_period
        self.worker_role = WorkerRole(environment, config.workers.tower, config.share_worker_policy)
        self.planner_role = PlannerRole(environment, config.planner.tower)
        self.num_workers = environment.config.num_workers
        self.decides = planner_kind == "learned" and config.planner_acts == "decisions"
        self._check_lengths()
        each = self.num_workers if config.share_worker_policy else 1
        self.worker_batch = self._batch_config(config.workers, config.num_environments * each)
        self.planner_batch = self._batch_config(config.planner, config.num_environments)
        ppo.validate_batch(self.worker_batch)
        if planner_kind == "learned":
            ppo.validate_batch(self.planner_batch)

    def init(self, key: jax.Array, env_params: Params, workers: Any = None) -> State:
        """Fresh learners; ``workers`` are parameters that workers learned before."""
        worker_key, planner_key, reset_key, key = jax.random.split(key, 4)
        size = self.config.num_environments
        environments = init_batch(reset_key, self.environment, env_params, size)
        one = jax.tree.map(lambda leaf: leaf[0], environments.observation)
        if workers is None:
            workers = self.worker_role.init(worker_key, one.workers)
        planner: Any = None
        memory = None
        if self.planner_kind == "learned":
            memory = self.planner_role.init_carry((size,))
            planner = self._fresh(
                self.config.planner, self.planner_role.init(planner_key, one.planner)
            )
        elif self.planner_kind == "search":
            planner = planners.init_search(self.environment.world.num_brackets)
        carries = Carries(
            workers=self.worker_role.init_carry((size, self.num_workers)),
            planner=memory,
            planned=jnp.zeros((size, len(self.planner_role.head_sizes)), jnp.int32),
        )
        return State(
            workers=self._fresh(
                self.config.workers, workers, each=not self.config.share_worker_policy
            ),
            planner=planner,
            environments=dataclasses.replace(environments, policy_carry=carries),
            stored_params=dataclasses.replace(
                env_params,
                saez_elasticity=jnp.nan_to_num(env_params.saez_elasticity, nan=jnp.inf),
            ),
            episodes=episodes.no_episodes(),
            saez_shared=jnp.zeros((), jnp.int32),
            key=key,
            num_updates=jnp.zeros((), jnp.int32),
        )

    def update(self, state: State, axis_name: str | None = None) -> tuple[State, ppo.Metrics]:
        """Play T steps in each environment, then improve both levels."""
        key, play_key, worker_key, planner_key = jax.random.split(state.key, 4)
        state, experience = self.play(play_key, state, axis_name)
        metrics, batch = dict(state.episodes), state.environments
        first = batch.first
        workers, worker_metrics = self._learn(
            worker_key,
            state.workers,
            experience.workers,
            self.worker_role.value_now(
                state.workers.params, batch.policy_carry.workers, batch.observation.workers, first
            ),
            True,
            state.num_updates,
            axis_name,
        )
        metrics |= {f"workers/{name}": value for name, value in worker_metrics.items()}
        planner = state.planner
        if self.planner_kind == "learned":
            planner, planner_metrics = self._learn(
                planner_key,
                state.planner,
                experience.planner,
                self.planner_role.value_now(
                    state.planner.params,
                    batch.policy_carry.planner,
                    batch.observation.planner,
                    first,
                ),
                False,
                state.num_updates,
                axis_name,
            )
            metrics |= {f"planner/{name}": value for name, value in planner_metrics.items()}
        state = dataclasses.replace(
            state, workers=workers, planner=planner, key=key, num_updates=state.num_updates + 1
        )
        return state, metrics

    def play(
        self, key: jax.Array, state: State, axis_name: str | None = None
    ) -> tuple[State, PerRole]:
        """The experience of T steps, and the state behind them; nobody learns, a search does."""
        keys = jax.random.split(key, self.config.steps_per_update // self.config.unroll)
        return jax.lax.scan(lambda state, key: self._run(key, state, axis_name), state, keys)

    def _run(self, key: jax.Array, state: State, axis_name: str | None) -> tuple[State, PerRole]:
        """L steps."""
        plan_key, play_key, restart_key = jax.random.split(key, 3)
        batch = state.environments
        before = batch.policy_carry
        plan_keys = per_environment_keys(plan_key, batch.first.shape[0], axis_name)
        batch, planned = self.plan(plan_keys, state)
        batch, trajectory = rollout(
            play_key,
            lambda keys, carries, observation, first: self.act(
                state, keys, carries, observation, first
            ),
            self.environment,
            state.env_params,
            batch,
            self.config.unroll,
            keep=self._kept,
            axis_name=axis_name,
        )
        experience = self._experience(before, trajectory, planned)
        ended = episodes.summarize(batch.state, state.env_params, self.environment.world)
        has_ended = batch.first[0]  # all end together
        last = devices.mean_over(jax.tree.map(jnp.mean, ended), axis_name)
        last = jax.tree.map(lambda new, old: jnp.where(has_ended, new, old), last, state.episodes)
        planner, saez_shared = state.planner, state.saez_shared
        if self.planner_kind == "search":
            found = planners.refit(state.planner, batch.state.rates, batch.state.welfare, axis_name)
            planner = _select(has_ended, found, planner)
        if self.environment.config.tax_model == "saez":
            pooled, shared = pool(batch.state.meta.saez, saez_shared, axis_name)
            memory = _select(has_ended, pooled, batch.state.meta.saez)
            saez_shared = jnp.where(has_ended, shared, saez_shared)
            meta = dataclasses.replace(batch.state.meta, saez=memory)
            batch = dataclasses.replace(batch, state=dataclasses.replace(batch.state, meta=meta))
        batch = restart_finished(restart_key, self.environment, state.env_params, batch, axis_name)
        state = dataclasses.replace(
            state,
            planner=planner,
            environments=batch,
            episodes=last,
            saez_shared=saez_shared,
        )
        return state, experience

    def plan(self, keys: jax.Array, state: State) -> tuple[EnvironmentBatch, Any]:
        """Lets a planner act that acts at the beginning of runs only.

        Returns:
          The environments with the action for this run, and, of a planner that learns from
          decisions, its inputs and `Judgement`.
        """
        batch, grid = state.environments, jnp.asarray(self.environment.world.rates, jnp.float32)
        carries, observation = batch.policy_carry, batch.observation.planner
        learned = None
        if self.planner_kind == "random":
            planned = planners.draw_uniform(
                keys, observation.action_mask, self.environment.world.num_brackets
            )
        elif self.planner_kind == "search":
            cap = batch.state.meta.rate_cap
            drawn = planners.draw_schedules(keys, state.planner, grid, cap)
            planned = jnp.where(batch.first[:, None], drawn, carries.planned)
        elif self.decides:
            inputs = self.planner_role.inputs(observation)
            memory, planned, judgement = self.planner_role.act(
                state.planner.params, keys, carries.planner, inputs, batch.first
            )
            carries = dataclasses.replace(carries, planner=memory)
            learned = (inputs, judgement)
        else:
            planned = carries.planned
        carries = dataclasses.replace(carries, planned=planned)
        return dataclasses.replace(batch, policy_carry=carries), learned

    def act(
        self,
        state: State,
        keys: jax.Array,
        carries: Carries,
        observation: PerRole,
        first: jax.Array,
    ) -> tuple[Carries, PerRole, PerRole]:
        """One step of all policies; extras are a `Judgement` of each."""
        split = jax.vmap(jax.random.split)(keys)
        workers, action, judgement = self.worker_role.act(
            state.workers.params,
            split[:, 0],
            carries.workers,
            self.worker_role.inputs(observation.workers),
            first,
        )
        planner, planned, planner_judgement = carries.planner, carries.planned, None
        if self.planner_kind == "learned" and not self.decides:
            planner, planned, planner_judgement = self.planner_role.act(
                state.planner.params,
                split[:, 1],
                carries.planner,
                self.planner_role.inputs(observation.planner),
                first,
            )
        return (
            dataclasses.replace(carries, workers=workers, planner=planner),
            PerRole(workers=action, planner=planned),
            PerRole(workers=judgement, planner=planner_judgement),
        )

    def _kept(self, observation: PerRole) -> PerRole:
        """What is kept of an observation to learn from it."""
        planner = None
        if self.planner_kind == "learned" and not self.decides:
            planner = self.planner_role.inputs(observation.planner).compact()
        workers = self.worker_role.inputs(observation.workers).compact()
        return PerRole(workers=workers, planner=planner)

    def _experience(self, before: Carries, trajectory: Trajectory, planned: Any) -> PerRole:
        """Experience [L, B, ...] of each role."""
        first = trajectory.first
        workers = Experience(
            inputs=trajectory.observation.workers,
            action=trajectory.action.workers,
            log_prob=trajectory.extras.workers.log_prob,
            value=trajectory.extras.workers.value,
            reward=trajectory.reward.workers * self.config.workers.reward_scale,
            first=first,
            terminated=trajectory.terminated,
            carry=before.workers,
        )
        if self.planner_kind != "learned":
            return PerRole(workers=workers, planner=None)
        reward = trajectory.reward.planner * self.config.planner.reward_scale
        if self.decides:
            inputs, judgement, first = jax.tree.map(lambda leaf: leaf[None], (*planned, first[0]))
            action = trajectory.action.planner[:1]
            reward, terminated = jnp.sum(reward, axis=0)[None], trajectory.terminated[-1:]
        else:
            inputs, judgement = trajectory.observation.planner, trajectory.extras.planner
            action, terminated = trajectory.action.planner, trajectory.terminated
        planner = Experience(
            inputs=inputs,
            action=action,
            log_prob=judgement.log_prob,
            value=judgement.value,
            reward=reward,
            first=first,
            terminated=terminated,
            carry=before.planner,
        )
        return PerRole(workers=workers, planner=planner)

    def _learn(
        self,
        key: jax.Array,
        policy: ppo.PolicyState,
        experience: Experience,
        bootstrap: jax.Array,
        is_workers: bool,
        num_updates: jax.Array,
        axis_name: str | None,
    ) -> tuple[ppo.PolicyState, ppo.Metrics]:
        """One PPO update of one role."""
        config = self.config.workers if is_workers else self.config.planner
        role: Any = self.worker_role if is_workers else self.planner_role
        gamma = config.gamma
        if not is_workers and self.decides:
            gamma **= self.tax_period  # from one decision to the next
        advantage, target = estimate(experience, bootstrap, gamma, config.lambda_)
        advantage = advantages.standardize(advantage, axis_name=axis_name)
        batch = ppo.Batch(
            observation=(experience.inputs, experience.first),
            action=experience.action,
            log_prob=experience.log_prob,
            value=experience.value,
            advantage=advantage,
            target=target,
        )
        carry = experience.carry
        if not is_workers and self.decides:  # all decisions of an update are one sequence
            batch = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), batch)
            carry = jax.tree.map(lambda leaf: leaf[:1], carry)
        hyperparameters = ppo.Hyperparameters(
            clip=config.clip,
            value_coefficient=2.0 * config.value_coefficient,
            value_clip=config.value_clip,
            entropy_coefficient=self._entropy_coefficient(config, num_updates),
        )
        update = functools.partial(
            ppo.update_policy,
            apply=role.train_apply,
            optimizer=self._optimizer(config),
            hyperparameters=hyperparameters,
            config=self.worker_batch if is_workers else self.planner_batch,
            axis_name=axis_name,
        )
        if not is_workers:
            return update(key, policy, rows(batch, carry))
        if self.config.share_worker_policy:
            return update(key, policy, rows(fold_workers(batch), fold_workers(carry, 1)))
        keys = jax.random.split(key, self.num_workers)
        each = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 3, 0), each_worker(batch))
        carries = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 2, 0), carry)
        policy, metrics = jax.vmap(update)(keys, policy, jax.vmap(rows)(each, carries))
        return policy, jax.tree.map(jnp.mean, metrics)

    def _entropy_coefficient(self, config: RoleConfig, num_updates: jax.Array) -> jax.Array:
        learning = self.config
        if config.entropy_steps == 0 or not learning.use_entropy_schedule or learning.single_phase:
            return jnp.asarray(config.entropy_end)
        steps = num_updates * float(learning.steps_of_update)
        return linear_anneal(steps, config.entropy_start, config.entropy_end, config.entropy_steps)

    def _optimizer(self, config: RoleConfig) -> Any:
        steps = self.num_updates * config.num_epochs * config.num_minibatches
        rate = optimizers.learning_rate_schedule(config.schedule, config.learning_rate, steps)
        return optimizers.adam(rate, config.max_gradient_norm, _ADAM_EPSILON)

    def _fresh(self, config: RoleConfig, params: Any, each: bool = False) -> ppo.PolicyState:
        """Parameters with an optimiser that has seen nothing; with ``each`` one per worker."""
        init = self._optimizer(config).init
        optimizer_state = jax.vmap(init)(params) if each else init(params)
        return ppo.PolicyState(params=params, optimizer_state=optimizer_state)

    def _batch_config(self, config: RoleConfig, num_rows: int) -> ppo.BatchConfig:
        learning = self.config
        num_runs = learning.steps_per_update // learning.unroll
        is_one_sequence = self.decides and config is learning.planner
        return ppo.BatchConfig(
            num_environments=num_rows,
            num_steps=1 if is_one_sequence else num_runs,
            num_epochs=config.num_epochs,
            num_minibatches=config.num_minibatches,
            shuffle_blocks=learning.shuffle_blocks,
            normalize_advantages=False,  # over the whole batch instead
        )

    def _check_lengths(self) -> None:
        unroll, length = self.config.unroll, self.environment.config.episode_length
        if length % unroll:
            raise ValueError(
                f"field learning.unroll = {unroll}: must divide the episode length {length}"
            )
        if self.decides and unroll != self.tax_period:
            raise ValueError(
                f"field learning.unroll = {unroll}: must be the tax period {self.tax_period} where "
                "planner_acts = 'decisions'"
            )


def _select(chosen: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(chosen, a, b), yes, no)
