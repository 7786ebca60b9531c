"""Planning under uncertainty: the optimistic policy, and lower bounds of the ladder below it.

The ladder has H + 1 candidates: rung j plays the baseline at steps h < j and the optimistic policy
from step j on, so rung 0 is the optimistic policy and rung H the baseline. Spec section 2.4.

Axes: H steps, X next states, S states, A actions, M actions that the baseline may take, J rungs,
L lanes of the ladder, B seeds, always last.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

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


@struct.dataclass
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
    steps, states, *_, seeds = transitions.shape
    known = confidence.estimate(bonus, transitions.reshape(steps, states, -1, seeds))
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
    horizon, num_states, num_actions = problem.reward.shape
    seeds = known.count.shape[-1]
    needs_lower = needs_lower or bonus.paired

    def back(values, h):
        high, low = values
        cells = jax.tree.map(lambda x: x[jnp.minimum(h, len(x) - 1)], known)  # [(X,) S A, B]
        reward = problem.reward[h][..., None]
        reach = jnp.asarray(horizon - 1 - h, reward.dtype)
        above, below = (_spread(v[:, None], num_states * num_actions) for v in (high, low))
        q = reward + confidence.upper(bonus, cells, above, below, reach).reshape(
            -1, num_actions, seeds
        )
        best = q.max(1)
        greedy = _first(q == best[:, None])
        if needs_lower:
            chosen = jax.tree.map(lambda x: _choose(x, greedy), cells)  # [X, S, B]
            above, below = (_spread(v[:, None], num_states) for v in (high, low))
            low = (greedy * reward).sum(1) + confidence.lower(bonus, chosen, above, below, reach)
        else:
            low = best
        return (best, low), (greedy, best, low)

    zeros = jnp.zeros((num_states, seeds), problem.reward.dtype)
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
    usual = jax.tree.map(lambda x: _of_baseline(x, problem), known)
    reward = jnp.take_along_axis(problem.reward, problem.support, -1)
    lanes, seeds = schedule.step.shape[1], known.count.shape[-1]
    horizon, num_states, _ = problem.reward.shape

    def back(values, now):
        step, begins = now
        fresh = (begins >= 0)[:, None, None]
        high, low = (
            jnp.where(fresh, tails[jnp.maximum(begins, 0)], old)
            for tails, old in zip((highs, lows), values, strict=True)
        )
        cells = jax.tree.map(lambda x: _gather(x, step), usual)  # [(X,) L S M, B]
        reach = jnp.repeat(horizon - 1 - step, reward[0].size).astype(reward.dtype)[:, None]
        above, below = (_spread(jnp.moveaxis(v, 1, 0), reward[0].size) for v in (high, low))

        def mean_over_actions(bound):
            q = bound.reshape(lanes, num_states, -1, seeds) + reward[step][..., None]
            q = problem.weights[step][..., None] * q
            # Added up by hand: inside a sum, XLA's CPU code computes the bounds number by number.
            return sum(q[:, :, m] for m in range(q.shape[2]))

        low = mean_over_actions(confidence.lower(bonus, cells, above, below, reach))
        high = low
        if bonus.paired:
            high = mean_over_actions(confidence.upper(bonus, cells, above, below, reach))
        return (high, low), (problem.initial[:, None] * low).sum(1)

    zeros = jnp.zeros((lanes, num_states, seeds), reward.dtype)
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
    """Packs rungs, of which j takes j backups one after another, into lanes of even length.

    The longest rung goes first, each to the lane that is free soonest. Half as many lanes as rungs
    serve a whole ladder without waste: each makes H + 1 backups.
    """
    lanes: list[list[int]] = [[] for _ in range(-(-len(rungs) // 2))]
    for rung in sorted(rungs, reverse=True):
        min(lanes, key=sum).append(rung)
    step = np.zeros((max(map(sum, lanes)), len(lanes)), np.int32)
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


def _of_baseline(x: jax.Array, problem: KnownProblem) -> jax.Array:
    """Entries f[H, (X,) S M, B] of f[H or 1, (X,) S A, B] at the baseline's actions."""
    horizon, num_states, _ = problem.support.shape
    first = np.arange(num_states)[:, None] * problem.reward.shape[-1]
    index = (first + problem.support).reshape(horizon, *(1,) * (x.ndim - 3), -1, 1)
    return jnp.take_along_axis(jnp.broadcast_to(x, (horizon, *x.shape[1:])), index, axis=-2)


def _gather(x: jax.Array, step: jax.Array) -> jax.Array:
    """Entries f[(X,) L F, B] of f[H, (X,) F, B] at one step i32[L] for each lane."""
    lanes = jnp.moveaxis(x[step], 0, -3)
    return lanes.reshape(*lanes.shape[:-3], -1, lanes.shape[-1])


def _spread(values: jax.Array, cells: int) -> jax.Array:
    """Repeats next values f[X, L, B] for each of the cells of a lane: f[X, L cells, B].

    All backups see arrays f[X, F, B] of full size. With an axis of size 1, as M and L often are, or
    with the repetition left to the loop that reads it, XLA's CPU code is two to ten times slower.
    """
    wide = jnp.broadcast_to(values[:, :, None], (*values.shape[:2], cells, values.shape[2]))
    return jax.lax.optimization_barrier(wide.reshape(len(values), -1, values.shape[2]))


def _first(marked: jax.Array) -> jax.Array:
    """One-hot of the first marked action, bool[S, A, B] to f[S, A, B]."""
    actions = jnp.arange(marked.shape[1])[:, None]
    first = jnp.where(marked, actions, marked.shape[1]).min(1, keepdims=True)
    return (actions == first).astype(jnp.zeros(()).dtype)


def _choose(x: jax.Array, chosen: jax.Array) -> jax.Array:
    """Entries f[..., S, B] of f[..., S A, B] at the actions of a one-hot f[S, A, B]."""
    picked = jnp.where(chosen > 0, x.reshape(*x.shape[:-2], *chosen.shape), 0).sum(-2)
    return picked.astype(x.dtype)
