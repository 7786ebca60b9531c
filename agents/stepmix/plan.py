"""Planning under uncertainty: the optimistic policy, and lower bounds of the ladder below it.

The ladder has H + 1 candidates: rung j plays the baseline at steps h < j and the optimistic policy
from step j on, so rung 0 is the optimistic policy and rung H the baseline. Spec section 2.4.

Axes: H steps, X next states, S states, A actions, M actions that the baseline may take, J rungs,
L lanes of the ladder, B seeds, always last.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.agents.stepmix import confidence
from ai_econ_jax.agents.stepmix.confidence import ConfidenceSet, Estimate


class Plan(NamedTuple):
    """What was planned.

    Attributes:
      optimistic: f[H, S, A, B], the optimistic policy, one-hot; the lowest action on ties.
      upper: f[B], upper bound of the optimal value.
      lowers: f[J, B], lower bounds of the rungs that were asked for, in their order.
    """

    optimistic: jax.Array
    upper: jax.Array
    lowers: jax.Array


@chex.dataclass(frozen=True)
class KnownProblem:
    """What the learner is told.

    Attributes:
      reward: f[H, S, A].
      initial: f[S].
      baseline: f[H, S, A].
      support: i32[H, S, M], the actions that the baseline may take, some perhaps never.
      weights: f[H, S, M], their probabilities.
    """

    reward: jax.Array
    initial: jax.Array
    baseline: jax.Array
    support: jax.Array
    weights: jax.Array


def known_problem(reward: np.ndarray, initial: np.ndarray, baseline: np.ndarray) -> KnownProblem:
    """Gathers what the learner is told, with the baseline's actions listed once for the ladder.

    Args:
      reward: f[H, S, A].
      initial: f[S].
      baseline: f[H, S, A].
    """
    most = int((baseline > 0).sum(-1).max())
    support = np.argsort(-baseline, axis=-1, kind="stable")[..., :most]
    weights = np.take_along_axis(baseline, support, -1)
    dtype = jnp.zeros(()).dtype
    return KnownProblem(
        reward=jnp.asarray(reward, dtype),
        initial=jnp.asarray(initial, dtype),
        baseline=jnp.asarray(baseline, dtype),
        support=jnp.asarray(support, jnp.int32),
        weights=jnp.asarray(weights, dtype),
    )


def plan(
    bonus: ConfidenceSet, problem: KnownProblem, transitions: jax.Array, rungs: tuple[int, ...]
) -> Plan:
    """Plans from counts.

    Args:
      bonus: The confidence set.
      problem: What is known.
      transitions: f[H or 1, X, S, A, B], counts; one step where they are pooled over steps.
      rungs: Rungs whose lower bounds are wanted, each in 0..H, ascending; the time goes into
        rungs above 0.
    """
    known = jax.vmap(lambda counts: confidence.estimate(bonus, counts))(transitions)
    optimistic, highs, lows = _optimistic(bonus, problem, known, bool(rungs))
    start = problem.initial[:, None]
    lowers = [(start * lows[0]).sum(0)] if 0 in rungs else []
    upper_rungs = [j for j in rungs if j > 0]
    if upper_rungs:
        bounds = _ladder(bonus, problem, known, highs, lows, upper_rungs)
        lowers += [bounds[j] for j in upper_rungs]
    upper = (start * highs[0]).sum(0)
    return Plan(optimistic, upper, jnp.stack(lowers) if lowers else jnp.zeros((0, *upper.shape)))


def _optimistic(
    bonus: ConfidenceSet, problem: KnownProblem, known: Estimate, needs_lower: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Backward induction on upper bounds, with lower bounds of the policy that it finds.

    Returns:
      The policy f[H, S, A, B], and its upper and lower values f[H + 1, S, B]; the lower values
      repeat the upper ones where nobody needs them.
    """
    horizon, num_states, _ = problem.reward.shape
    needs_lower = needs_lower or bonus.paired

    def back(values, h):
        high, low = values
        cells = _at_step(known, h)
        reward = problem.reward[h][..., None]
        reach = jnp.asarray(horizon - 1 - h, reward.dtype)
        ahead = high[:, None, None], low[:, None, None]  # [X, 1, 1, B]
        q = reward + confidence.upper(bonus, cells, *ahead, reach)
        best = q.max(1)
        greedy = _first(q == best[:, None])
        if needs_lower:
            chosen = jax.tree.map(lambda x: _choose(x, greedy), cells)
            worth = confidence.lower(bonus, chosen, high[:, None], low[:, None], reach)
            low = (greedy * reward).sum(1) + worth
        else:
            low = best
        return (best, low), (greedy, best, low)

    zeros = jnp.zeros((num_states, known.seen.shape[-1]), problem.reward.dtype)
    steps = jnp.arange(horizon)
    _, (policy, highs, lows) = jax.lax.scan(back, (zeros, zeros), steps, reverse=True)
    return policy, *(jnp.concatenate([x, zeros[None]]) for x in (highs, lows))


