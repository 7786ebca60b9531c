"""The Saez baseline: optimal income-tax rates estimated from observed incomes.

An adaptation of Saez (2001) to brackets, as the official AI Economist code (arXiv 2108.02755) has
it. At the start of a tax period, incomes z and marginal rates of the last 500 (worker, period)
pairs give an elasticity e, welfare weights G and a local Pareto parameter A per income bin; each
bin's rate is ``(1 - G) / (1 - G + A e)``; bins are then merged into the tax brackets.

Everything is a pure function of fixed shapes, for jit, scan and vmap. Samples that are absent are
masked by weight. Axes: M samples, J = 100 income bins plus the open top one, B brackets.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
from flax import struct

BUFFER_SIZE = 500
NUM_BINS = 100
INITIAL_ELASTICITY = 0.5

PARETO_WEIGHTS = ("inverse_income", "uniform")

_ELASTICITY_DECAY = 0.98
_RUNNING_DECAY = 0.99
_MIN_REGRESSION_SAMPLES = 10
_MIN_RATE_DEVIATION = 1e-6
_EPSILON = 1e-9


@struct.dataclass
class SaezState:
    """What the estimator remembers; it survives episode resets.

    Attributes:
      incomes: f32[M], ring buffer of incomes, in coin per tax period.
      marginal_rates: f32[M], the rates that they faced at the margin.
      count: i32[], samples ever recorded.
      elasticity: f32[], smoothed estimate.
      running_rates: f32[B], running average of the rates set, with which an episode starts.
    """

    incomes: jax.Array
    marginal_rates: jax.Array
    count: jax.Array
    elasticity: jax.Array
    running_rates: jax.Array

    @property
    def is_recorded(self) -> jax.Array:
        """bool[M], which entries of the ring buffer hold a sample."""
        return jnp.arange(self.incomes.shape[-1]) < self.count


def init(num_brackets: int, buffer_size: int = BUFFER_SIZE) -> SaezState:
    """An empty buffer, elasticity 0.5, running rates 0."""
    return SaezState(
        incomes=jnp.zeros(buffer_size),
        marginal_rates=jnp.zeros(buffer_size),
        count=jnp.array(0, dtype=jnp.int32),
        elasticity=jnp.array(INITIAL_ELASTICITY),
        running_rates=jnp.zeros(num_brackets),
    )


def record(state: SaezState, incomes: jax.Array, marginal_rates: jax.Array) -> SaezState:
    """Adds one tax period's samples, the oldest making room.

    Args:
      state: The state so far.
      incomes: f32[N], of every worker, in coin.
      marginal_rates: f32[N].
    """
    chex.assert_equal_shape([incomes, marginal_rates])
    size = state.incomes.shape[0]
    # More workers than places: only the last ones would stay, so do not write the others at all.
    incomes, marginal_rates = incomes[-size:], marginal_rates[-size:]
    places = (state.count + jnp.arange(incomes.shape[0])) % size
    return dataclasses.replace(
        state,
        incomes=state.incomes.at[places].set(incomes),
        marginal_rates=state.marginal_rates.at[places].set(marginal_rates),
        count=state.count + incomes.shape[0],
    )


def next_rates(
    key: jax.Array,
    state: SaezState,
    cutoffs: jax.Array,
    *,
    rate_min: jax.Array | float = 0.0,
    cap: jax.Array | float = 1.0,
    pareto_weights: str = "inverse_income",
    fixed_elasticity: jax.Array | float | None = None,
) -> tuple[jax.Array, SaezState]:
    """Rates of the tax period that starts now; see ``next_rates_with_noise``."""
    noise = jax.random.uniform(key, state.running_rates.shape)
    return next_rates_with_noise(
        noise,
        state,
        cutoffs,
        rate_min=rate_min,
        cap=cap,
        pareto_weights=pareto_weights,
        fixed_elasticity=fixed_elasticity,
    )


def next_rates_with_noise(
    noise: jax.Array,
    state: SaezState,
    cutoffs: jax.Array,
    *,
    rate_min: jax.Array | float = 0.0,
    cap: jax.Array | float = 1.0,
    pareto_weights: str = "inverse_income",
    fixed_elasticity: jax.Array | float | None = None,
) -> tuple[jax.Array, SaezState]:
    """Rates of the tax period that starts now, with given noise.

    Until the buffer is full the rates are random, ``rate_min + noise (cap - rate_min)``, and the
    state stays as it is.

    Args:
      noise: f32[B], uniform in [0, 1).
      state: The state, with every finished period recorded.
      cutoffs: f32[B], in coin.
      rate_min: f32[], lowest rate.
      cap: f32[], highest rate allowed now.
      pareto_weights: An entry of ``PARETO_WEIGHTS``; static.
      fixed_elasticity: Replaces the estimate in the formula (the estimate goes on); None for off.

    Returns:
      Rates f32[B] in [rate_min, cap], and the new state.
    """
    is_full = state.count >= state.incomes.shape[0]
    elasticity = update_elasticity(
        state.elasticity, state.incomes, state.marginal_rates, state.is_recorded
    )
    used = elasticity if fixed_elasticity is None else fixed_elasticity
    formula = schedule(state.incomes, state.is_recorded, used, cutoffs, pareto_weights)
    formula = jnp.clip(formula, rate_min, cap)
    running = _RUNNING_DECAY * state.running_rates + (1.0 - _RUNNING_DECAY) * formula
    rates = jnp.where(is_full, formula, rate_min + noise * (cap - rate_min))
    return rates, dataclasses.replace(
        state,
        elasticity=jnp.where(is_full, elasticity, state.elasticity),
        running_rates=jnp.where(is_full, running, state.running_rates),
    )


def fit_elasticity(
    incomes: jax.Array, marginal_rates: jax.Array, is_used: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Least squares of ``ln z`` on ``ln(1 - rate)`` and a constant.

    Args:
      incomes: f32[M], in coin; samples with z <= 0 are left out.
      marginal_rates: f32[M]; samples with rate >= 1 are left out.
      is_used: bool[M], samples to look at.

    Returns:
      Slope f32[], intercept f32[], and bool[] whether the fit is defined: at least 10 samples, and
      rates that differ (standard deviation of 1e-6 or more).
    """
    is_used = is_used & (incomes > 0) & (marginal_rates < 1)
    weight = is_used / jnp.maximum(jnp.sum(is_used), 1)

    def mean(values):
        return jnp.sum(weight * values)

    x = jnp.log(jnp.maximum(jnp.where(is_used, 1.0 - marginal_rates, 1.0), _EPSILON))
    y = jnp.log(jnp.maximum(jnp.where(is_used, incomes, 1.0), _EPSILON))
    rate_deviation = jnp.sqrt(mean((marginal_rates - mean(marginal_rates)) ** 2))
    is_defined = (jnp.sum(is_used) >= _MIN_REGRESSION_SAMPLES) & (
        rate_deviation >= _MIN_RATE_DEVIATION
    )
    # Deviations from the mean, not the normal equations: the same line, stable in float32.
    x_deviation = x - mean(x)
    variance = jnp.where(is_defined, mean(x_deviation**2), 1.0)
    slope = mean(x_deviation * (y - mean(y))) / variance
    return slope, mean(y) - slope * mean(x), is_defined


