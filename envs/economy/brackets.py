"""Income-tax brackets: cutoffs, tax due, marginal rates, and their validation.

A schedule is one marginal rate per bracket. Bracket ``b`` covers incomes ``m_b <= z < m_{b+1}``;
the last one is open. Axes: B brackets. Incomes may have any shape. Rates are ordinary array
arguments, so that the functions can be vmapped over schedules.

Source: AI Economist, arXiv 2108.02755, component ``PeriodicBracketTax`` of the official code.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

# Single-filer thresholds of US federal income tax in units of 1,000 USD. The official code calls
# them "2018"; they are the figures of tax year 2019. We keep the numbers, which are published.
US_FEDERAL_CUTOFFS = (0.0, 9.7, 39.475, 84.2, 160.725, 204.1, 510.3)
US_FEDERAL_RATES = (0.10, 0.12, 0.22, 0.24, 0.32, 0.35, 0.37)


def us_federal_cutoffs(num_brackets: int, top: float) -> np.ndarray:
    """Thresholds of US federal income tax, f64[7]; both arguments are ignored."""
    del num_brackets, top
    return np.array(US_FEDERAL_CUTOFFS)


def linear_cutoffs(num_brackets: int, top: float) -> np.ndarray:
    """Equal steps from 0 to ``top``, f64[num_brackets]."""
    return np.linspace(0.0, top, num_brackets)


def log_cutoffs(num_brackets: int, top: float) -> np.ndarray:
    """0, then cutoffs that double up to ``top``, f64[num_brackets]."""
    doublings = np.arange(num_brackets - 2, -1, -1)
    return np.concatenate([[0.0], top / 2.0**doublings])


SPACINGS = {
    "us_federal": us_federal_cutoffs,
    "linear": linear_cutoffs,
    "log": log_cutoffs,
}


def make_cutoffs(
    spacing: str = "us_federal", num_brackets: int = 7, top: float = 100.0
) -> np.ndarray:
    """Bracket cutoffs by the name of their spacing.

    Args:
      spacing: A key of ``SPACINGS``.
      num_brackets: Number of brackets; ignored by ``us_federal``, which has 7.
      top: Income, in coin, at which the top bracket starts; ignored by ``us_federal``.

    Returns:
      f64[B], the lower end of each bracket, in coin.

    Raises:
      ValueError: Unknown spacing, fewer than two brackets, or a top that is not positive.
    """
    if spacing not in SPACINGS:
        raise ValueError(f"bracket spacing {spacing!r} is unknown; valid: {', '.join(SPACINGS)}")
    if num_brackets < 2:
        raise ValueError(f"num_brackets is {num_brackets}, must be at least 2")
    if not (np.isfinite(top) and top > 0):
        raise ValueError(f"top cutoff is {top}, must be a positive finite number")
    return SPACINGS[spacing](num_brackets, top)


def bracket_index(incomes: jax.Array, cutoffs: jax.Array) -> jax.Array:
    """Index of the bracket that holds each income, i32 with the shape of ``incomes``.

    Incomes below 0 get bracket 0.
    """
    at_or_above = jnp.expand_dims(incomes, -1) >= jnp.asarray(cutoffs)
    return jnp.maximum(jnp.sum(at_or_above, axis=-1, dtype=jnp.int32) - 1, 0)


def tax_due(incomes: jax.Array, rates: jax.Array, cutoffs: jax.Array) -> jax.Array:
    """Tax on each income, ``sum_b rate_b * clip(z - m_b, 0, m_{b+1} - m_b)``; 0 below 0.

    Args:
      incomes: f32[...], in coin.
      rates: f32[B], marginal rates in [0, 1].
      cutoffs: f32[B], in coin, ascending from 0.

    Returns:
      f32[...], in coin.
    """
    rates, cutoffs = jnp.asarray(rates), jnp.asarray(cutoffs)
    chex.assert_equal_shape([rates, cutoffs])
    widths = jnp.append(jnp.diff(cutoffs), jnp.inf)

    def first_axis(per_bracket: jax.Array) -> jax.Array:
        # Brackets lead, so that the compiled loop runs along the incomes: three times faster.
        return per_bracket.reshape(-1, *(1,) * jnp.ndim(incomes))

    income_in_bracket = jnp.clip(incomes - first_axis(cutoffs), 0.0, first_axis(widths))
    return jnp.sum(first_axis(rates) * income_in_bracket, axis=0)


def marginal_rate(incomes: jax.Array, rates: jax.Array, cutoffs: jax.Array) -> jax.Array:
    """Rate of the bracket that holds each income, f32 with the shape of ``incomes``; 0 below 0."""
    rates, cutoffs = jnp.asarray(rates), jnp.asarray(cutoffs)
    chex.assert_equal_shape([rates, cutoffs])
    return jnp.where(jnp.asarray(incomes) < 0, 0.0, rates[bracket_index(incomes, cutoffs)])


def rate_grid(rate_step: float = 0.05) -> np.ndarray:
    """The allowed rates 0, rate_step, ..., 1.

    Args:
      rate_step: Distance of neighbouring rates; must divide 1.

    Returns:
      f64[R], rounded so that no rate exceeds 1 or misses its decimal by rounding.

    Raises:
      ValueError: ``rate_step`` is not in (0, 1] or does not divide 1.
    """
    if not 0 < rate_step <= 1:
        raise ValueError(f"rate_step is {rate_step}, must lie in (0, 1]")
    intervals = round(1 / rate_step)
    if abs(intervals * rate_step - 1) > 1e-6:
        raise ValueError(f"rate_step is {rate_step}, must divide 1 (for instance 0.05 or 0.1)")
    return np.arange(intervals + 1) / intervals


def validate_cutoffs(cutoffs: npt.ArrayLike) -> np.ndarray:
    """Checks cutoffs on the host and returns them as f64[B].

    Raises:
      ValueError: Fewer than two, a first cutoff that is not 0, or cutoffs that do not ascend.
    """
    values = np.asarray(cutoffs, dtype=np.float64)
    if values.ndim != 1 or values.size < 2:
        raise ValueError(f"cutoffs has shape {values.shape}, must be a list of at least 2 numbers")
    if values[0] != 0:
        raise ValueError(f"cutoffs starts at {values[0]:g}, must start at 0")
    if not np.all(np.isfinite(values)) or np.any(np.diff(values) <= 0):
        raise ValueError(f"cutoffs is {values.tolist()}, must ascend strictly and be finite")
    return values


def validate_rates(rates: npt.ArrayLike, num_brackets: int) -> np.ndarray:
    """Checks marginal rates on the host and returns them as f64[B].

    Raises:
      ValueError: Not one rate per bracket, or a rate outside [0, 1] (or NaN).
    """
    values = np.asarray(rates, dtype=np.float64)
    if values.shape != (num_brackets,):
        raise ValueError(
            f"rates has shape {values.shape}, must be one rate for each of {num_brackets} brackets"
        )
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        bracket = int(np.argmax(outside))
        raise ValueError(f"rates[{bracket}] is {values[bracket]:g}, must lie in [0, 1]")
    return values
