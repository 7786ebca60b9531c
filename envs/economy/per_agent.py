"""The arrays of two roles as dictionaries with one entry for each agent, and back.

For interfaces that name agents: ``worker_0``, ``worker_1`` and so on, then ``planner``. Our own
learners never need it; their workers are an axis.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ai_econ_jax import spaces
from ai_econ_jax.envs.economy.roles import PerRole

PLANNER = "planner"


def agent_names(num_workers: int) -> tuple[str, ...]:
    """Names of all agents; the planner is the last."""
    return (*(f"worker_{worker}" for worker in range(num_workers)), PLANNER)


def num_workers(action_space: PerRole) -> int:
    """N of an environment with this action space."""
    return action_space.workers.shape[0]


def split(roles: PerRole, count: int) -> dict[str, Any]:
    """One entry per agent: row ``i`` of every array of the ``count`` workers, or the planner's."""
    rows = [jax.tree.map(lambda array, i=i: array[i], roles.workers) for i in range(count)]
    return dict(zip(agent_names(count), [*rows, roles.planner], strict=True))


def split_observation(observation: PerRole, count: int) -> dict[str, dict[str, Any]]:
    """What each agent sees, as a dictionary of the arrays that its role has."""
    return {agent: _fields(seen) for agent, seen in split(observation, count).items()}


def join(by_agent: Mapping[str, Any]) -> PerRole:
    """The inverse of ``split`` for actions: an integer or a vector of integers for each agent.

    Raises:
      ValueError: An agent is missing, or there is one too many.
    """
    expected = agent_names(len(by_agent) - 1)
    if set(by_agent) != set(expected):
        raise ValueError(f"actions are for {sorted(by_agent)}, must be for {sorted(expected)}")
    workers = jnp.stack([jnp.asarray(by_agent[agent], jnp.int32) for agent in expected[:-1]])
    return PerRole(workers=workers, planner=jnp.asarray(by_agent[PLANNER], jnp.int32))


def split_action_space(space: PerRole) -> dict[str, spaces.Discrete | spaces.MultiDiscrete]:
    """The space of each agent's actions."""
    count = num_workers(space)
    worker: spaces.Discrete | spaces.MultiDiscrete
    if isinstance(space.workers, spaces.Grid):
        worker = spaces.MultiDiscrete(space.workers.sizes)
    else:
        worker = spaces.Discrete(space.workers.sizes[0])
    return {agent: space.planner if agent == PLANNER else worker for agent in agent_names(count)}


def split_observation_space(space: PerRole, count: int) -> dict[str, dict[str, spaces.Box]]:
    """The box of each array that each agent sees."""
    worker = {
        name: spaces.Box(box.low, box.high, box.shape[1:])
        for name, box in _fields(space.workers).items()
    }
    planner = _fields(space.planner)
    return {agent: planner if agent == PLANNER else worker for agent in agent_names(count)}


def _fields(struct: Any) -> dict[str, Any]:
    values = {field.name: getattr(struct, field.name) for field in dataclasses.fields(struct)}
    return {name: value for name, value in values.items() if value is not None}
