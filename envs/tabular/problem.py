"""Building a checked `Problem` from arrays: shapes, laws, rewards, baseline. All on the host.

Every error is one line that names the field, the index and the value. Spec section 7.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ai_econ_jax.envs.tabular.mdp import Problem, TabularMDP

# How far a law may sum from 1, and a reward may lie outside [0, 1]: the rounding of float32 files.
TOLERANCE = 1e-6


class ProblemError(ValueError):
    """An array of a problem is not what it must be; the message names field, index and value."""


def make_problem(
    name: str,
    transition: npt.ArrayLike,
    reward: npt.ArrayLike,
    initial: npt.ArrayLike | None = None,
    *,
    horizon: int | None = None,
    baseline: npt.ArrayLike | None = None,
    reward_min: float | None = None,
    reward_max: float | None = None,
    rescale: bool = False,
) -> Problem:
    """A checked problem with arrays in the current default precision.

    Args:
      name: For tables and figures.
      transition: `P`, f[S, A, S] or f[H, S, A, S].
      reward: `R`, f[S, A] or f[H, S, A], in original units; a trailing next-state axis S is
        averaged with `P`. Where f[H, S, A] and f[S, A, S] are the same shape, it is the former.
      initial: `mu`, f[S]; state 0 when None.
      horizon: H; needed where neither `P` nor `R` has an H axis.
      baseline: actions i[S] or i[H, S], or probabilities f[S, A] or f[H, S, A].
      reward_min: Original reward that becomes 0; 0 when None.
      reward_max: Original reward that becomes 1; 1 when None.
      rescale: Takes the two from the rewards, `min(0, min R)` and `max(0, max R)`.

    Raises:
      ProblemError: Something does not fit; one line.
    """
    laws = _numbers("P", transition)
    if laws.ndim not in (3, 4) or laws.shape[-1] != laws.shape[-3] or 0 in laws.shape:
        raise ProblemError(f"P has shape {laws.shape}: must be [S, A, S] or [H, S, A, S]")
    check_laws("P", laws)
    num_states, num_actions = laws.shape[-3:-1]
    rewards = _expected_rewards(_numbers("R", reward), laws, horizon)
    steps = _horizon(horizon, laws, rewards)
    shape = (steps, num_states, num_actions)

    if rescale:
        reward_min, reward_max = min(0.0, rewards.min()), max(0.0, rewards.max())
    low, high = float(reward_min or 0.0), 1.0 if reward_max is None else float(reward_max)
    rewards = _to_unit_interval(rewards, low, high)

    start = np.eye(num_states)[0] if initial is None else _numbers("mu", initial)
    if start.shape != (num_states,):
        raise ProblemError(f"mu has shape {start.shape}: must be [{num_states}], one per state")
    check_laws("mu", start)
    mdp = TabularMDP(
        transition=jnp.asarray(np.broadcast_to(laws, (*shape, num_states)), float),
        reward=jnp.asarray(np.broadcast_to(rewards, shape), float),
        initial=jnp.asarray(start, float),
    )
    policy = None if baseline is None else policy_from_table("baseline", baseline, shape)
    return Problem(name=name, mdp=mdp, baseline=policy, reward_min=low, reward_max=high)


def policy_from_table(field: str, table: npt.ArrayLike, shape: tuple[int, int, int]) -> jax.Array:
    """A policy f[H, S, A] from a table of actions or of probabilities.

    Args:
      field: Name for error messages.
      table: Actions i[S] or i[H, S], or probabilities f[S, A] or f[H, S, A]. A table of shape
        [H, S] or [S, A] that could be either is actions where it holds integers.
      shape: (H, S, A).

    Raises:
      ProblemError: Wrong shape, an action out of range, or a row that is not a distribution.
    """
    horizon, num_states, num_actions = shape
    array = np.asarray(table)
    if array.dtype.kind in "iu" and array.shape in ((num_states,), (horizon, num_states)):
        check_indices(field, array, num_actions, "action")
        array = np.eye(num_actions)[array]
    elif array.shape in ((num_states, num_actions), shape):
        array = _numbers(field, table)
        check_laws(field, array)
    else:
        raise ProblemError(
            f"{field} has shape {array.shape} of {array.dtype}: must be integer actions "
            f"[{num_states}] or [{horizon}, {num_states}], or probabilities "
            f"[{num_states}, {num_actions}] or {list(shape)}"
        )
    return jnp.asarray(np.broadcast_to(array, shape), float)


def check_laws(field: str, laws: np.ndarray) -> None:
    """Checks that the rows f[..., n] of `laws` are probability distributions.

    Raises:
      ProblemError: Naming the first bad entry, such as `P sums to 0.97 at (0, 2, 1)`.
    """
    for bad, complaint in ((~np.isfinite(laws), "must be finite"), (laws < 0, "must be 0 or more")):
        if bad.any():
            index = first_index(bad)
            raise ProblemError(f"{field} is {laws[index]:g} at {show(index)}: {complaint}")
    sums = laws.sum(-1)
    bad = np.abs(sums - 1) > TOLERANCE
    if bad.any():
        index = first_index(bad)
        where = f" at {show(index)}" if index else ""
        raise ProblemError(f"{field} sums to {sums[index]:.9g}{where}: must sum to 1")


def check_indices(field: str, indices: np.ndarray, count: int, what: str) -> None:
    """Checks that integers i[...] lie in `0 .. count - 1`.

    Raises:
      ProblemError: Naming the first that does not.
    """
    bad = (indices < 0) | (indices >= count)
    if bad.any():
        index = first_index(bad)
        raise ProblemError(
            f"{field} holds {what} {indices[index]} at {show(index)}: must be in 0 .. {count - 1}"
        )


def first_index(bad: np.ndarray) -> tuple[int, ...]:
    """Index of the first true entry, in row-major order."""
    return tuple(int(i) for i in np.argwhere(bad)[0])


def show(index: tuple[int, ...]) -> str:
    """`(0,2,1)`; a single index without brackets."""
    return str(index[0]) if len(index) == 1 else "(" + ",".join(map(str, index)) + ")"


def _numbers(field: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:  # ragged lists
        raise ProblemError(f"{field} is not a rectangular array of numbers") from error
    if array.dtype.kind not in "biuf":
        raise ProblemError(f"{field} has dtype {array.dtype}: must be numbers")
    return array.astype(np.float64)


def _expected_rewards(rewards: np.ndarray, laws: np.ndarray, horizon: int | None) -> np.ndarray:
    """Rewards f64[S, A] or f64[H, S, A]; a trailing next-state axis is averaged with `laws`."""
    num_states, num_actions = pair = laws.shape[-3:-1]
    steps = laws.shape[0] if laws.ndim == 4 else horizon
    by_step = rewards.ndim == 3 and rewards.shape[1:] == pair and steps in (None, len(rewards))
    if not by_step and rewards.ndim in (3, 4) and rewards.shape[-3:] == (*pair, num_states):
        rewards = (rewards * laws).sum(-1)
    elif rewards.ndim not in (2, 3) or rewards.shape[-2:] != pair:
        raise ProblemError(
            f"R has shape {rewards.shape}: P has {num_states} states and {num_actions} actions, "
            f"so it must be [{num_states}, {num_actions}] or [H, {num_states}, {num_actions}], "
            f"or either with a next-state axis [{num_states}]"
        )
    bad = ~np.isfinite(rewards)
    if bad.any():
        index = first_index(bad)
        raise ProblemError(f"R is {rewards[index]:g} at {show(index)}: must be finite")
    return rewards


def _horizon(horizon: int | None, laws: np.ndarray, rewards: np.ndarray) -> int:
    """H, from the argument and from the arrays that have an H axis, which must agree."""
    found = {"H": horizon} if horizon is not None else {}
    if laws.ndim == 4:
        found["P"] = laws.shape[0]
    if rewards.ndim == 3:
        found["R"] = rewards.shape[0]
    if not found:
        raise ProblemError("H is missing: neither P nor R has a step axis, so give the horizon")
    for field, steps in found.items():
        if steps != int(steps) or steps < 1:
            raise ProblemError(f"H is {steps} by {field}: must be a whole number, 1 or more")
    if len(set(found.values())) > 1:
        stated = ", ".join(f"{steps} by {field}" for field, steps in found.items())
        raise ProblemError(f"H is {stated}: must agree")
    return int(next(iter(found.values())))


def _to_unit_interval(rewards: np.ndarray, low: float, high: float) -> np.ndarray:
    if not -np.inf < low < high < np.inf:
        raise ProblemError(f"r_min is {low:g} and r_max is {high:g}: must be finite, r_min < r_max")
    scaled = rewards if (low, high) == (0.0, 1.0) else (rewards - low) / (high - low)
    bad = (scaled < -TOLERANCE) | (scaled > 1 + TOLERANCE)
    if bad.any():
        index = first_index(bad)
        raise ProblemError(
            f"R is {rewards[index]:g} at {show(index)}, outside [{low:g}, {high:g}]: "
            "give r_min and r_max, or --rescale"
        )
    return np.clip(scaled, 0.0, 1.0)
