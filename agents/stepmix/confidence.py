"""Confidence sets of transition laws: what one step of planning may assume at best and at worst.

A preset bounds the mean next value of a cell (step, state, action) from above and below, given the
empirical law of the cell and how often it was visited. All presets share the rest of planning.

Axes: X next states first, then cells, B lanes (seeds) last. Spec section 2.3.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax.agents.stepmix import kl


@struct.dataclass
class Estimate:
    """What is known of the laws of some cells.

    Attributes:
      transitions: f[X, ..., B], how often each next state followed.
      count: f[..., B], their sum.
      radii: What the preset makes of the count, each f[..., B].
    """

    transitions: jax.Array
    count: jax.Array
    radii: tuple[jax.Array, ...]

    @property
    def probabilities(self) -> jax.Array:
        """f[X, ..., B], the empirical laws; zero where nothing was seen."""
        return self.transitions / jnp.maximum(self.count, 1)


# (known, upper next values f[X, ..., B], lower ones, reach f[...]) -> f[..., B]. The reach is
# H - h - 1, the largest value that can lie ahead.
Bound = Callable[[Estimate, jax.Array, jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class ConfidenceSet:
    """A preset at given sizes.

    Attributes:
      radii: Counts f[..., B], at least 1, to what the bounds need; computed once per plan.
      upper: Bound from above, before it is clipped to the range of the upper next values.
      lower: Bound from below, likewise.
      paired: Whether each bound reads the values of both sides.
    """

    radii: Callable[[jax.Array], tuple[jax.Array, ...]]
    upper: Bound
    lower: Bound
    paired: bool = False


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What presets depend on besides counts.

    Attributes:
      cells: C, how many laws are estimated: S A H, or S A where counts are pooled over steps.
      num_states: S, which is also m, the number of next states that a law may have.
      horizon: H.
      delta: Probability that any bound ever fails.
      scale: c, multiplies the logarithmic terms; 1 is the preset itself, less is no guarantee.
    """

    cells: int
    num_states: int
    horizon: int
    delta: float
    scale: float = 1.0


def estimate(bonus: ConfidenceSet, transitions: jax.Array) -> Estimate:
    """Summarises counts f[H, X, ..., B] of transitions, for each of H steps."""
    count = transitions.sum(1)
    # A loop over steps, for XLA would fuse one operation and sum the counts anew for every use.
    radii = jax.lax.map(lambda visits: bonus.radii(jnp.maximum(visits, 1)), count)
    return Estimate(transitions=transitions, count=count, radii=radii)


def upper(
    bonus: ConfidenceSet, known: Estimate, high: jax.Array, low: jax.Array, reach: jax.Array
) -> jax.Array:
    """Upper bound of the mean next value.

    Args:
      bonus: The preset.
      known: The cells.
      high: f[X, ..., B], upper values of the next step, broadcastable to the cells.
      low: f[X, ..., B], lower values of the same policy; only paired presets read them.
      reach: f[...], H - h - 1.

    Returns:
      f[..., B], within the range of ``high``, and its maximum where the cell is unseen.
    """
    best = high.max(0)
    bound = jnp.clip(bonus.upper(known, high, low, reach), high.min(0), best)
    return jnp.where(known.count > 0, bound, best)


def lower(
    bonus: ConfidenceSet, known: Estimate, high: jax.Array, low: jax.Array, reach: jax.Array
) -> jax.Array:
    """Lower bound of the mean next value, the mirror image of ``upper``."""
    worst = low.min(0)
    bound = jnp.clip(bonus.lower(known, high, low, reach), worst, low.max(0))
    return jnp.where(known.count > 0, bound, worst)


def _mean(known: Estimate, values: jax.Array) -> jax.Array:
    return (known.probabilities * values).sum(0)


def _variance(known: Estimate, values: jax.Array) -> jax.Array:
    # Around the mean: E V^2 - (E V)^2 would cancel in float32.
    return (known.probabilities * (values - _mean(known, values)) ** 2).sum(0)


def _around_mean(
    radii: Callable, width: Callable[[Estimate, jax.Array, jax.Array], jax.Array]
) -> ConfidenceSet:
    """A preset that adds ``width(known, values, reach)`` to the empirical mean and subtracts it."""
    return ConfidenceSet(
        radii=radii,
        upper=lambda known, high, low, reach: _mean(known, high) + width(known, high, reach),
        lower=lambda known, high, low, reach: _mean(known, low) - width(known, low, reach),
    )


