"""The exact optimum over all bracket schedules on a grid of rates, and the exact frontier.

Enumerates every schedule over the brackets that any worker can reach, but never looks at hours
again once a table is built: within a bracket, the gain of a worker

    z - m (base + rate (z - m_b)) - labor cost,    m = 1 - 1/N,

depends on the other rates only through ``base``, the tax due at the bracket's lower end, which all
hours in the bracket share. So the best hours in bracket b at rate r are found once per (worker, b,
r), and a schedule's best response is the best of at most B candidates. Axes: N workers, K reachable
brackets, R rates, L possible hours, C schedules of a chunk, S all schedules.

Everything here runs in float64 whatever the default precision, since one flipped hour of a nearly
indifferent worker moves welfare by far more than a rounding error.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.economy import brackets, welfare
from ai_econ_jax.envs.one_step_economy.best_response import first_best
from ai_econ_jax.envs.one_step_economy.params import EconomyParams

MAX_SCHEDULES = 5_000_000

# Welfare values closer than this (relative) are one value; the earlier schedule, which has the
# lower rates in the lower brackets, stands for all.
_SAME_WELFARE = 1e-10

# Entries of the largest temporary array of a chunk; bounds memory at about 200 MiB.
_CHUNK_ENTRIES = 2**20


@dataclasses.dataclass(frozen=True)
class Frontier:
    """Schedules that no other one beats in both productivity and equality, f64.

    Attributes:
      productivity: f64[F], mean coin, descending.
      equality: f64[F], ascending.
      rates: f64[F, B].
    """

    productivity: np.ndarray
    equality: np.ndarray
    rates: np.ndarray


@dataclasses.dataclass(frozen=True)
class BracketOptimum:
    """Result of the exhaustive search.

    Attributes:
      welfare: Highest value of each social welfare function.
      rates: f64[B], a schedule that reaches it; rates of unreachable brackets are 0. Where a rate
        changes nothing, the lowest stands.
      frontier: The exact equality-productivity frontier.
      num_schedules: S, schedules compared.
      num_reachable: K, brackets searched.
    """

    welfare: dict[str, float]
    rates: dict[str, np.ndarray]
    frontier: Frontier
    num_schedules: int
    num_reachable: int


class _Candidates(NamedTuple):
    """Best whole hours inside each bracket at each rate.

    Attributes:
      gain: f64[K, R, N], gain before the tax due at the bracket's lower end; -inf if no hours fall
        into the bracket.
      income: f64[K, R, N], in coin.
    """

    gain: jax.Array
    income: jax.Array


def bracket_optimum(
    params: EconomyParams, rate_step: float = 0.05, max_schedules: int = MAX_SCHEDULES
) -> BracketOptimum:
    """The optimum of every social welfare function over all schedules, in one pass.

    Args:
      params: The economy; utility must be ``coin_minus_labor_cost``, for which choices are
        independent of each other.
      rate_step: Distance of neighbouring rates.
      max_schedules: Largest search that is allowed.

    Raises:
      ValueError: Isoelastic utility, a bad ``rate_step``, or too many schedules.
    """
    num_reachable = check_searchable(params, rate_step, max_schedules)
    grid = brackets.rate_grid(rate_step)
    num_schedules = len(grid) ** num_reachable
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.float64), params)
        chunk = max(1, _CHUNK_ENTRIES // (num_reachable * params.num_workers))
        search = _search(
            params, jnp.asarray(grid), num_reachable, num_schedules, min(chunk, num_schedules)
        )
        best_values, best_schedules, productivity, equality = jax.device_get(search)
    to_rates = partial(
        _schedule_rates, grid=grid, num_reachable=num_reachable, num_brackets=params.num_brackets
    )
    return BracketOptimum(
        welfare={name: float(best_values[name]) for name in welfare.WELFARE_FUNCTIONS},
        rates={name: to_rates(best_schedules[name]) for name in welfare.WELFARE_FUNCTIONS},
        frontier=_frontier(productivity, equality, to_rates),
        num_schedules=num_schedules,
        num_reachable=num_reachable,
    )


def check_searchable(
    params: EconomyParams, rate_step: float = 0.05, max_schedules: int = MAX_SCHEDULES
) -> int:
    """Checks, before anything large is computed, that ``bracket_optimum`` can be found.

    Returns:
      Number of reachable brackets.

    Raises:
      ValueError: As ``bracket_optimum``.
    """
    if params.utility != "coin_minus_labor_cost":
        raise ValueError(
            f"the exhaustive optimum needs utility 'coin_minus_labor_cost', got {params.utility!r}"
        )
    num_rates = len(brackets.rate_grid(rate_step))
    with jax.enable_x64(True):
        precise = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.float64), params)
        num_reachable = count_reachable_brackets(precise)
    if num_rates**num_reachable > max_schedules:
        raise ValueError(
            f"{num_rates**num_reachable} schedules ({num_rates} rates in {num_reachable} reachable "
            f"brackets) exceed the limit of {max_schedules}; choose a coarser rate_step than "
            f"{rate_step}"
        )
    return num_reachable


def count_reachable_brackets(params: EconomyParams) -> int:
    """Brackets, from the lowest, that hold the free-market income of some worker or lie below it.

    No tax makes a worker with linear utility work more than the free market does: more hours would
    gain less even untaxed, and tax due never falls with income.
    """
    hours = jnp.arange(params.max_hours + 1, dtype=params.skills.dtype)
    gain = params.skills[:, None] * hours - _labor_cost(params)
    free_market_income = params.skills * first_best(gain, axis=-1)
    return int(jnp.max(brackets.bracket_index(free_market_income, params.cutoffs))) + 1


def _labor_cost(params: EconomyParams) -> jax.Array:
    """Utility cost of each number of hours, f64[L]."""
    hours = jnp.arange(params.max_hours + 1, dtype=params.skills.dtype)
    return params.labor_cost * hours**params.labor_exponent


def _candidates(params: EconomyParams, grid: jax.Array, num_reachable: int) -> _Candidates:
    """Builds the table of best hours per (bracket, rate, worker)."""
    hours = jnp.arange(params.max_hours + 1, dtype=params.skills.dtype)
    income = params.skills[:, None] * hours  # f64[N, L]
    bracket = brackets.bracket_index(income, params.cutoffs)
    cost = _labor_cost(params)
    lost_share = 1.0 - 1.0 / params.num_workers

    def best_inside(index_and_rate):
        index, rate = index_and_rate
        tax_inside = rate * (income - params.cutoffs[index])
        gain = jnp.where(bracket == index, income - lost_share * tax_inside - cost, -jnp.inf)
        choice = first_best(gain, axis=-1)[:, None]
        return tuple(jnp.take_along_axis(a, choice, axis=-1)[:, 0] for a in (gain, income))

    index, rate = jnp.meshgrid(jnp.arange(num_reachable), grid, indexing="ij")
    gain, best_income = jax.lax.map(best_inside, (index.ravel(), rate.ravel()))
    shape = (num_reachable, len(grid), params.num_workers)
    return _Candidates(gain.reshape(shape), best_income.reshape(shape))


@partial(jax.jit, static_argnames=("num_reachable", "num_schedules", "chunk"))
def _search(
    params: EconomyParams, grid: jax.Array, num_reachable: int, num_schedules: int, chunk: int
):
    """Compares all schedules, ``chunk`` at a time.

    Returns:
      Best values by name, f64[]; their schedules by name, i64[]; productivity and equality of all
      schedules, f64[S] each.
    """
    candidates = _candidates(params, grid, num_reachable)
    num_chunks = -(-num_schedules // chunk)

    def compare_chunk(best, chunk_index):
        schedules = chunk_index * chunk + jnp.arange(chunk)
        # The last chunk repeats the last schedule, which changes neither maxima nor first ones.
        schedules = jnp.minimum(schedules, num_schedules - 1)
        digits = _digits(schedules, len(grid), num_reachable)
        coin, income, utility = _respond(params, candidates, grid, digits)
        values = welfare.all_welfare(coin, income, utility, params.gini_mode)
        best = {name: _better(best[name], values[name], schedules) for name in values}
        point = (values["productivity"], welfare.equality(coin, params.gini_mode))
        return best, point

    nothing = (jnp.array(-jnp.inf), jnp.array(0))
    start = {name: nothing for name in welfare.WELFARE_FUNCTIONS}
    best, per_schedule = jax.lax.scan(compare_chunk, start, jnp.arange(num_chunks))
    productivity, equality = (values.ravel()[:num_schedules] for values in per_schedule)
    values = {name: pair[0] for name, pair in best.items()}
    schedules = {name: pair[1] for name, pair in best.items()}
    return values, schedules, productivity, equality


def _respond(params: EconomyParams, candidates: _Candidates, grid: jax.Array, digits: jax.Array):
    """Coin, income and utility f64[C, N] of best responses to schedules ``digits`` i32[C, K]."""
    num_reachable = digits.shape[1]
    rates = grid[digits]
    widths = jnp.diff(params.cutoffs)[: num_reachable - 1]
    tax_at_lower_end = jnp.pad(jnp.cumsum(rates[:, :-1] * widths, axis=1), ((0, 0), (1, 0)))
    lost_share = 1.0 - 1.0 / params.num_workers

    index = jnp.arange(num_reachable)
    gain = candidates.gain[index, digits] - lost_share * tax_at_lower_end[:, :, None]
    choice = first_best(gain, axis=1)[:, None]  # i32[C, 1, N]

    def chosen(of_bracket):
        return jnp.take_along_axis(of_bracket, choice, axis=1)[:, 0]

    income = chosen(candidates.income[index, digits])
    rate, base, lower_end = (
        jnp.take_along_axis(a, choice[:, 0], axis=1)
        for a in (
            rates,
            tax_at_lower_end,
            jnp.broadcast_to(params.cutoffs[:num_reachable], rates.shape),
        )
    )
    tax = base + rate * (income - lower_end)
    revenue = jnp.sum(tax, axis=1, keepdims=True)
    coin = income - tax + revenue / params.num_workers
    # The gain already counts the worker's own share of the own tax; add the others' tax.
    utility = chosen(gain) + (revenue - tax) / params.num_workers
    return coin, income, utility


def _better(best, values: jax.Array, schedules: jax.Array):
    """The better of the best ``(value, schedule)`` so far and the first best of a chunk."""
    best_value, best_schedule = best
    top = jnp.max(values)
    slack = _SAME_WELFARE * (1.0 + jnp.abs(top))
    first = jnp.argmax(values >= top - slack)
    improves = values[first] > best_value + slack
    return (
        jnp.where(improves, values[first], best_value),
        jnp.where(improves, schedules[first], best_schedule),
    )


def _digits(schedules, num_rates: int, num_reachable: int):
    """Rate indices i[..., K] of schedules numbered with the lowest bracket as the first digit."""
    place = num_rates ** np.arange(num_reachable - 1, -1, -1)
    return schedules[..., None] // place % num_rates


def _schedule_rates(schedules, grid: np.ndarray, num_reachable: int, num_brackets: int):
    """Rates f64[..., B] of schedules, with 0 in the brackets that nobody reaches."""
    reachable = grid[_digits(np.asarray(schedules), len(grid), num_reachable)]
    padding = [(0, 0)] * (reachable.ndim - 1) + [(0, num_brackets - num_reachable)]
    return np.pad(reachable, padding)


def _frontier(productivity: np.ndarray, equality: np.ndarray, to_rates) -> Frontier:
    """The Pareto set of all schedules, one schedule for each distinct point."""
    order = np.lexsort((-equality, -productivity))
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(equality[order])[:-1]])
    efficient = order[equality[order] > best_before + _SAME_WELFARE]
    # Of points whose productivity differs by rounding only, the last has the highest equality.
    following = np.append(productivity[efficient][1:], -1.0)
    efficient = efficient[productivity[efficient] > following * (1.0 + _SAME_WELFARE)]
    return Frontier(productivity[efficient], equality[efficient], to_rates(efficient))
