"""What each algorithm plays, given the plan: closed forms, one per algorithm.

Every algorithm mixes the optimistic policy with the baseline in one of two ways, or both not at
all: per step, by the weight of the baseline at each step, and per episode, by the chance that the
episode is played by the policy so mixed instead of the baseline. Spec sections 2.5 and 4.

Axes: H steps, J rungs of the ladder, B seeds, always last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct


class Choice(NamedTuple):
    """How an algorithm mixes in one episode, or in a block of episodes.

    Attributes:
      baseline_weight: f[H, B], probability of acting as the baseline at each step.
      share: f[B], chance that an episode is played by that mixture, not by the baseline alone.
      level: f[B], steps given to the baseline: H is the baseline, 0 the optimistic policy.
      guaranteed: f[B], lower bound of the value that the algorithm vouches for; -inf for none.
    """

    baseline_weight: jax.Array
    share: jax.Array
    level: jax.Array
    guaranteed: jax.Array


@struct.dataclass
class Limits:
    """What selection knows besides the plan.

    Attributes:
      gamma: f[], what every episode must be worth.
      baseline_value: f[], V of the baseline; only algorithms that are told it may read it.
      slack: f[B], sum over past episodes of the value credited to them, less gamma.
      episodes: f[], how many episodes the choice is for.
    """

    gamma: jax.Array
    baseline_value: jax.Array
    slack: jax.Array
    episodes: jax.Array


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """An algorithm.

    Attributes:
      select: (lower bounds f[J, B], limits, H) -> Choice.
      rungs: H -> the rungs whose bounds it reads.
      bonus: The confidence preset that it insists on, or None for the configured one.
      plans: Whether it reads the plan at all.
      mixes_episodes: Whether its share can differ from 1.
    """

    select: Callable[[jax.Array, Limits, int], Choice]
    rungs: Callable[[int], tuple[int, ...]] = lambda horizon: ()
    bonus: str | None = None
    plans: bool = True
    mixes_episodes: bool = False


def stepmix(lowers: jax.Array, limits: Limits, horizon: int) -> Choice:
    """The smallest safe rung, mixed at one step with the rung below it.

    With j the first rung whose bound l_j reaches gamma, the policy is the baseline before step
    j - 1, at step j - 1 the baseline with probability 1 - rho, rho = (l_j - gamma) / (l_j -
    l_{j-1}), and the optimistic policy otherwise. The two rungs differ in that one step, so the
    value is affine in rho, and at least gamma. The baseline, if no rung is safe; the optimistic
    policy, if rung 0 is.

    Args:
      lowers: f[H + 1, B], of all rungs.
      limits: Only gamma is read.
      horizon: H.
    """
    safe = lowers >= limits.gamma
    rungs = jnp.arange(horizon + 1)[:, None]
    # No rung safe: play rung H all the same. The baseline is safe by assumption.
    chosen = jnp.where(safe, rungs, horizon).min(0)
    own = jnp.where(rungs == chosen, lowers, 0).sum(0)
    below = jnp.where(rungs == chosen - 1, lowers, 0).sum(0)
    mixes = safe.any(0) & (chosen > 0)
    rho = jnp.where(mixes, (own - limits.gamma) / jnp.where(mixes, own - below, 1), 0)
    steps = jnp.arange(horizon)[:, None]
    weight = jnp.where(steps < chosen - 1, 1, jnp.where(steps == chosen - 1, 1 - rho, 0))
    return Choice(
        baseline_weight=weight.astype(lowers.dtype),
        share=jnp.ones_like(own),
        level=chosen - rho,
        guaranteed=jnp.where(chosen == 0, lowers[0], limits.gamma),
    )


def epsmix(lowers: jax.Array, limits: Limits, horizon: int) -> Choice:
    """The optimistic policy for a whole episode with the largest safe probability.

    Args:
      lowers: f[2, B], of the optimistic policy and of the baseline.
      limits: Only gamma is read.
      horizon: H.
    """
    optimistic, baseline = lowers
    mixes = (optimistic < limits.gamma) & (baseline >= limits.gamma)
    share = jnp.where(
        mixes,
        (baseline - limits.gamma) / jnp.where(mixes, baseline - optimistic, 1),
        (optimistic >= limits.gamma).astype(lowers.dtype),
    )
    return _per_episode(
        share, jnp.where(optimistic >= limits.gamma, optimistic, limits.gamma), horizon
    )


def allstep(lowers: jax.Array, limits: Limits, horizon: int) -> Choice:
    """EpsMix's share taken as a mixture at every step: a negative control, which is not safe."""
    share = epsmix(lowers, limits, horizon).share
    weight = jnp.broadcast_to(1 - share, (horizon, *share.shape))
    return Choice(
        weight, jnp.ones_like(share), (1 - share) * horizon, jnp.full_like(share, -jnp.inf)
    )


