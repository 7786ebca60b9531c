"""Runs the learners of constrained problems: a linear program, a block of episodes, and again.

Axes: H steps, S states, A actions, X next states, T blocks, B seeds.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.stepmix.block_score import Blocks, trace_of_blocks
from ai_econ_jax.agents.stepmix.config import RunConfig
from ai_econ_jax.agents.stepmix.constrained import (
    LEARNERS,
    Knowledge,
    baseline_episodes,
    value_of,
)
from ai_econ_jax.agents.stepmix.run import Trace
from ai_econ_jax.envs.tabular.constrained import ConstrainedProblem, solve
from ai_econ_jax.envs.tabular.problem import ProblemError
from ai_econ_jax.envs.tabular.trajectories import Trajectories, count_transitions, simulate


def run_constrained(
    algorithm: str,
    problem: ConstrainedProblem,
    baseline: np.ndarray | jax.Array,
    keys: jax.Array,
    config: RunConfig,
    *,
    lp_every: int = 500,
    true_support: bool = False,
    initial_transitions: np.ndarray | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Trace:
    """Runs a learner, one seed after the other, scored exactly like every other algorithm.

    For StepMix's constraint, `problem` is `from_value_constraint(mdp, gamma)`.

    Counts are pooled over steps wherever transitions do not depend on the step, as in the official
    code, which knows no others. Where they do (`lock`, `bandit2`), pooling would be wrong: each
    step has its own counts, and the formulas are the same otherwise.

    Args:
      algorithm: A name of `LEARNERS`.
      problem: The truth; of its transitions the learner sees samples only.
      baseline: f[H, S, A], whose cost is known and below the budget.
      keys: key[B], one per seed.
      config: Its ``episodes`` and ``delta`` are read.
      lp_every: Episodes between two linear programs.
      true_support: Tell DOPE which next states are possible, as the official code does; OptPess-LP
        has no use for it.
      initial_transitions: f[H or 1, X, S, A], counts to begin with, as for `run`; none by default.
        DOPE plays its first K0 episodes by the baseline whatever they are.
      on_progress: Called with the number of episodes played, after each block of all seeds.

    Returns:
      The trace. Its regret is against the best policy that keeps to the budget, its level H while
      the baseline is played and else 0.

    Raises:
      ConfigError: An unknown algorithm.
      ProblemError: The baseline does not keep to the budget, ``lp_every`` is below 1, or
        ``initial_transitions`` do not fit.
    """
    config_lib.check_one_of("algorithm", algorithm, tuple(LEARNERS))
    if lp_every < 1:
        raise ProblemError(f"lp_every is {lp_every}: must be 1 or more")
    start = _at_start(problem, baseline, config, true_support, initial_transitions)
    horizon = problem.mdp.horizon
    warm_up = baseline_episodes(start) if algorithm == "dope" else 0
    best, _ = solve(problem)
    transition = np.asarray(problem.mdp.transition, np.float64)

    first = jax.random.fold_in(keys[0], 0)
    play = simulate.lower(first, problem.mdp, start.baseline, lp_every).compile()
    began, played = time.perf_counter(), 0
    lanes = [start] * len(keys)
    lengths, rows = [], []
    while played < config.episodes:
        length = min(lp_every, config.episodes - played)
        row = []
        for lane, known in enumerate(lanes):
            plan = LEARNERS[algorithm](known) if played >= warm_up else None
            policy, upper = (known.baseline, float(horizon)) if plan is None else plan
            gap = best - value_of(transition, known.reward, known.initial, policy)
            excess = value_of(transition, known.cost, known.initial, policy) - known.budget
            row.append((gap, excess, float(horizon if plan is None else 0), upper))
            key = jax.random.fold_in(keys[lane], played)
            lanes[lane] = _after(known, play(key, problem.mdp, policy), length)
        played += length
        lengths.append(length)
        rows.append(row)
        if on_progress is not None:
            on_progress(played)
    counts = np.stack([known.transitions for known in lanes], -1)  # [H or 1, S, A, X, B]
    blocks = Blocks(np.array(lengths), *np.moveaxis(np.array(rows), -1, 0))
    return trace_of_blocks(blocks, horizon, np.moveaxis(counts, 3, 1), time.perf_counter() - began)


def _at_start(
    problem: ConstrainedProblem,
    baseline: np.ndarray | jax.Array,
    config: RunConfig,
    true_support: bool,
    initial_transitions: np.ndarray | None,
) -> Knowledge:
    horizon, num_states, num_actions = problem.mdp.shape
    transition = np.asarray(problem.mdp.transition, np.float64)
    initial = np.asarray(problem.mdp.initial, np.float64)
    cost, policy = (np.asarray(x, np.float64) for x in (problem.cost, baseline))
    steps = 1 if problem.mdp.stationary else horizon
    cells = (steps, num_states, num_actions, num_states)
    counts = np.zeros(cells)
    if initial_transitions is not None:
        counts = np.moveaxis(np.asarray(initial_transitions, np.float64), 1, -1)
        if steps == 1:
            counts = counts.sum(0, keepdims=True)
        if counts.shape != cells:
            raise ProblemError(
                f"initial_transitions has shape {np.shape(initial_transitions)}: must be "
                f"[{horizon}{' or 1' if steps == 1 else ''}, {num_states}, {num_states}, "
                f"{num_actions}]"
            )
    known = Knowledge(
        reward=np.asarray(problem.mdp.reward, np.float64),
        cost=cost,
        initial=initial,
        budget=problem.budget,
        baseline=policy,
        baseline_cost=value_of(transition, cost, initial, policy),
        transitions=counts,
        episodes=config.episodes,
        delta=config.delta,
        support=transition[:steps] > 0 if true_support else np.ones(cells, bool),
    )
    if known.kappa <= 0:
        raise ProblemError(
            f"kappa = {known.kappa:.6g}: baseline does not keep to the budget {known.budget:g}"
        )
    return known


def _after(known: Knowledge, episodes: tuple[jax.Array, jax.Array], length: int) -> Knowledge:
    """Adds the first ``length`` of the episodes (states i32[n, H + 1], actions i32[n, H])."""
    states, actions = (np.asarray(x)[:length] for x in episodes)
    _, num_states, num_actions = known.reward.shape
    counts = count_transitions(Trajectories(states, actions), num_states, num_actions)
    if len(known.transitions) == 1:  # pooled
        counts = counts.sum(0, keepdims=True)
    return dataclasses.replace(known, transitions=known.transitions + counts)
