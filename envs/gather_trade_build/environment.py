"""Gather-trade-build as an environment: ``reset``, ``step``, and their deterministic halves.

``step`` is a thin wrapper of ``step_with_noise``, in which nothing is random; likewise ``reset``.
Axes: N workers, B brackets. See ``state.py`` for what a state holds, ``actions.py`` for what an
action means, ``observation.py`` for what is seen.

Source: AI Economist, arXiv 2108.02755, official code; spec section 3.
"""

import dataclasses

import jax

from ai_econ_jax.environment import TimeStep
from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.gather_trade_build import actions
from ai_econ_jax.envs.gather_trade_build.config import Config
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import State, StepNoise
from ai_econ_jax.envs.gather_trade_build.world import World, build_world


@dataclasses.dataclass(frozen=True)
class GatherTradeBuild:
    """The environment. Invalid actions have no effect; masks are advice to the policy.

    ``TimeStep.observation`` is a ``PerRole`` of ``WorkerObservation`` and ``PlannerObservation``,
    ``reward`` a ``PerRole`` of f32[N] and f32[], ``info`` the ``Events`` of the step. The episode
    terminates after ``config.episode_length`` steps.

    Raises:
      ValueError: The configuration or the layout is not valid.
      FileNotFoundError: No such layout file.
    """

    config: Config = Config()

    def __post_init__(self) -> None:
        build_world(self.config)

    @property
    def world(self) -> World:
        """The map and sizes."""
        return build_world(self.config)

    def reset(self, key: jax.Array, params: Params) -> tuple[State, TimeStep]:
        """Start the first episode."""
        raise NotImplementedError

    def restart(self, key: jax.Array, state: State, params: Params) -> tuple[State, TimeStep]:
        """Start the next episode after ``state``: curricula and Saez' samples go on."""
        raise NotImplementedError

    def step(
        self, key: jax.Array, state: State, action: PerRole, params: Params
    ) -> tuple[State, TimeStep]:
        """Advance one step; actions that the mask forbids have no effect."""
        raise NotImplementedError

    def step_with_noise(
        self, state: State, action: PerRole, noise: StepNoise, params: Params
    ) -> tuple[State, TimeStep]:
        """Advance one step with given noise."""
        raise NotImplementedError

    def observe(self, state: State, params: Params) -> PerRole:
        """What everybody sees of ``state``."""
        raise NotImplementedError

    def observation_space(self, params: Params) -> PerRole:
        """Boxes of every array of the observation."""
        raise NotImplementedError

    def action_space(self, params: Params) -> PerRole:
        """Actions i32[N] (i32[N, 6] in multi-action mode) and i32[B] (i32[1] if passive)."""
        del params
        return actions.action_space(self.world)