def _ladder(
    bonus: ConfidenceSet,
    problem: KnownProblem,
    known: Estimate,
    highs: jax.Array,
    lows: jax.Array,
    rungs: list[int],
) -> dict[int, jax.Array]:
    """Lower bounds f[B] of rungs above 0, from the values f[H + 1, S, B] of rung 0.

    From step j on, rung j has rung 0's values; below it plays the baseline, so it takes j backups,
    of the baseline's actions only.
    """
    schedule = _schedule(rungs)
    baseline_cells = _of_baseline(known, problem)
    reward = jnp.take_along_axis(problem.reward, problem.support, -1)
    lanes = schedule.step.shape[1]
    horizon, num_states, _ = problem.reward.shape

    def back(values, now):
        step, begins = now
        fresh = (begins >= 0)[:, None, None]
        high, low = (
            jnp.where(fresh, tails[jnp.maximum(begins, 0)], old)
            for tails, old in zip((highs, lows), values, strict=True)
        )
        cells = jax.tree.map(lambda x: x[step], baseline_cells)  # [L, (X,) S, M, B]
        cells = cells.replace(probabilities=jnp.moveaxis(cells.probabilities, 1, 0))
        reach = (horizon - 1 - step).astype(reward.dtype)[:, None, None, None]
        ahead = (jnp.moveaxis(v, 1, 0)[:, :, None, None] for v in (high, low))  # [X, L, 1, 1, B]
        ahead = tuple(ahead)
        paid, weight = reward[step][..., None], problem.weights[step][..., None]
        low = (weight * (paid + confidence.lower(bonus, cells, *ahead, reach))).sum(2)
        high = low
        if bonus.paired:
            high = (weight * (paid + confidence.upper(bonus, cells, *ahead, reach))).sum(2)
        return (high, low), (problem.initial[:, None] * low).sum(1)

    zeros = jnp.zeros((lanes, num_states, known.seen.shape[-1]), reward.dtype)
    times = jnp.asarray(schedule.step), jnp.asarray(schedule.begins)
    _, bounds = jax.lax.scan(back, (zeros, zeros), times)
    return {j: bounds[place] for j, place in schedule.ends.items()}


@dataclasses.dataclass(frozen=True)
class _Schedule:
    """Which backup each lane of the ladder makes when.

    Attributes:
      step: i32[T, L], the step h that is backed up.
      begins: i32[T, L], the rung that begins, or -1.
      ends: Rung to the (time, lane) after which its bound is known.
    """

    step: np.ndarray
    begins: np.ndarray
    ends: dict[int, tuple[int, int]]


def _schedule(rungs: list[int]) -> _Schedule:
    """Packs rungs, of which j takes j backups one after another, into lanes of equal length.

    The longest and the shortest share a lane, and so on: of a whole ladder every lane makes H + 1
    backups, so that a scan over them wastes none.
    """
    left, lanes = sorted(rungs), []
    length = left[-1] + (left[0] if len(left) > 1 else 0)
    while left:
        lane = [left.pop()]
        if left and lane[0] + left[0] <= length:
            lane.append(left.pop(0))
        lanes.append(lane)
    step = np.zeros((length, len(lanes)), np.int32)
    begins = np.full_like(step, -1)
    ends = {}
    for place, lane in enumerate(lanes):
        time = 0
        for rung in lane:
            begins[time, place] = rung
            step[time : time + rung, place] = np.arange(rung)[::-1]
            time += rung
            ends[rung] = (time - 1, place)
    return _Schedule(step, begins, ends)


def _at_step(known: Estimate, step: jax.Array) -> Estimate:
    """Cells of one step; pooled counts have a single one, for all steps."""
    return jax.tree.map(lambda x: x[jnp.minimum(step, x.shape[0] - 1)], known)


def _of_baseline(known: Estimate, problem: KnownProblem) -> Estimate:
    """Cells f[H, (X,) S, M, B] of the baseline's actions."""

    def take(x):
        x = jnp.broadcast_to(x, (len(problem.support), *x.shape[1:]))
        index = problem.support.reshape(
            problem.support.shape[0], *(1,) * (x.ndim - 4), *problem.support.shape[1:], 1
        )
        return jnp.take_along_axis(x, index, axis=-2)

    return jax.tree.map(take, known)


def _first(marked: jax.Array) -> jax.Array:
    """One-hot of the first marked action, bool[S, A, B] to f[S, A, B]."""
    actions = jnp.arange(marked.shape[1])[:, None]
    first = jnp.where(marked, actions, marked.shape[1]).min(1, keepdims=True)
    return (actions == first).astype(jnp.zeros(()).dtype)


def _choose(x: jax.Array, chosen: jax.Array) -> jax.Array:
    """Entries f[..., S, B] of f[..., S, A, B] at the actions of a one-hot f[S, A, B]."""
    picked = jnp.where(chosen > 0, x, 0).sum(-2)
    return picked.astype(x.dtype)
