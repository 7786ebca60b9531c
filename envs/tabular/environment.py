"""A tabular problem under the environment contract, so that any learner of the core runs on it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax import spaces
from ai_econ_jax.environment import TimeStep, timestep
from ai_econ_jax.envs.tabular.mdp import TabularMDP


@struct.dataclass
class State:
    """One running episode."""

    step: jax.Array  # i32[], steps taken
    state: jax.Array  # i32[]


@dataclasses.dataclass(frozen=True)
class TabularEnvironment:
    """Episodes of H steps; ``params`` is the `TabularMDP`.

    Observations are one-hot over pairs of step and state, f[H S], entry ``step * S + state``: a
    linear policy is then a table. After the last step they are 0. Actions are ``0 .. A - 1``.
    """

    def reset(self, key: jax.Array, params: TabularMDP) -> tuple[State, TimeStep]:
        """Draw the first state."""
        start = jax.random.categorical(key, jnp.log(params.initial)).astype(jnp.int32)
        state = State(step=jnp.zeros((), jnp.int32), state=start)
        return state, self._timestep(state, jnp.zeros_like(params.reward[0, 0, 0]), params)

    def step(
        self, key: jax.Array, state: State, action: jax.Array, params: TabularMDP
    ) -> tuple[State, TimeStep]:
        """Draw the next state; the reward is the expected one of state and action."""
        here = (state.step, state.state, action)
        following = jax.random.categorical(key, jnp.log(params.transition[here]))
        reward = params.reward[here]
        state = State(step=state.step + 1, state=following.astype(jnp.int32))
        return state, self._timestep(state, reward, params)

    def _timestep(self, state: State, reward: jax.Array, params: TabularMDP) -> TimeStep:
        size = params.horizon * params.num_states
        # Past the last step the index is out of range, and one_hot is 0.
        index = state.step * params.num_states + state.state
        observation = jax.nn.one_hot(index, size, dtype=params.reward.dtype)
        return timestep(observation, reward, terminated=state.step >= params.horizon)

    def observation_space(self, params: TabularMDP) -> spaces.Box:
        """One-hot vectors f[H S], or 0."""
        return spaces.Box(0.0, 1.0, (params.horizon * params.num_states,))

    def action_space(self, params: TabularMDP) -> spaces.Discrete:
        """The A actions."""
        return spaces.Discrete(params.num_actions)
