"""Problems with a cost beside the reward: maximise one, keep the other under a budget.

Two public examples of the constrained literature, our own safety constraint in that form, and the
exact optimum by a linear program over occupancies. Spec sections 3 and 4.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.sparse

from ai_econ_jax.envs.tabular.mdp import Problem, TabularMDP
from ai_econ_jax.envs.tabular.problem import ProblemError, make_problem

# HiGHS' own tolerance, 1e-7, is coarser than what the optima are compared to.
_TOLERANCE = 1e-10
LP_OPTIONS = {"primal_feasibility_tolerance": _TOLERANCE, "dual_feasibility_tolerance": _TOLERANCE}

_DEMAND = np.array([0.3, 0.2, 0.2, 0.2, 0.05, 0.05])  # P(demand = 0 .. 5)


@dataclasses.dataclass(frozen=True)
class ConstrainedProblem:
    """`max V_reward(pi)` subject to `V_cost(pi) <= budget`.

    Attributes:
      mdp: The rewards to maximise.
      cost: f64[H, S, A], in [0, 1].
      budget: Most expected cost of an episode.
    """

    mdp: TabularMDP
    cost: np.ndarray
    budget: float


def from_value_constraint(mdp: TabularMDP, gamma: float) -> ConstrainedProblem:
    """`V(pi) >= gamma` as a constraint on the cost `1 - r`, with the budget `H - gamma`."""
    return ConstrainedProblem(mdp, 1.0 - np.asarray(mdp.reward, np.float64), mdp.horizon - gamma)


def solve(problem: ConstrainedProblem) -> tuple[float, np.ndarray]:
    """The best value that keeps to the budget, and a policy f64[H, S, A] that has it.

    With an infinite budget, the unconstrained optimum.

    Raises:
      ProblemError: No policy keeps to the budget.
    """
    mdp = problem.mdp
    return best_within_budget(
        np.asarray(mdp.transition, np.float64),
        np.asarray(mdp.reward, np.float64),
        np.asarray(mdp.initial, np.float64),
        np.asarray(problem.cost, np.float64),
        problem.budget,
    )


def best_within_budget(
    transition: np.ndarray,
    reward: np.ndarray,
    initial: np.ndarray,
    cost: np.ndarray,
    budget: float,
) -> tuple[float, np.ndarray]:
    """A linear program over occupancies: `max d.r`, `d.c <= budget`, with the flow of the MDP.

    Args:
      transition: f64[H, S, A, S].
      reward: f64[H, S, A], of any size.
      initial: f64[S].
      cost: f64[H, S, A], of any size.
      budget: Most expected cost; may be infinite.

    Returns:
      The best value and a policy f64[H, S, A] that has it.

    Raises:
      ProblemError: No policy keeps to the budget.
    """
    flow, inflow = _flow(transition, initial)
    bounded = np.isfinite(budget)
    result = scipy.optimize.linprog(
        -reward.ravel(),
        A_ub=cost.reshape(1, -1) if bounded else None,
        b_ub=[budget] if bounded else None,
        A_eq=flow,
        b_eq=inflow,
        method="highs",
        options=LP_OPTIONS,
    )
    if result.status == 2:
        raise ProblemError(f"budget is {budget:g}: no policy costs so little")
    if result.status != 0:
        raise RuntimeError(f"the linear program was not solved: {result.message}")
    return -float(result.fun), policy_of_occupancy(result.x.reshape(reward.shape))


def _flow(transition: np.ndarray, initial: np.ndarray) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """The linear equations that make d[H, S, A] an occupancy.

    `sum_a d_h(s, a) - sum_{s', a'} P_{h-1}(s | s', a') d_{h-1}(s', a') = mu(s) if h = 0 else 0`.

    Returns:
      A sparse matrix f64[H S, H S A] and the right-hand side f64[H S].
    """
    horizon, num_states, num_actions, _ = transition.shape
    rows = scipy.sparse.eye_array(horizon * num_states)
    outflow = scipy.sparse.kron(rows, np.ones((1, num_actions)))
    arrivals = [step.reshape(-1, num_states).T for step in transition[:-1]]
    # Arrivals of step h - 1 are rows of step h: a block diagonal, one block of rows further down.
    first = scipy.sparse.csr_array((num_states, 0))
    last = scipy.sparse.csr_array((0, num_states * num_actions))
    shifted = scipy.sparse.block_diag([first, *arrivals, last])
    inflow = np.zeros(horizon * num_states)
    inflow[:num_states] = initial
    return scipy.sparse.csr_array(outflow - shifted), inflow


def policy_of_occupancy(occupancy: npt.ArrayLike) -> np.ndarray:
    """`d_h(s, a) / sum_a d_h(s, a)`, f64[H, S, A]; uniform where a state is not visited.

    Solvers return zeros as tiny numbers of either sign, which count as zeros.
    """
    visited = np.maximum(np.asarray(occupancy, np.float64), 0.0)
    total = visited.sum(-1, keepdims=True)
    uniform = np.full_like(visited, 1.0 / visited.shape[-1])
    return np.where(total > _TOLERANCE, visited / np.maximum(total, _TOLERANCE), uniform)


def _inventory_arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transitions [S, A, S], expected revenue [S, A] and cost [S, A], the latter two at most 1."""
    num_levels = len(_DEMAND)
    transition = np.zeros((num_levels, num_levels, num_levels))
    revenue, cost = np.zeros((2, num_levels, num_levels))
    for stock in range(num_levels):
        for action in range(num_levels):
            order = min(action, num_levels - 1 - stock)
            available = stock + order
            cost[stock, action] = (4 + 2 * order if order else 0) + available
            for demand, probability in enumerate(_DEMAND):
                sold = min(demand, available)
                transition[stock, action, available - sold] += probability
                revenue[stock, action] += probability * 8 * sold / 100
    return transition, revenue / revenue.max(), cost / cost.max()


