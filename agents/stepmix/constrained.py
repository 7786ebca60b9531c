"""Two published learners of constrained MDPs as baselines: OptPess-LP and DOPE, by linear programs.

Both know a baseline and its cost C_b, keep to the budget Cbar in every episode with high
probability, and maximise an optimistic reward under a pessimistic cost; kappa = Cbar - C_b. Not
compiled: a program per replanning, for small problems. Constants are those of the official DOPE
code, which minimises and so has the opposite signs. Spec section 4.

Axes: H steps, S states, A actions, X next states, T = 1 where counts are pooled over steps, else H.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.optimize
import scipy.sparse

from ai_econ_jax.envs.tabular.constrained import (
    LP_OPTIONS,
    best_within_budget,
    policy_of_occupancy,
)
from ai_econ_jax.envs.tabular.problem import ProblemError


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """What a learner plans from.

    Attributes:
      reward: f64[H, S, A].
      cost: f64[H, S, A].
      initial: f64[S].
      budget: Cbar.
      baseline: f64[H, S, A].
      baseline_cost: C_b, below the budget.
      transitions: f64[T, S, A, X], counts.
      episodes: K, over which the confidence is shared out.
      delta: Chance that it fails.
      support: bool[T, S, A, X], next states that are possible; all of them unless told.
    """

    reward: np.ndarray
    cost: np.ndarray
    initial: np.ndarray
    budget: float
    baseline: np.ndarray
    baseline_cost: float
    transitions: np.ndarray
    episodes: int
    delta: float
    support: np.ndarray

    @property
    def kappa(self) -> float:
        """The slack of the baseline."""
        return self.budget - self.baseline_cost

    @property
    def count(self) -> np.ndarray:
        """Visits n, f64[T, S, A]."""
        return self.transitions.sum(-1)

    @property
    def laws(self) -> np.ndarray:
        """Empirical laws f64[T, S, A, X]; uniform where unseen."""
        count = self.count[..., None]
        uniform = 1.0 / self.transitions.shape[-1]
        return np.where(count > 0, self.transitions / np.maximum(count, 1), uniform)


def baseline_episodes(known: Knowledge) -> int:
    """K0 = S^2 A H^3 / kappa^2, the episodes that DOPE gives to the baseline; rounded up."""
    horizon, num_states, num_actions = known.reward.shape
    return int(np.ceil(num_states**2 * num_actions * horizon**3 / known.kappa**2))


def dope(known: Knowledge) -> tuple[np.ndarray, float] | None:
    """DOPE's policy f64[H, S, A] and the optimistic value of its program.

    `beta(s, a, x) = 2 sqrt(L phat (1 - phat) / n) + 14 L / (3 n)`, 1 where unseen, with
    `L = ln(6 S^2 H K / delta)` and `b = sum_x beta`. Over z[h, s, a, x], an occupancy with its next
    state: `max z.(r + H^2 b / kappa)`, `z.(c + H b) <= Cbar`, `|z - phat sum_x z| <= beta sum_x z`.

    Returns:
      None where the program has no solution.
    """
    horizon, num_states, _ = shape = known.reward.shape
    log_term = np.log(6 * num_states**2 * horizon * known.episodes / known.delta)
    count, laws = known.count[..., None], known.laws
    visits = np.maximum(count, 1)
    beta = 2 * np.sqrt(log_term * laws * (1 - laws) / visits) + 14 * log_term / (3 * visits)
    beta = np.where(count > 0, beta, 1.0)
    bonus = beta.sum(-1)
    reward = known.reward + horizon**2 / known.kappa * bonus
    cost = known.cost + horizon * bonus

    cells = (*shape, num_states)
    within = _interval_rows(np.broadcast_to(laws, cells), np.broadcast_to(beta, cells))
    cost_row = np.repeat(cost.ravel(), num_states)[None]
    flow, inflow = _extended_flow(shape, known.initial)
    possible = np.broadcast_to(known.support, cells).ravel()
    result = scipy.optimize.linprog(
        -np.repeat(reward.ravel(), num_states),
        A_ub=scipy.sparse.vstack([scipy.sparse.csr_array(cost_row), within]),
        b_ub=np.append(known.budget, np.zeros(within.shape[0])),
        A_eq=flow,
        b_eq=inflow,
        bounds=np.stack([np.zeros(possible.size), np.where(possible, np.inf, 0.0)], 1),
        method="highs",
        options=LP_OPTIONS,
    )
    if result.status == 2:
        return None
    if result.status != 0:
        raise RuntimeError(f"DOPE's linear program was not solved: {result.message}")
    return policy_of_occupancy(result.x.reshape(cells).sum(-1)), -float(result.fun)


def optpess_lp(known: Knowledge) -> tuple[np.ndarray, float] | None:
    """OptPess-LP's policy f64[H, S, A] and the optimistic value of its program.

    `b = sqrt(L / n)` with `L = ln(32 S^2 H K / delta)`, n at least 1, under the empirical laws:
    `max d.(r + [S H + 4 H (1 + S H) / kappa] b)`, `d.(c + H S b) <= Cbar`.

    Returns:
      None while the pessimistic cost of the baseline is at least (Cbar + C_b) / 2, or where the
      program has no solution: then the baseline is to be played.
    """
    horizon, num_states, _ = shape = known.reward.shape
    log_term = np.log(32 * num_states**2 * horizon * known.episodes / known.delta)
    bonus = np.sqrt(log_term / np.maximum(known.count, 1))
    size = num_states * horizon
    cost = known.cost + size * bonus
    reward = known.reward + (size + 4 * horizon * (1 + size) / known.kappa) * bonus
    laws = np.broadcast_to(known.laws, (*shape, num_states))
    if (
        value_of(laws, cost, known.initial, known.baseline)
        >= (known.budget + known.baseline_cost) / 2
    ):
        return None
    try:
        value, policy = best_within_budget(laws, reward, known.initial, cost, known.budget)
    except ProblemError:  # no policy keeps to the budget under the pessimistic cost
        return None
    return policy, value


LEARNERS: dict[str, Callable[[Knowledge], tuple[np.ndarray, float] | None]] = {
    "optpess_lp": optpess_lp,
    "dope": dope,
}


def value_of(
    laws: np.ndarray, signal: np.ndarray, initial: np.ndarray, policy: np.ndarray
) -> float:
    """Expected sum of a signal f64[H, S, A] under a policy f64[H, S, A], in float64.

    Signals here are rewards, costs, and costs with bonuses a thousand times as large.
    """
    ahead = np.zeros(len(initial))
    for law, paid, chances in zip(laws[::-1], signal[::-1], policy[::-1], strict=True):
        ahead = (chances * (paid + law @ ahead)).sum(-1)
    return float(initial @ ahead)


def _extended_flow(
    shape: tuple[int, int, int], initial: np.ndarray
) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """Equations that make z[H, S, A, X] an occupancy, whatever the law.

    `sum_{a, x} z_h(s, a, x) - sum_{s', a'} z_{h-1}(s', a', s) = mu(s) if h = 0 else 0`.
    """
    horizon, num_states, num_actions = shape
    rows = scipy.sparse.eye_array(horizon * num_states)
    outflow = scipy.sparse.kron(rows, np.ones((1, num_actions * num_states)))
    arrivals = scipy.sparse.kron(
        np.ones((1, num_states * num_actions)), scipy.sparse.eye_array(num_states)
    )
    inflow = scipy.sparse.kron(scipy.sparse.eye_array(horizon, k=-1), arrivals)
    return scipy.sparse.csr_array(outflow - inflow), np.pad(
        initial, (0, (horizon - 1) * num_states)
    )


def _interval_rows(laws: np.ndarray, beta: np.ndarray) -> scipy.sparse.csr_array:
    """Rows `<= 0` that say `|z - phat sum_x z| <= beta sum_x z`, of z[H, S, A, X].

    Rows that every z >= 0 satisfies are left out.
    """
    num_states = laws.shape[-1]
    total = np.ones((1, num_states))
    every = scipy.sparse.eye_array(laws.size)
    sums = scipy.sparse.kron(scipy.sparse.eye_array(laws.size // num_states), total.T @ total)
    high, low = (laws + beta).ravel(), (laws - beta).ravel()
    above = every - scipy.sparse.diags_array(high) @ sums
    below = scipy.sparse.diags_array(low) @ sums - every
    return scipy.sparse.vstack(
        [scipy.sparse.csr_array(above)[high < 1], scipy.sparse.csr_array(below)[low > 0]]
    )
