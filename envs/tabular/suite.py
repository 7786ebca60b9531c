"""The built-in problems, each an exact array. Rewards in [0, 1], start state 0. Spec section 3.

Known optimal values and those of the baselines stand in the tests.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ai_econ_jax.envs.tabular.baselines import make_baseline
from ai_econ_jax.envs.tabular.constrained import factored, inventory
from ai_econ_jax.envs.tabular.mdp import Problem
from ai_econ_jax.envs.tabular.problem import ProblemError, make_problem


def cliff3() -> Problem:
    """Five steps near a cliff: the best actions risk a state that pays nothing."""
    transition = [
        [[0.95, 0.05, 0.0], [0.2, 0.1, 0.7], [0.1, 0.9, 0.0]],
        [[0.5, 0.5, 0.0], [0.1, 0.9, 0.0], [0.2, 0.8, 0.0]],
        [[0.2, 0.0, 0.8], [0.0, 0.2, 0.8], [0.5, 0.5, 0.0]],
    ]
    reward = [[0.5, 0.3, 0.5], [0.0, 0.0, 0.0], [0.8, 1.0, 0.6]]
    return make_problem("cliff3", transition, reward, horizon=5, baseline=[0, 0, 0])


def bandit2() -> Problem:
    """A five-armed Bernoulli bandit: the arm is drawn at step 0, its reward paid at step 1."""
    success = np.array([0.6, 0.8, 0.2, 0.1, 0.3])
    transition = np.zeros((2, 3, 5, 3))
    transition[0, 0, :, 1] = success
    transition[0, 0, :, 2] = 1 - success
    transition[0, 1:, :, 0] = 1  # unreachable
    transition[1, :, :, 0] = 1  # after the last step
    reward = np.zeros((2, 3, 5))
    reward[1, 1] = 1
    return make_problem("bandit2", transition, reward, baseline=[0, 0, 0])


def lock() -> Problem:
    """A combination lock with an exit: one of three risky actions goes on, the others end at 0.

    All risky actions pay the same, so rewards, which are known, do not tell which is right.
    """
    horizon, slip, good, dead, exit_ = 5, 0.02, 0, 1, 2
    transition = np.zeros((horizon, 3, 4, 3))
    transition[:, dead, :, dead] = 1
    transition[:, exit_, :, exit_] = 1
    transition[:, good, 0, exit_] = 1
    transition[:, good, 1:, dead] = 1
    for step in range(horizon):
        transition[step, good, 1 + step % 3] = [1 - slip, slip, 0]
    reward = np.zeros((horizon, 3, 4))
    reward[:, exit_] = 0.6
    reward[:, good, 0] = 0.6
    reward[:, good, 1:] = 0.8
    reward[-1, good, 1:] = 1.0
    return make_problem("lock", transition, reward, baseline=[0, 0, 0])


def trap2() -> Problem:
    """Two steps with a baseline that acts badly in a state it rarely visits.

    Mixing with it at one step helps, mixing whole episodes hurts, mixing at every step is unsafe.
    """
    transition = np.zeros((2, 3, 2, 3))
    transition[0, 0] = [[0, 0.9, 0.1], [0, 0.1, 0.9]]
    transition[0, 1:, :, 0] = 1  # unreachable
    transition[1, :, :, 0] = 1  # after the last step
    reward = np.zeros((2, 3, 2))
    reward[1, 1:] = [[0.6, 0.1], [0.0, 1.0]]
    return make_problem("trap2", transition, reward, baseline=[0, 0, 0])


def riverswim(num_states: int = 6, horizon: int = 20, left: float = 0.005) -> Problem:
    """A river to swim up: right pays 1 at its far end, left pays `left` at the start for sure."""
    _at_least(2, num_states=num_states)
    last = num_states - 1
    transition = np.zeros((num_states, 2, num_states))
    for state in range(num_states):
        transition[state, 0, max(state - 1, 0)] = 1
        transition[state, 1, state] = 0.4 if state == 0 else 0.6
        if state < last:
            transition[state, 1, state + 1] = 0.6 if state == 0 else 0.35
        if state > 0:
            transition[state, 1, state - 1] = 0.4 if state == last else 0.05
    reward = np.zeros((num_states, 2))
    reward[0, 0], reward[last, 1] = left, 1
    always_left = [0] * num_states
    return make_problem("riverswim", transition, reward, horizon=horizon, baseline=always_left)


def dirichlet(
    num_states: int = 5, num_actions: int = 5, horizon: int = 3, alpha: float = 0.1, seed: int = 0
) -> Problem:
    """Transitions from a symmetric Dirichlet law, rewards uniform on [0, 1]."""
    shape, generator = _random_shape(num_states, num_actions, horizon, alpha, seed)
    transition = generator.dirichlet(np.full(num_states, alpha), size=shape)
    return make_problem("dirichlet", transition, generator.random(shape))


def dirichlet_sparse(
    num_states: int = 5, num_actions: int = 5, horizon: int = 5, alpha: float = 0.1, seed: int = 1
) -> Problem:
    """As `dirichlet`, with three in four rewards set to 0: here safety costs something."""
    shape, generator = _random_shape(num_states, num_actions, horizon, alpha, seed)
    transition = generator.dirichlet(np.full(num_states, alpha), size=shape)
    reward = generator.random(shape)
    reward = reward * (generator.random(shape) < 0.25)
    return make_problem("dirichlet_sparse", transition, reward)


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "cliff3": cliff3,
    "bandit2": bandit2,
    "lock": lock,
    "trap2": trap2,
    "riverswim": riverswim,
    "dirichlet": dirichlet,
    "dirichlet_sparse": dirichlet_sparse,
    "inventory": inventory,
    "factored": factored,
}


def load(
    name: str,
    *,
    baseline: str | npt.ArrayLike | None = None,
    eta: float = 10.0,
    **parameters: Any,
) -> Problem:
    """A built-in problem with its baseline, in the current default precision.

    Args:
      name: An entry of `PROBLEMS`.
      baseline: As in `make_baseline`; the problem's own when None, for the random problems
        `boltzmann`.
      eta: Inverse temperature of `boltzmann`.
      **parameters: Those of the problem's function.

    Raises:
      ProblemError: Unknown name or parameter (the message lists the valid ones), or a bad value.
    """
    if name not in PROBLEMS:
        raise ProblemError(f"env {name!r} is unknown; valid: {', '.join(PROBLEMS)}")
    valid = list(inspect.signature(PROBLEMS[name]).parameters)
    for parameter in parameters:
        if parameter not in valid:
            raise ProblemError(
                f"env {name} has no parameter {parameter!r}; valid: {', '.join(valid) or 'none'}"
            )
    problem = PROBLEMS[name](**parameters)
    if baseline is None and problem.baseline is None:
        baseline = "boltzmann"
    if baseline is None:
        return problem
    return dataclasses.replace(problem, baseline=make_baseline(problem.mdp, baseline, eta))


def _random_shape(
    num_states: int, num_actions: int, horizon: int, alpha: float, seed: int
) -> tuple[tuple[int, int, int], np.random.Generator]:
    _at_least(1, num_states=num_states, num_actions=num_actions, horizon=horizon)
    if not 0 < alpha < np.inf:
        raise ProblemError(f"alpha is {alpha:g}: must be positive and finite")
    _at_least(0, seed=seed)
    return (horizon, num_states, num_actions), np.random.default_rng(seed)


def _at_least(least: int, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < least:
            raise ProblemError(f"{name} is {size}: must be {least} or more")
