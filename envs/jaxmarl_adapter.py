"""Our two-role environments in the style of JaxMARL: dictionaries keyed by the names of agents.

It needs nothing of JaxMARL, and is as pure as what it wraps: jit it, scan it, vmap it over keys.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from ai_econ_jax import spaces
from ai_econ_jax.environment import AutoReset, TimeStep
from ai_econ_jax.envs.economy import per_agent


@dataclasses.dataclass(frozen=True, eq=False)
class JaxMarlEnvironment:
    """``reset(key)`` and ``step(key, state, actions)``, with one environment and its parameters.

    An observation is a dictionary of arrays for each agent; ``action_mask`` is among them. Agents
    are ``worker_0 .. worker_{N-1}`` and ``planner``.

    Attributes:
      environment: One of ours, with workers and a planner, without auto-reset.
      params: Its parameters.
    """

    environment: Any
    params: Any

    @property
    def num_workers(self) -> int:
        """N."""
        return per_agent.num_workers(self.environment.action_space(self.params))

    @property
    def agents(self) -> list[str]:
        """Names of all agents."""
        return list(per_agent.agent_names(self.num_workers))

    @property
    def num_agents(self) -> int:
        """Workers and the planner."""
        return self.num_workers + 1

    def reset(self, key: jax.Array) -> tuple[dict[str, Any], Any]:
        """Start an episode: observations and state."""
        state, first = self.environment.reset(key, self.params)
        return self._observations(first), state

    def step(
        self, key: jax.Array, state: Any, actions: Mapping[str, jax.Array]
    ) -> tuple[dict[str, Any], Any, dict[str, jax.Array], dict[str, jax.Array], dict]:
        """Advance one step; where it ends the episode, state and observations are the next one's.

        Returns:
          Observations, state, rewards f32[], whether the episode ended bool[] (also under
          ``"__all__"``), and an empty dictionary of information.

        Raises:
          ValueError: ``actions`` is not for exactly the agents of this environment.
        """
        return self._step(AutoReset(self.environment), key, state, actions)

    def step_env(
        self, key: jax.Array, state: Any, actions: Mapping[str, jax.Array]
    ) -> tuple[dict[str, Any], Any, dict[str, jax.Array], dict[str, jax.Array], dict]:
        """``step`` without auto-reset."""
        return self._step(self.environment, key, state, actions)

    def observation_space(self, agent: str) -> dict[str, spaces.Box]:
        """The box of each array that ``agent`` sees."""
        space = self.environment.observation_space(self.params)
        return per_agent.split_observation_space(space, self.num_workers)[agent]

    def action_space(self, agent: str) -> spaces.Discrete | spaces.MultiDiscrete:
        """The actions of ``agent``."""
        space = self.environment.action_space(self.params)
        return per_agent.split_action_space(space)[agent]

    def _step(
        self, environment: Any, key: jax.Array, state: Any, actions: Mapping[str, jax.Array]
    ) -> tuple[dict[str, Any], Any, dict[str, jax.Array], dict[str, jax.Array], dict]:
        if set(actions) != set(self.agents):
            raise ValueError(f"actions are for {sorted(actions)}, must be for {self.agents}")
        state, after = environment.step(key, state, per_agent.join(actions), self.params)
        rewards = per_agent.split(after.reward, self.num_workers)
        dones = dict.fromkeys([*self.agents, "__all__"], after.done)
        return self._observations(after), state, rewards, dones, {}

    def _observations(self, timestep: TimeStep) -> dict[str, Any]:
        return per_agent.split_observation(timestep.observation, self.num_workers)