def update_elasticity(
    elasticity: jax.Array, incomes: jax.Array, marginal_rates: jax.Array, is_used: jax.Array
) -> jax.Array:
    """``0.98 elasticity + 0.02 max(slope, 0)``, or ``elasticity`` where the fit is undefined."""
    slope, _, is_defined = fit_elasticity(incomes, marginal_rates, is_used)
    smoothed = _ELASTICITY_DECAY * elasticity + (1.0 - _ELASTICITY_DECAY) * jnp.maximum(slope, 0.0)
    return jnp.where(is_defined, smoothed, elasticity)


def schedule(
    incomes: jax.Array,
    is_used: jax.Array,
    elasticity: jax.Array | float,
    cutoffs: jax.Array,
    pareto_weights: str = "inverse_income",
) -> jax.Array:
    """Bracket rates that the formula gives for observed incomes, before clipping.

    Args:
      incomes: f32[M], in coin.
      is_used: bool[M], samples to look at; at least one.
      elasticity: f32[].
      cutoffs: f32[B], in coin.
      pareto_weights: An entry of ``PARETO_WEIGHTS``; static.

    Returns:
      f32[B].

    Raises:
      ValueError: Unknown ``pareto_weights``.
    """
    cutoffs = jnp.asarray(cutoffs)
    g, a, has_incomes = welfare_weights_and_pareto_parameters(
        incomes, is_used, cutoffs[-1], pareto_weights
    )
    return merge_bins(bin_rates(g, a, has_incomes, elasticity), cutoffs)


