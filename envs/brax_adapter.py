"""brax physics environments under our contract."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from brax import envs as brax_envs
from flax import struct

from ai_econ_jax import spaces
from ai_econ_jax.environment import TimeStep, timestep

BACKENDS = ("spring", "positional", "generalized", "mjx")


@struct.dataclass
class State:
    """A running episode."""

    physics: Any  # brax.envs.State
    time: jax.Array  # i32[], steps taken


@dataclasses.dataclass(frozen=True)
class BraxEnvironment:
    """Wraps a bare brax environment; it has no parameters to sweep, so ``params`` is ``()``.

    brax's ``done`` terminates; ``episode_length`` steps truncate. Wrap it in
    :class:`ai_econ_jax.environment.AutoReset` for training.
    """

    environment: Any
    episode_length: int = 1000

    def reset(self, key: jax.Array, params: Any) -> tuple[State, TimeStep]:
        """Start an episode."""
        del params
        physics = self.environment.reset(key)
        state = State(physics=physics, time=jnp.zeros((), jnp.int32))
        return state, timestep(physics.obs, jnp.zeros_like(physics.reward))

    def step(
        self, key: jax.Array, state: State, action: jax.Array, params: Any
    ) -> tuple[State, TimeStep]:
        """Advance one step, without auto-reset."""
        del key, params
        physics = self.environment.step(state.physics, action)
        time = state.time + 1
        terminated = physics.done > 0
        truncated = (time >= self.episode_length) & ~terminated
        after = timestep(physics.obs, physics.reward, terminated, truncated)
        return State(physics=physics, time=time), after

    def observation_space(self, params: Any) -> spaces.Box:
        """Space of observations."""
        del params
        return spaces.Box(-np.inf, np.inf, (self.environment.observation_size,))

    def action_space(self, params: Any) -> spaces.Box:
        """Space of actions; brax scales each to [-1, 1]."""
        del params
        return spaces.Box(-1.0, 1.0, (self.environment.action_size,))


def make_brax(name: str, backend: str = "spring", episode_length: int = 1000) -> BraxEnvironment:
    """A brax environment by its name, such as ``inverted_pendulum``; ``spring`` is fast on CPUs.

    Raises:
      ValueError: unknown backend or name.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown; valid: {', '.join(BACKENDS)}")
    try:
        environment = brax_envs.get_environment(name, backend=backend)
    except KeyError:
        raise ValueError(f"brax knows no environment {name!r}") from None
    return BraxEnvironment(environment, episode_length)
