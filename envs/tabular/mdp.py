"""Tabular Markov decision processes with a finite horizon: the arrays, and a named problem.

Axes: H steps, S states, A actions. Policies are probabilities f[H, S, A]; rewards are known and lie
in [0, 1]; every episode has exactly H steps (what terminates early is padded with an absorbing
state). Spec section 2.1.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from flax import struct


@struct.dataclass
class TabularMDP:
    """One problem as a pytree, so that one program is vmapped over problems.

    Attributes:
      transition: f[H, S, A, S], probability of the next state.
      reward: f[H, S, A], expected reward, in [0, 1].
      initial: f[S], law of the first state.
    """

    transition: jax.Array
    reward: jax.Array
    initial: jax.Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, S, A)."""
        return self.horizon, self.num_states, self.num_actions

    @property
    def horizon(self) -> int:
        """H, steps of an episode."""
        return self.reward.shape[-3]

    @property
    def num_states(self) -> int:
        """S."""
        return self.reward.shape[-2]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.reward.shape[-1]

    @property
    def stationary(self) -> bool:
        """Whether transitions are the same at every step, so that counts may be pooled."""
        transition = np.asarray(self.transition)
        return bool((transition == transition[:1]).all())


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem with its name, its baseline policy and the scale of its original rewards.

    Attributes:
      name: For tables and figures.
      mdp: Rewards mapped to [0, 1] by `(r - reward_min) / (reward_max - reward_min)`.
      baseline: f[H, S, A], the policy in production, or None where the problem has none.
      reward_min: Original reward that became 0.
      reward_max: Original reward that became 1.
    """

    name: str
    mdp: TabularMDP
    baseline: jax.Array | None = None
    reward_min: float = 0.0
    reward_max: float = 1.0

    def value_in_original_units(self, value):
        """Maps values f[...] of whole episodes back to the units of the original rewards."""
        return value * (self.reward_max - self.reward_min) + self.mdp.horizon * self.reward_min

    @property
    def stationary(self) -> bool:
        """Whether the transitions are the same at every step, so that counts may be pooled."""
        return self.mdp.stationary
