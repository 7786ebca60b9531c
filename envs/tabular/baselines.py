"""Baseline policies to be safe with: a table, softmax of the optimum, or its second-best action."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ai_econ_jax.envs.tabular import dynamic_programming
from ai_econ_jax.envs.tabular.mdp import TabularMDP
from ai_econ_jax.envs.tabular.problem import ProblemError, policy_from_table

NAMES = ("boltzmann", "rank2")


def make_baseline(mdp: TabularMDP, baseline: str | npt.ArrayLike, eta: float = 10.0) -> jax.Array:
    """A baseline policy f[H, S, A] by name or from a table.

    Args:
      mdp: The problem.
      baseline: An entry of `NAMES`, or a table as in `policy_from_table`.
      eta: Inverse temperature of `boltzmann`.

    Raises:
      ProblemError: Unknown name, or a table that does not fit.
    """
    if not isinstance(baseline, str):
        return policy_from_table("baseline", baseline, mdp.shape)
    if baseline == "boltzmann":
        return boltzmann(mdp, eta)
    if baseline == "rank2":
        return second_best(mdp)
    raise ProblemError(f"baseline {baseline!r} is unknown; valid: {', '.join(NAMES)}")


def boltzmann(mdp: TabularMDP, eta: float) -> jax.Array:
    """`softmax(eta Q*_h(s, .))`, f[H, S, A]."""
    if not (np.isfinite(eta) and eta >= 0):
        raise ProblemError(f"eta is {eta:g}: must be finite, 0 or more")
    _, q, _ = dynamic_programming.optimal(mdp)
    return jax.nn.softmax(eta * q, axis=-1)


def second_best(mdp: TabularMDP) -> jax.Array:
    """The action with the second-highest `Q*_h(s, .)`, one-hot f[H, S, A].

    Of equal actions the lower counts as the better one. With one action it is that one.
    """
    _, q, _ = dynamic_programming.optimal(mdp)
    by_rank = jnp.argsort(-q, axis=-1, stable=True)
    return jax.nn.one_hot(by_rank[..., min(1, mdp.num_actions - 1)], mdp.num_actions, dtype=q.dtype)
