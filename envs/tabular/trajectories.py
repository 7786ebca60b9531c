"""Offline data: trajectories of a fixed behaviour, in files, drawn, and counted. Spec section 2.6.

Axes: n trajectories, H steps, S states, A actions.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.tabular.files import read_arrays, write_arrays
from ai_econ_jax.envs.tabular.mdp import TabularMDP
from ai_econ_jax.envs.tabular.problem import ProblemError, check_indices


@dataclasses.dataclass(frozen=True)
class Trajectories:
    """Whole episodes.

    Attributes:
      states: i32[n, H + 1], the last column being where the last action led.
      actions: i32[n, H].
    """

    states: np.ndarray
    actions: np.ndarray


def load_trajectories(path: str | pathlib.Path, mdp: TabularMDP) -> Trajectories:
    """Trajectories of `mdp`'s shape from a `.npz` (or `.json`) file: `states`, `actions`.

    Raises:
      FileNotFoundError: No such file.
      ProblemError: Not such a file; or states, actions or lengths do not fit.
    """
    path = pathlib.Path(path)
    entries = read_arrays(path, ("states", "actions"))
    try:
        for key in ("states", "actions"):
            if key not in entries:
                raise ProblemError(f"{key} is missing")
        return make_trajectories(entries["states"], entries["actions"], mdp)
    except ProblemError as error:
        raise ProblemError(f"{path}: {error}") from error


def make_trajectories(states, actions, mdp: TabularMDP) -> Trajectories:
    """Checked trajectories of `mdp`'s shape.

    Raises:
      ProblemError: Naming the field, the index and the value of what does not fit.
    """
    horizon, num_states, num_actions = mdp.reward.shape
    fields = {"states": (states, horizon + 1), "actions": (actions, horizon)}
    arrays = {}
    for field, (values, length) in fields.items():
        try:
            array = np.asarray(values)
        except ValueError as error:  # ragged lists
            raise ProblemError(f"{field} is not a rectangular array") from error
        if array.dtype.kind not in "iu":
            raise ProblemError(f"{field} has dtype {array.dtype}: must be integers")
        if array.ndim != 2 or array.shape[1] != length:
            raise ProblemError(
                f"{field} has shape {array.shape}: must be [n, {length}], H being {horizon}"
            )
        arrays[field] = array
    check_indices("states", arrays["states"], num_states, "state")
    check_indices("actions", arrays["actions"], num_actions, "action")
    num_episodes = len(arrays["states"])
    if len(arrays["actions"]) != num_episodes:
        raise ProblemError(
            f"states hold {num_episodes} trajectories, actions {len(arrays['actions'])}"
        )
    return Trajectories(arrays["states"].astype(np.int32), arrays["actions"].astype(np.int32))


def save_trajectories(path: str | pathlib.Path, trajectories: Trajectories) -> None:
    """Writes what `load_trajectories` reads."""
    write_arrays(pathlib.Path(path), dataclasses.asdict(trajectories))


@functools.partial(jax.jit, static_argnums=3)
def simulate(
    key: jax.Array, mdp: TabularMDP, policy: jax.Array, num_episodes: int
) -> tuple[jax.Array, jax.Array]:
    """Draws episodes of a policy f[H, S, A]: states i32[n, H + 1] and actions i32[n, H]."""
    log_transition, log_policy = jnp.log(mdp.transition), jnp.log(policy)

    def episode(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        start_key, step_key = jax.random.split(key)
        start = jax.random.categorical(start_key, jnp.log(mdp.initial)).astype(jnp.int32)

        def step(state: jax.Array, inputs: tuple[jax.Array, jax.Array, jax.Array]):
            key, log_transition, log_policy = inputs
            action_key, state_key = jax.random.split(key)
            action = jax.random.categorical(action_key, log_policy[state])
            following = jax.random.categorical(state_key, log_transition[state, action])
            following = following.astype(jnp.int32)
            return following, (following, action.astype(jnp.int32))

        keys = jax.random.split(step_key, mdp.horizon)
        _, (states, actions) = jax.lax.scan(step, start, (keys, log_transition, log_policy))
        return jnp.concatenate([start[None], states]), actions

    return jax.vmap(episode)(jax.random.split(key, num_episodes))


def generate(
    key: jax.Array, mdp: TabularMDP, behaviour: jax.Array, num_episodes: int
) -> Trajectories:
    """An offline dataset of `num_episodes` episodes of the policy `behaviour` f[H, S, A]."""
    if num_episodes < 1:
        raise ProblemError(f"num_episodes is {num_episodes}: must be 1 or more")
    states, actions = simulate(key, mdp, behaviour, num_episodes)
    return Trajectories(np.asarray(states), np.asarray(actions))


def count_transitions(trajectories: Trajectories, num_states: int, num_actions: int) -> np.ndarray:
    """How often each transition was seen, f32[H, S, A, S]; exact up to 2^24 each."""
    horizon = trajectories.actions.shape[1]
    shape = (horizon, num_states, num_actions, num_states)
    counts = np.zeros(shape, np.float32)
    steps = np.broadcast_to(np.arange(horizon), trajectories.actions.shape)
    before, after = trajectories.states[:, :-1], trajectories.states[:, 1:]
    np.add.at(counts, (steps, before, trajectories.actions, after), 1)
    return counts
