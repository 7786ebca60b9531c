"""Our two-role environments as PettingZoo parallel environments, for those who do not use JAX.

Needs the extra ``pettingzoo``. Arrays are numpy's; the step is compiled once. It plays a single
economy: whoever needs many of them is better served by ``vmap`` on the environment itself.
"""

from typing import Any

import gymnasium
import jax
import numpy as np
import pettingzoo

from ai_econ_jax import spaces
from ai_econ_jax.envs.economy import per_agent

_MASK = "action_mask"


class PettingZooEnvironment(pettingzoo.ParallelEnv):
    """A parallel environment whose agents are ``worker_0 .. worker_{N-1}`` and ``planner``.

    An observation is a dictionary of arrays. ``action_mask`` among them is i8[A], or a tuple of
    them where an action has several parts: what ``action_space(agent).sample(mask)`` takes.

    Args:
      environment: One of ours, with workers and a planner, without auto-reset.
      params: Its parameters.
      name: In the metadata.
    """

    def __init__(self, environment: Any, params: Any, name: str = "gather_trade_build_v1"):
        self.metadata = {"name": name, "render_modes": [], "is_parallelizable": True}
        self.render_mode = None
        space = environment.action_space(params)
        self._count = per_agent.num_workers(space)
        self.possible_agents = list(per_agent.agent_names(self._count))
        self.agents: list[str] = []
        self._action_spaces = {
            agent: _action_space(actions)
            for agent, actions in per_agent.split_action_space(space).items()
        }
        self._reset = jax.jit(lambda key: environment.reset(key, params))
        restart = getattr(environment, "restart", None)
        self._restart = restart and jax.jit(lambda key, state: restart(key, state, params))
        self._step = jax.jit(
            lambda key, state, action: environment.step(key, state, action, params)
        )
        example = jax.eval_shape(self._reset, jax.random.key(0))[1].observation
        boxes = per_agent.split_observation_space(
            environment.observation_space(params), self._count
        )
        kinds = jax.eval_shape(lambda o: per_agent.split_observation(o, self._count), example)
        self._observation_spaces = {
            agent: gymnasium.spaces.Dict(
                {
                    name: self._mask_space(agent)
                    if name == _MASK
                    else _box(box, kinds[agent][name].dtype)
                    for name, box in boxes[agent].items()
                }
            )
            for agent in self.possible_agents
        }
        self._key = jax.random.key(int(np.random.SeedSequence().generate_state(1)[0]))
        self._state: Any = None

    def observation_space(self, agent: str) -> gymnasium.spaces.Dict:
        """What ``agent`` may see; the same object at every call."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.spaces.Space:
        """What ``agent`` may do; the same object at every call."""
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict | None = None
    ) -> tuple[dict[str, Any], dict[str, dict]]:
        """Start an episode.

        Args:
          seed: Fixes all that follows, and forgets what came before. Without one, what the
            environment remembers over episodes, such as curricula, goes on.
          options: Do nothing.
        """
        del options
        if seed is not None:
            self._key = jax.random.key(seed)
            self._state = None
        self.agents = list(self.possible_agents)
        if self._state is None or self._restart is None:
            self._state, first = self._reset(self._next_key())
        else:
            self._state, first = self._restart(self._next_key(), self._state)
        return self._observations(first.observation), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict, dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict]]:
        """Advance one step; when the episode ends, ``agents`` is empty.

        Returns:
          Observations, rewards, terminations, truncations and (empty) information of each agent.

        Raises:
          ValueError: ``actions`` is not for exactly the agents that are there.
        """
        if set(actions) != set(self.agents):
            raise ValueError(f"actions are for {sorted(actions)}, must be for {self.agents}")
        if not self.agents:
            return {}, {}, {}, {}, {}
        self._state, after = self._step(self._next_key(), self._state, per_agent.join(actions))
        rewards = per_agent.split(jax.device_get(after.reward), self._count)
        stepped = self.agents
        terminated, truncated = bool(after.terminated), bool(after.truncated)
        if terminated or truncated:
            self.agents = []
        return (
            self._observations(after.observation),
            {agent: float(reward) for agent, reward in rewards.items()},
            dict.fromkeys(stepped, terminated),
            dict.fromkeys(stepped, truncated),
            {agent: {} for agent in stepped},
        )

    def _next_key(self) -> jax.Array:
        self._key, key = jax.random.split(self._key)
        return key

    def _observations(self, observation: Any) -> dict[str, dict[str, Any]]:
        seen = per_agent.split_observation(jax.device_get(observation), self._count)
        for agent, arrays in seen.items():
            arrays[_MASK] = self._parts(agent, arrays[_MASK].astype(np.int8))
        return seen

    def _parts(self, agent: str, mask: np.ndarray) -> Any:
        """A mask as its action space wants it: for an action of several parts, a tuple."""
        space = self._action_spaces[agent]
        if isinstance(space, gymnasium.spaces.Discrete):
            return mask
        return tuple(np.split(mask, np.cumsum(space.nvec)[:-1]))

    def _mask_space(self, agent: str) -> gymnasium.spaces.Space:
        space = self._action_spaces[agent]
        if isinstance(space, gymnasium.spaces.Discrete):
            return gymnasium.spaces.MultiBinary(int(space.n))
        parts = [gymnasium.spaces.MultiBinary(int(size)) for size in space.nvec]
        return gymnasium.spaces.Tuple(parts)


def _action_space(space: spaces.Discrete | spaces.MultiDiscrete) -> Any:
    if isinstance(space, spaces.Discrete):
        return gymnasium.spaces.Discrete(space.n)
    return gymnasium.spaces.MultiDiscrete(list(space.sizes))


def _box(box: spaces.Box, dtype: Any) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(box.low, box.high, box.shape, dtype)
