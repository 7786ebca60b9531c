"""Runs the learners of constrained problems: a linear program, a block of episodes, and again.

Axes: H steps, S states, A actions, X next states, T blocks, B seeds.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np

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
    on_progress: Callable[[int], None] | None = None,
) -> Trace:
    """Runs a learner, one seed after the other, scored exactly like every other algorithm.

    For StepMix's constraint, `problem` is `from_value_constraint(mdp, gamma)`.

    Args:
      algorithm: A name of `LEARNERS`.
      problem: The truth; of its transitions the learner sees samples only.
      baseline: f[H, S, A], whose cost is known and below the budget.
      keys: key[B], one per seed.
      config: Its ``episodes``, ``delta`` and ``stationary`` (pooled counts, as in the official
        code) are read.
      lp_every: Episodes between two linear programs.
      true_support: Tell the learner which next states are possible, as the official code does.
      on_progress: Called with the number of episodes played, after each block of all seeds.

    Returns:
      The trace. Its regret is against the best policy that keeps to the budget, its level H while
      the baseline is played and else 0.

    Raises:
      ProblemError: The baseline does not keep to the budget, or ``lp_every`` is below 1.
    """
    if lp_every < 1:
        raise ProblemError(f"lp_every is {lp_every}: must be 1 or more")
    start = _at_start(problem, baseline, config, true_support)
    horizon = problem.mdp.horizon
    warm_up = baseline_episodes(start) if algorithm == "dope" else 0
    best, _ = solve(problem)
    transition = np.asarray(problem.mdp.transition, np.float64)

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
            lanes[lane] = _after(known, simulate(key, problem.mdp, policy, lp_every), length)
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
) -> Knowledge:
    horizon, num_states, num_actions = problem.mdp.shape
    transition = np.asarray(problem.mdp.transition, np.float64)
    initial = np.asarray(problem.mdp.initial, np.float64)
    cost, policy = (np.asarray(x, np.float64) for x in (problem.cost, baseline))
    steps = 1 if config.stationary else horizon
    cells = (steps, num_states, num_actions, num_states)
    known = Knowledge(
        reward=np.asarray(problem.mdp.reward, np.float64),
        cost=cost,
        initial=initial,
        budget=problem.budget,
        baseline=policy,
        baseline_cost=value_of(transition, cost, initial, policy),
        transitions=np.zeros(cells),
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
    if len(known.transitions) == 1:
        counts = counts.sum(0, keepdims=True)
    return dataclasses.replace(known, transitions=known.transitions + counts)
