"""Gather-trade-build as an environment: ``reset``, ``step``, and their deterministic halves.

``step`` is a thin wrapper of ``step_with_noise``, in which nothing is random; likewise ``reset``.
Axes: N workers, B brackets. See ``state.py`` for what a state holds, ``actions.py`` for what an
action means, ``observation.py`` for what is seen.

Source: AI Economist, arXiv 2108.02755, official code; spec section 3.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from ai_econ_jax.environment import TimeStep, timestep
from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.gather_trade_build import actions, observation
from ai_econ_jax.envs.gather_trade_build.components import COMPONENTS, validate_names
from ai_econ_jax.envs.gather_trade_build.config import Config
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.regeneration import regenerate
from ai_econ_jax.envs.gather_trade_build.reset import (
    draw_reset_noise,
    initial_meta,
    reset_with_noise,
)
from ai_econ_jax.envs.gather_trade_build.rewards import give_rewards
from ai_econ_jax.envs.gather_trade_build.state import MetaState, ResetNoise, State, StepNoise
from ai_econ_jax.envs.gather_trade_build.world import World, build_world


@dataclasses.dataclass(frozen=True)
class GatherTradeBuild:
    """The environment. Invalid actions have no effect; masks are advice to the policy.

    ``TimeStep.observation`` is a ``PerRole`` of ``WorkerObservation`` and ``PlannerObservation``,
    ``reward`` a ``PerRole`` of f32[N] and f32[], ``info`` the ``Events`` of the step. The episode
    terminates after ``config.episode_length`` steps.

    Attributes:
      config: What is fixed.
      world: The map and sizes, read once: a later change of a layout file is another environment.

    Raises:
      ValueError: The configuration or the layout is not valid.
      FileNotFoundError: No such layout file.
    """

    config: Config = Config()
    world: World = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        validate_names(self.config)
        object.__setattr__(self, "world", build_world(self.config))

    def reset(self, key: jax.Array, params: Params) -> tuple[State, TimeStep]:
        """Start the first episode."""
        noise = draw_reset_noise(key, params, self.world)
        return self.reset_with_noise(initial_meta(params, self.world), noise, params)

    def restart(self, key: jax.Array, state: State, params: Params) -> tuple[State, TimeStep]:
        """Start the next episode after ``state``: curricula and Saez' samples go on."""
        noise = draw_reset_noise(key, params, self.world)
        return self.reset_with_noise(state.meta, noise, params)

    def reset_with_noise(
        self, meta: MetaState, noise: ResetNoise, params: Params
    ) -> tuple[State, TimeStep]:
        """Start the episode that follows ``meta``, with given noise."""
        state = reset_with_noise(meta, noise, params, self.world)
        rewards = PerRole(
            workers=jnp.zeros_like(state.utility), planner=jnp.zeros_like(state.welfare)
        )
        return state, self._timestep(state, rewards, params)

    def step(
        self, key: jax.Array, state: State, action: PerRole, params: Params
    ) -> tuple[State, TimeStep]:
        """Advance one step; actions that the mask forbids have no effect."""
        return self.step_with_noise(state, action, self.draw_step_noise(key), params)

    def draw_step_noise(self, key: jax.Array) -> StepNoise:
        """Everything random in one step."""
        order_key, uniform_key = jax.random.split(key)
        num_workers, num_sites = self.config.num_workers, len(self.world.sites)
        sizes = (num_workers, num_sites, self.world.num_brackets)
        # One draw for all: a draw costs more to start than to lengthen.
        uniform = jax.random.uniform(uniform_key, (sum(sizes),))
        gather, regeneration, saez = jnp.split(uniform, (sizes[0], sizes[0] + sizes[1]))
        turns = jax.random.uniform(order_key, (num_workers,))
        return StepNoise(
            gather_order=jnp.argsort(turns).astype(jnp.int32),
            gather=gather,
            regeneration=regeneration,
            saez=saez,
        )

    def step_with_noise(
        self, state: State, action: PerRole, noise: StepNoise, params: Params
    ) -> tuple[State, TimeStep]:
        """Advance one step with given noise."""
        world = self.world
        if self.config.debug:
            _check_actions(action, world)
        state = dataclasses.replace(
            state,
            time=state.time + 1,
            events=dataclasses.replace(
                state.events,
                tax_paid=jnp.zeros_like(state.events.tax_paid),
                lump_sum=jnp.zeros_like(state.events.lump_sum),
            ),
        )
        decoded = actions.decode(action, world)
        for name in self.config.components:
            state = COMPONENTS[name](state, decoded, noise, params, world)
        state = regenerate(state, noise, params, world)
        if self.config.debug:
            checkify.check(
                jnp.all(state.total_coin >= 0), "coin {coin}: negative", coin=state.total_coin
            )
        state, rewards = give_rewards(state, params, world)
        # Without the barrier the compiler repeats the step for each array of the observation.
        state = jax.lax.optimization_barrier(state)
        stepped = self._timestep(state, rewards, params)
        meta = dataclasses.replace(
            state.meta,
            completions=state.meta.completions + stepped.terminated,
            last_rates=state.rates,
        )
        return dataclasses.replace(state, meta=meta), stepped

    def observe(self, state: State, params: Params) -> PerRole:
        """What everybody sees of ``state``: ``WorkerObservation`` and ``PlannerObservation``."""
        return observation.observe(state, params, self.world)

    def observation_space(self, params: Params) -> PerRole:
        """Boxes of every array of the observation."""
        key = jax.random.key(0)
        example = jax.eval_shape(lambda: self.reset(key, params)[1].observation)
        return observation.observation_space(example)

    def action_space(self, params: Params) -> PerRole:
        """Actions i32[N] (i32[N, 6] in multi-action mode) and i32[B] (i32[1] if passive)."""
        del params
        return actions.action_space(self.world)

    def _timestep(self, state: State, rewards: PerRole, params: Params) -> TimeStep:
        return timestep(
            self.observe(state, params),
            rewards,
            terminated=state.time >= self.config.episode_length,
            info=state.events,
        )


def _check_actions(action: PerRole, world: World) -> None:
    for role, tried, space in (
        ("worker", action.workers, actions.action_space(world).workers),
        ("planner", action.planner, actions.action_space(world).planner),
    ):
        checkify.check(
            space.contains(jnp.asarray(tried)),
            f"{role} actions {{tried}}: must lie below {space.sizes[-space.shape[-1] :]}",
            tried=jnp.asarray(tried),
        )
