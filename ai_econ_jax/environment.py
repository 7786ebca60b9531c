"""The environment contract, and the auto-reset wrapper.

An environment is a small immutable object with pure methods. ``params`` is a pytree, so one
compiled program can be vmapped over economies, skill distributions or tax policies::

    state, timestep = environment.reset(key, params)
    state, timestep = environment.step(key, state, action, params)

Several actors act as arrays with a leading actor axis (and further roles as further fields of one
struct), never as dictionaries of strings. Shapes are fixed from reset to the end.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class TimeStep:
    """What an actor sees after a reset or a step; any pytree structure where ``Any`` stands.

    ``final_observation`` is the observation of the state that the step led to. It differs from
    ``observation`` only behind :class:`AutoReset` and only where an episode ended: there
    ``observation`` already belongs to the next episode. Bootstrapping through a truncation needs
    it.
    """

    observation: Any
    reward: Any  # f32, one per actor
    terminated: jax.Array  # bool[], the problem ended: the value of what follows is 0
    truncated: jax.Array  # bool[], cut off: what follows has a value, but is not seen
    final_observation: Any
    info: Any  # pytree of metrics; the same structure at every step

    @property
    def done(self) -> jax.Array:
        """``bool[]``, whether the episode ended here, in either way."""
        return self.terminated | self.truncated


def timestep(
    observation: Any,
    reward: Any,
    terminated: jax.Array | bool = False,
    truncated: jax.Array | bool = False,
    info: Any = None,
) -> TimeStep:
    """Build a :class:`TimeStep` whose ``final_observation`` is ``observation``."""
    return TimeStep(
        observation=observation,
        reward=reward,
        terminated=jnp.asarray(terminated),
        truncated=jnp.asarray(truncated),
        final_observation=observation,
        info={} if info is None else info,
    )


class Environment(Protocol):
    """The contract. Implementations are frozen (hashable), so that jit can take them as static."""

    def reset(self, key: jax.Array, params: Any) -> tuple[Any, TimeStep]:
        """Start an episode."""
        ...

    def step(self, key: jax.Array, state: Any, action: Any, params: Any) -> tuple[Any, TimeStep]:
        """Advance one step."""
        ...

    def observation_space(self, params: Any) -> Any:
        """Space (or pytree of spaces) of ``TimeStep.observation``."""
        ...

    def action_space(self, params: Any) -> Any:
        """Space (or pytree of spaces) of actions."""
        ...


@dataclasses.dataclass(frozen=True)
class AutoReset:
    """Starts the next episode in the step that ends one. Costs one ``reset`` per step.

    Under vmap both branches of a condition run anyway, so the reset is always computed, then
    selected. An environment that remembers something over episodes has a method
    ``restart(key, state, params)``, which is then called instead of ``reset``.
    """

    environment: Environment

    def reset(self, key: jax.Array, params: Any) -> tuple[Any, TimeStep]:
        """Start an episode."""
        return self.environment.reset(key, params)

    def step(self, key: jax.Array, state: Any, action: Any, params: Any) -> tuple[Any, TimeStep]:
        """Advance one step; where it ends the episode, return the next episode's first state."""
        step_key, reset_key = jax.random.split(key)
        state, ended = self.environment.step(step_key, state, action, params)
        # What must survive the episode, such as the progress of curricula, is in the state.
        restart = getattr(self.environment, "restart", None)
        if restart is None:
            reset_state, reset = self.environment.reset(reset_key, params)
        else:
            reset_state, reset = restart(reset_key, state, params)

        def select(after_reset: Any, after_step: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(ended.done, a, b), after_reset, after_step)

        return select(reset_state, state), dataclasses.replace(
            ended,
            observation=select(reset.observation, ended.observation),
            final_observation=ended.observation,
        )

    def observation_space(self, params: Any) -> Any:
        """Space of observations."""
        return self.environment.observation_space(params)

    def action_space(self, params: Any) -> Any:
        """Space of actions."""
        return self.environment.action_space(params)
