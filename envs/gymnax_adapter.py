"""gymnax environments under our contract."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from ai_econ_jax import spaces
from ai_econ_jax.environment import TimeStep, timestep


@dataclasses.dataclass(frozen=True)
class GymnaxEnvironment:
    """Wraps a gymnax (1.0 or newer) environment; ``params`` are gymnax's own.

    Termination and truncation (the time limit) are told apart. Wrap it in
    :class:`ai_econ_jax.environment.AutoReset` for training.
    """

    environment: Any

    def reset(self, key: jax.Array, params: Any) -> tuple[Any, TimeStep]:
        """Start an episode."""
        observation, state = self.environment.reset_env(key, params)
        return state, timestep(observation, jax.numpy.zeros(()))

    def step(
        self, key: jax.Array, state: Any, action: jax.Array, params: Any
    ) -> tuple[Any, TimeStep]:
        """Advance one step, without auto-reset."""
        observation, state, reward, terminated, _ = self.environment.step_env(
            key, state, action, params
        )
        truncated = self.environment.is_truncated(state, params) & ~terminated
        return state, timestep(observation, reward, terminated, truncated)

    def observation_space(self, params: Any) -> spaces.Box:
        """Space of observations."""
        space = self.environment.observation_space(params)
        return spaces.Box(space.low, space.high, tuple(space.shape))

    def action_space(self, params: Any) -> spaces.Discrete | spaces.Box:
        """Space of actions: discrete or box."""
        space = self.environment.action_space(params)
        if hasattr(space, "n"):
            return spaces.Discrete(int(space.n))
        return spaces.Box(space.low, space.high, tuple(space.shape))