def inventory() -> Problem:
    """Inventory control: order up to capacity, sell what is asked for, pay for orders and stock.

    Six stock levels, seven steps. An order beyond what fits is cut to what fits. The reward is the
    profit, revenue minus cost, each in units of its maximum; the baseline orders two when the
    stock is empty. Numbers of the official DOPE repository (`InventoryControl`), where reward and
    cost are apart: `inventory_with_budget`.
    """
    transition, revenue, cost = _inventory_arrays()
    return make_problem(
        "inventory",
        transition,
        revenue - cost,
        horizon=7,
        baseline=[2, 0, 0, 0, 0, 0],
        reward_min=-1.0,
        reward_max=1.0,
    )


def inventory_with_budget() -> ConstrainedProblem:
    """The official form of `inventory`: maximise revenue, cost at most H / 2."""
    transition, revenue, cost = _inventory_arrays()
    mdp = make_problem("inventory", transition, revenue, horizon=7).mdp
    return ConstrainedProblem(mdp, np.broadcast_to(cost, mdp.reward.shape), 7 / 2)


def factored() -> Problem:
    """Three states in a ring: action 0 stays for nothing, action 1 moves on and pays (s + 1) / 3.

    Six steps; the DOPE repository's `FactoredCMDP`. The baseline is its own: optimal with a fifth
    of the budget of `factored_with_budget`. It goes once around with probability 0.2, from the
    first step on.
    """
    transition = np.zeros((3, 2, 3))
    reward = np.zeros((3, 2))
    for state in range(3):
        transition[state, 0, state] = 1
        transition[state, 1, (state + 1) % 3] = 1
        reward[state, 1] = (state + 1) / 3
    baseline = np.zeros((6, 3, 2))
    baseline[:, 0] = [1, 0]
    baseline[0, 0] = [0.8, 0.2]
    baseline[:, 1:] = [0, 1]
    return make_problem("factored", transition, reward, horizon=6, baseline=baseline)


def factored_with_budget() -> ConstrainedProblem:
    """The official form of `factored`: every move costs 1, at most H / 2 of them expected."""
    mdp = factored().mdp
    cost = np.zeros(mdp.reward.shape)
    cost[..., 1] = 1
    return ConstrainedProblem(mdp, cost, 3.0)
