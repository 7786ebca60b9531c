"""The trace of a learner that plays policies in blocks of episodes, scored as all others are.

For the baselines that are no closed form of a plan. Axes: T blocks, B seeds.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ai_econ_jax.agents.stepmix.run import CURVES, LAST_EPISODES, TOLERANCE, Trace


@dataclasses.dataclass(frozen=True)
class Blocks:
    """What was played, a policy per block, and its exact worth.

    Attributes:
      length: i64[T], episodes of each block, the same for all seeds.
      gap: f64[T, B], best value minus the value of the policy played.
      excess: f64[T, B], by how much it violates: gamma - V, or the cost beyond the budget.
      level: f64[T, B], steps given to the baseline.
      upper: f64[T, B], the learner's upper bound of the best value.
    """

    length: np.ndarray
    gap: np.ndarray
    excess: np.ndarray
    level: np.ndarray
    upper: np.ndarray


def trace_of_blocks(
    blocks: Blocks, horizon: int, transitions: np.ndarray | None, seconds: float
) -> Trace:
    """Sums blocks up.

    Args:
      blocks: What was played.
      horizon: H.
      transitions: f[H or 1, X, S, A, B], counts of all episodes, or None.
      seconds: Wall-clock time.

    Returns:
      A trace with one point per block; no learner of this kind guarantees a value.
    """
    end = np.cumsum(blocks.length)
    start, total = end - blocks.length, int(end[-1])

    def episodes_from(first: int) -> np.ndarray:
        return np.maximum(end - np.maximum(start, first), 0)[:, None]

    def first_block(marked: np.ndarray) -> np.ndarray:
        return np.where(marked.any(0), start[marked.argmax(0)], -1)

    violating = blocks.length[:, None] * (blocks.excess > TOLERANCE * horizon)
    last = min(total, LAST_EPISODES)
    curves = {
        "regret": np.cumsum(blocks.length[:, None] * blocks.gap, 0),
        "violations": np.cumsum(violating, 0),
        "gap": blocks.gap,
        "level": blocks.level,
        "upper": blocks.upper,
        "guaranteed": np.full_like(blocks.gap, -np.inf),
    }
    none = np.zeros(blocks.gap.shape[1], np.int64)
    return Trace(
        episode=end,
        curves={name: curves[name] for name in CURVES},
        regret=curves["regret"][-1],
        second_half_regret=(episodes_from(total // 2) * blocks.gap).sum(0),
        last_gap=(episodes_from(total - last) * blocks.gap).sum(0) / last,
        violations=violating.sum(0),
        drawn_violations=none,
        broken_certificates=none,
        shortfall=blocks.excess.max(0),
        leave=first_block(blocks.level < horizon),
        full=first_block(blocks.level == 0),
        transitions=transitions,
        seconds=seconds,
    )
