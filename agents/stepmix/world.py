"""The true problem, which learners act in and never read: rollouts, and the exact gap of a policy.

Axes: H steps, X next states, S states, A actions, E episodes of a block, B seeds, always last.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


@struct.dataclass
class World:
    """The truth about a problem, its constants computed in float64.

    Attributes:
      transition: f[H, S, A, X].
      next_cumulative: f[H, S, A, X], sum of the probabilities of all next states up to this one.
      initial_cumulative: f[S], likewise of the first state.
      disadvantage: f[H, S, A], V*_h(s) - Q*_h(s, a), never negative.
      baseline: f[H, S, A].
      optimal_value: f64[], V* at the first state, in rewards of [0, 1].
      baseline_gap: f64[], V* - V(baseline).
    """

    transition: jax.Array
    next_cumulative: jax.Array
    initial_cumulative: jax.Array
    disadvantage: jax.Array
    baseline: jax.Array
    optimal_value: np.float64
    baseline_gap: np.float64


def make_world(
    transition: np.ndarray, reward: np.ndarray, initial: np.ndarray, baseline: np.ndarray
) -> World:
    """Solves a problem in float64.

    Args:
      transition: f64[H, S, A, X].
      reward: f64[H, S, A], in [0, 1].
      initial: f64[S].
      baseline: f64[H, S, A].
    """
    horizon, num_states, _ = reward.shape
    value, gap = np.zeros(num_states), np.zeros(num_states)
    disadvantage = np.zeros_like(reward)
    for h in reversed(range(horizon)):
        q = reward[h] + transition[h] @ value
        value = q.max(-1)
        disadvantage[h] = value[:, None] - q
        gap = (baseline[h] * (disadvantage[h] + transition[h] @ gap)).sum(-1)
    dtype = jnp.zeros(()).dtype
    cumulative = np.cumsum(transition / transition.sum(-1, keepdims=True), -1)
    return World(
        transition=jnp.asarray(transition, dtype),
        next_cumulative=jnp.asarray(cumulative, dtype),
        initial_cumulative=jnp.asarray(np.cumsum(initial / initial.sum()), dtype),
        disadvantage=jnp.asarray(disadvantage, dtype),
        baseline=jnp.asarray(baseline, dtype),
        optimal_value=np.float64(initial @ value),
        baseline_gap=np.float64(initial @ gap),
    )


def gap_of(world: World, initial: jax.Array, policy: jax.Array) -> jax.Array:
    """V* - V(policy), exactly.

    It is summed from the disadvantages of the actions taken. All terms are non-negative, so float32
    loses no digits where the difference of the two values would lose most.

    Args:
      world: The truth.
      initial: f[S].
      policy: f[H, S, A, B].

    Returns:
      f[B].
    """

    def back(gap, step):
        transition, disadvantage, chance = step
        ahead = jnp.einsum("sax,xb->sab", transition, gap, precision=jax.lax.Precision.HIGHEST)
        return (chance * (disadvantage[..., None] + ahead)).sum(1), None

    zeros = jnp.zeros((policy.shape[1], policy.shape[-1]), policy.dtype)
    steps = world.transition, world.disadvantage, policy
    gap, _ = jax.lax.scan(back, zeros, steps, reverse=True)
    return (initial[:, None] * gap).sum(0)


def draw(keys: jax.Array, first: jax.Array, episodes: int, horizon: int) -> jax.Array:
    """All randomness of some episodes, f[2 H + 2, E, B] in [0, 1).

    An episode's numbers depend on its seed and its index alone: not on who runs beside it, nor on
    the block that it is in.

    Args:
      keys: key[B], one per seed.
      first: i32[], index of the first episode.
      episodes: E.
      horizon: H.
    """

    def one(key, episode):
        return jax.random.uniform(jax.random.fold_in(key, episode), (2 * horizon + 2,))

    per_seed = jax.vmap(one, (0, None), -1)
    return jax.vmap(per_seed, (None, 0), -2)(keys, first + jnp.arange(episodes))


def roll_out(
    world: World,
    policy: jax.Array,
    share: jax.Array | None,
    noise: jax.Array,
    live: jax.Array,
    transitions: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Plays episodes and counts what happened.

    Args:
      world: The truth.
      policy: f[H, S, A, B].
      share: f[B], chance that an episode is played by ``policy`` instead of the baseline, drawn as
        it begins; None for 1.
      noise: f[2 H + 2, E, B], from ``draw``.
      live: bool[E], which of the episodes count; the others lie beyond the end of the run.
      transitions: f[H or 1, X, S, A, B], counts so far; one step where they are pooled over steps.

    Returns:
      The counts after, and bool[E, B], which episodes were played by ``policy``.
    """
    horizon, seeds = policy.shape[0], policy.shape[-1]
    played = noise[1] < (1.0 if share is None else share)
    lanes = jnp.arange(seeds)

    def act(state, step):  # i32[E, B]
        chance, baseline, cumulative, chooses, moves = step
        row = jnp.moveaxis(chance[state, :, lanes], -1, 0)  # [A, E, B]
        if share is not None:
            row = jnp.where(played, row, jnp.moveaxis(baseline[state], -1, 0))
        # One by one: the partial sums of a tree need not grow, and _sample counts on it.
        action = _sample(jnp.stack(list(itertools.accumulate(row))), chooses)
        after = _sample(jnp.moveaxis(cumulative[state, action], -1, 0), moves)
        return after, (after, state, action)

    first = _sample(world.initial_cumulative[:, None, None], noise[0])
    steps = policy, world.baseline, world.next_cumulative, noise[2::2], noise[3::2]
    _, happened = jax.lax.scan(act, first, steps)  # each [H, E, B]
    step = jnp.minimum(jnp.arange(horizon), len(transitions) - 1)[:, None, None]
    counted = live[:, None].astype(transitions.dtype)
    return transitions.at[step, *happened, lanes].add(counted), played


def _sample(cumulative: jax.Array, noise: jax.Array) -> jax.Array:
    """Samples by inversion.

    Args:
      cumulative: f[N, ...], never falling, of N outcomes; the last is the total, whatever rounding
        has made of it.
      noise: f[...], in [0, 1).

    Returns:
      i32[...]; never an outcome of probability zero.
    """
    return (noise * cumulative[-1] >= cumulative).sum(0, dtype=jnp.int32)