def ucbvi(lowers: jax.Array, limits: Limits, horizon: int) -> Choice:
    """Always the optimistic policy."""
    return _per_episode(jnp.ones_like(limits.slack), jnp.asarray(-jnp.inf), horizon)


def baseline(lowers: jax.Array, limits: Limits, horizon: int) -> Choice:
    """Always the baseline."""
    return _per_episode(jnp.zeros_like(limits.slack), limits.gamma, horizon)


def switch(lowers: jax.Array, limits: Limits, horizon: int) -> Choice:
    """The optimistic policy once it is known to be safe, else the baseline; no mixing."""
    safe = lowers[0] >= limits.gamma
    return _per_episode(
        safe.astype(lowers.dtype), jnp.where(safe, lowers[0], limits.gamma), horizon
    )


def budget(lowers: jax.Array, limits: Limits, horizon: int) -> Choice:
    """The optimistic policy whenever the sum of all episodes so far can bear it.

    A constraint on the cumulative return, which single episodes may violate (in the style of
    Garcelon et al. 2020). A past episode counts with the value credited to it, see ``credited``.
    """
    affordable = limits.slack + limits.episodes * (lowers[0] - limits.gamma) >= 0
    return _per_episode(affordable.astype(lowers.dtype), jnp.asarray(-jnp.inf), horizon)


def credited(lowers: jax.Array, choice: Choice, limits: Limits) -> jax.Array:
    """Value f[B] that ``budget`` credits to an episode: a lower bound, or the baseline's value."""
    return choice.share * lowers[0] + (1 - choice.share) * limits.baseline_value


def _per_episode(share: jax.Array, guaranteed: jax.Array, horizon: int) -> Choice:
    return Choice(
        baseline_weight=jnp.zeros((horizon, *share.shape), share.dtype),
        share=share,
        level=(1 - share) * horizon,
        guaranteed=jnp.broadcast_to(guaranteed, share.shape),
    )


def _whole_ladder(horizon: int) -> tuple[int, ...]:
    return tuple(range(horizon + 1))


def _both_ends(horizon: int) -> tuple[int, ...]:
    return 0, horizon


def _optimistic_end(horizon: int) -> tuple[int, ...]:
    return (0,)


ALGORITHMS: dict[str, Algorithm] = {
    "stepmix": Algorithm(stepmix, _whole_ladder),
    "epsmix": Algorithm(epsmix, _both_ends, mixes_episodes=True),
    "ucbvi": Algorithm(ucbvi),
    "switch": Algorithm(switch, _optimistic_end, mixes_episodes=True),
    "budget": Algorithm(budget, _optimistic_end, mixes_episodes=True),
    "baseline": Algorithm(baseline, plans=False, mixes_episodes=True),
    "allstep": Algorithm(allstep, _both_ends),
    "greedy_stepmix": Algorithm(stepmix, _whole_ladder, bonus="zero"),
    "ucbvi_simple": Algorithm(ucbvi, bonus="simple"),
}