def _kl_radii(sizes: Sizes, count: jax.Array) -> tuple[jax.Array]:
    beta = kl.log_radius(count, sizes.cells, sizes.delta, sizes.num_states)
    return (sizes.scale * beta / count,)


def _make_kl(sizes: Sizes) -> ConfidenceSet:
    """The rigorous ball {q: n KL(phat || q) <= beta(n)}."""
    return ConfidenceSet(
        radii=functools.partial(_kl_radii, sizes),
        upper=lambda known, high, low, reach: kl.upper(known.probabilities, known.radii[0], high),
        lower=lambda known, high, low, reach: kl.lower(known.probabilities, known.radii[0], low),
    )


def _make_kl_closed(sizes: Sizes) -> ConfidenceSet:
    """A closed form that contains that ball, so it is rigorous too, and wider."""

    def width(known, values, reach):
        (radius,) = known.radii
        return 2 * jnp.sqrt(_variance(known, values) * radius) + 3.5 * reach * radius

    return _around_mean(functools.partial(_kl_radii, sizes), width)


def _make_bernstein(sizes: Sizes) -> ConfidenceSet:
    """Practical; not rigorous, for lack of a union bound over counts and value functions."""
    log_term = sizes.scale * math.log(sizes.cells / sizes.delta)

    def width(known, values, reach):
        (radius,) = known.radii
        return jnp.sqrt(2 * _variance(known, values) * radius) + reach * radius / 3

    return _around_mean(lambda count: (log_term / count,), width)


def _make_mp(sizes: Sizes) -> ConfidenceSet:
    """Empirical Bernstein at all times (Maurer and Pontil 2009); rigorous for a fixed V only."""

    def radii(count):
        log_term = jnp.log(count) + jnp.log1p(count) + math.log(2 * sizes.cells / sizes.delta)
        return (jnp.where(count < 2, jnp.inf, sizes.scale * log_term / jnp.maximum(count - 1, 1)),)

    def width(known, values, reach):
        (radius,) = known.radii
        once = jnp.isinf(radius)
        radius = jnp.where(once, 0.0, radius)
        interval = jnp.sqrt(2 * _variance(known, values) * radius) + 7 / 3 * reach * radius
        return jnp.where(once, reach, interval)

    return _around_mean(radii, width)


def _make_bpi(sizes: Sizes) -> ConfidenceSet:
    """The family that the paper is recalled to use (BPI-UCBVI, Menard et al. 2021).

    Unverified: the constants 22 and 2 of the lower bound are recollections.
    """
    log_term, horizon = math.log(3 * sizes.cells / sizes.delta), sizes.horizon

    def radii(count):
        growth = 1 + jnp.log(8 * (count + 1))  # log(8 e (n + 1))
        spread = sizes.scale * (log_term + growth) / count
        return spread, sizes.scale * (log_term + sizes.num_states * growth) / count

    def upper(known, high, low, reach):
        spread, rate = known.radii
        noise = 3 * jnp.sqrt(_variance(known, high) * spread) + 14 * horizon**2 * rate
        return _mean(known, high) + noise + _mean(known, high - low) / horizon

    def lower(known, high, low, reach):
        spread, rate = known.radii
        noise = 3 * jnp.sqrt(_variance(known, high) * spread) + 22 * horizon**2 * rate
        return _mean(known, low) - noise - 2 * _mean(known, high - low) / horizon

    return ConfidenceSet(radii=radii, upper=upper, lower=lower, paired=True)


def _make_zero(sizes: Sizes) -> ConfidenceSet:
    """No width at all where a cell was seen: a negative control."""
    return _around_mean(lambda count: (), lambda known, values, reach: jnp.zeros(()))


def _make_simple(sizes: Sizes) -> ConfidenceSet:
    """The bonus of rlberry-scool's UCBVI: c / sqrt(n) + (H - h) / n."""

    def width(known, values, reach):
        (radius,) = known.radii
        return sizes.scale * jnp.sqrt(radius) + (reach + 1) * radius

    return _around_mean(lambda count: (1 / count,), width)


PRESETS: dict[str, Callable[[Sizes], ConfidenceSet]] = {
    "kl": _make_kl,
    "kl_closed": _make_kl_closed,
    "bernstein": _make_bernstein,
    "mp": _make_mp,
    "bpi": _make_bpi,
    "zero": _make_zero,
    "simple": _make_simple,
}
# Whose bounds hold for every value function, all counts and all cells at once, at scale 1.
RIGOROUS = ("kl", "kl_closed")