def welfare_weights_and_pareto_parameters(
    incomes: jax.Array, is_used: jax.Array, top: jax.Array, pareto_weights: str = "inverse_income"
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Welfare weight above, and local Pareto parameter of, each income bin.

    G_j is the mean welfare weight of incomes at or above bin j, averaged over the bin's two edges;
    A_j is ``z p(z) / P(z' >= z)`` at its middle. The top bin holds incomes above ``top``; there G
    is its own, and A is ``mean / (mean - top)``, or 0 if it is empty.

    Args:
      incomes: f32[M], in coin; negative ones count in totals but lie in no bin.
      is_used: bool[M].
      top: f32[], where the open top bin starts, in coin.
      pareto_weights: An entry of ``PARETO_WEIGHTS``; static.

    Returns:
      G f32[J], A f32[J], and bool[J] where A is defined (the bin holds incomes; always at the top).

    Raises:
      ValueError: Unknown ``pareto_weights``.
    """
    if pareto_weights not in PARETO_WEIGHTS:
        raise ValueError(
            f"pareto_weights {pareto_weights!r} is unknown; valid: {', '.join(PARETO_WEIGHTS)}"
        )

    def weigh(income):
        if pareto_weights == "uniform":
            return jnp.ones_like(income)
        return 1.0 / jnp.maximum(income, 1.0)

    edges = jnp.linspace(0.0, top, NUM_BINS + 1)
    middles = 0.5 * (edges[:-1] + edges[1:])
    is_above = is_used & (incomes > top)
    is_below = is_used & (incomes < 0)
    is_binned = is_used & ~is_above & ~is_below
    # Bins are closed on the left, the last finite one on both sides, as in numpy.histogram.
    bin_of = jnp.clip(jnp.searchsorted(edges, incomes, side="right") - 1, 0, NUM_BINS - 1)
    counts = jnp.zeros_like(middles).at[bin_of].add(is_binned)

    num_above = jnp.sum(is_above)
    probability = jnp.append(counts, num_above) / jnp.maximum(jnp.sum(is_used), 1)
    weight_above = jnp.sum(weigh(incomes) * is_above)
    weight_below = jnp.sum(weigh(jnp.zeros_like(incomes)) * is_below)
    weight = jnp.append(counts * weigh(middles), weight_above)
    weight = weight / (jnp.sum(weight) + weight_below + _EPSILON)
    g_at_left = _sum_from(weight) / (_sum_from(probability) + _EPSILON)
    g = jnp.append(0.5 * (g_at_left[:-1] + g_at_left[1:]), g_at_left[-1])

    # Incomes lie evenly within a bin, so half of a bin's own are at or above its middle.
    at_or_above_middle = _sum_from(probability)[1:] + 0.5 * probability[:-1]
    width = edges[1:] - edges[:-1]
    a_inside = middles * probability[:-1] / ((at_or_above_middle + _EPSILON) * width)
    mean_above = jnp.sum(incomes * is_above) / jnp.maximum(num_above, 1)
    a_top = jnp.where(num_above > 0, mean_above / (mean_above - top + _EPSILON), 0.0)
    has_incomes = jnp.append(counts > 0, True)
    return g, jnp.append(a_inside, a_top), has_incomes


def bin_rates(
    g: jax.Array, a: jax.Array, has_incomes: jax.Array, elasticity: jax.Array | float
) -> jax.Array:
    """``(1 - G) / (1 - G + A e)`` per bin, f32[J]; straight lines across bins without incomes.

    A gap at the bottom starts from rate 0, one bin left of the first.
    """
    rates = (1.0 - g) / (1.0 - g + a * elasticity + _EPSILON)
    index = jnp.arange(rates.shape[0])
    left = jax.lax.cummax(jnp.where(has_incomes, index, -1))
    right = jax.lax.cummin(jnp.where(has_incomes, index, index[-1]), reverse=True)
    left_rate = jnp.where(left < 0, 0.0, rates[left])
    fraction = (index - left) / jnp.maximum(right - left, 1)
    return jnp.where(has_incomes, rates, left_rate + fraction * (rates[right] - left_rate))


def merge_bins(rates: jax.Array, cutoffs: jax.Array) -> jax.Array:
    """Bracket rates that collect what the bin rates collect over each whole bracket.

    Args:
      rates: f32[J], per income bin.
      cutoffs: f32[B], in coin; the last one is where the top bin starts.

    Returns:
      f32[B]; the top bracket takes the top bin's rate.
    """
    edges = jnp.linspace(0.0, cutoffs[-1], NUM_BINS + 1)
    width = edges[1:] - edges[:-1]
    income_in_bin = jnp.clip(cutoffs[1:, None] - edges[:-1], 0.0, width)  # f32[B - 1, J - 1]
    tax_at_upper_end = jnp.maximum(jnp.sum(rates[:-1] * income_in_bin, axis=-1), 0.0)
    bracket_tax = jnp.diff(tax_at_upper_end, prepend=0.0)
    return jnp.append(bracket_tax / jnp.diff(cutoffs), rates[-1])


def _sum_from(values: jax.Array) -> jax.Array:
    """``sum_{k >= j} values_k`` for each j."""
    return jnp.cumsum(values[::-1])[::-1]
