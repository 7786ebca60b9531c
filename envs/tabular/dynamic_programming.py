"""Exact values, optimal policies and occupancies by dynamic programming.

`V_H = 0`, `Q_h(s, a) = r_h(s, a) + sum_s' P_h(s'|s, a) V_{h+1}(s')`; `V_h` is the maximum of `Q_h`
(`optimal`) or its mean under a policy (`evaluate`). Pure, for jit and vmap. Spec section 2.1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.tabular.mdp import TabularMDP


def backup(transition: jax.Array, reward: jax.Array, next_value: jax.Array) -> jax.Array:
    """One step back, `r + P V`: f[..., S, A] from f[..., S, A, S], f[..., S, A] and f[S]."""
    # Not a matrix product: that rounds equal rows differently, so that ties break by chance, and on
    # accelerators it is done in fewer bits.
    return reward + (transition * next_value).sum(-1)


@jax.jit
def optimal(mdp: TabularMDP) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Backward induction.

    Returns:
      Optimal values f[H + 1, S] (the last row is 0), action values f[H, S, A], and a deterministic
      optimal policy as one-hot rows f[H, S, A]; ties go to the lowest action.
    """

    def step(next_value: jax.Array, inputs: tuple[jax.Array, jax.Array]):
        q = backup(*inputs, next_value)
        return q.max(-1), (q.max(-1), q)

    end = jnp.zeros_like(mdp.initial)
    _, (values, q) = jax.lax.scan(step, end, (mdp.transition, mdp.reward), reverse=True)
    policy = jax.nn.one_hot(q.argmax(-1), mdp.num_actions, dtype=q.dtype)
    return jnp.concatenate([values, end[None]]), q, policy


@jax.jit
def evaluate(mdp: TabularMDP, policy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Values f[H + 1, S] and action values f[H, S, A] of a policy f[H, S, A]."""

    def step(next_value: jax.Array, inputs: tuple[jax.Array, jax.Array, jax.Array]):
        transition, reward, probabilities = inputs
        q = backup(transition, reward, next_value)
        value = (probabilities * q).sum(-1)
        return value, (value, q)

    end = jnp.zeros_like(mdp.initial)
    inputs = (mdp.transition, mdp.reward, policy)
    _, (values, q) = jax.lax.scan(step, end, inputs, reverse=True)
    return jnp.concatenate([values, end[None]]), q


@jax.jit
def value(mdp: TabularMDP, policy: jax.Array) -> jax.Array:
    """Expected return f[] of a policy f[H, S, A], `mu . V_0`."""
    values, _ = evaluate(mdp, policy)
    return jnp.sum(mdp.initial * values[0])


@jax.jit
def occupancy(mdp: TabularMDP, policy: jax.Array) -> jax.Array:
    """Probability f[H, S, A] of being in s and taking a at step h; each step sums to 1."""

    def step(state_law: jax.Array, inputs: tuple[jax.Array, jax.Array]):
        transition, probabilities = inputs
        visited = state_law[:, None] * probabilities
        return (visited[..., None] * transition).sum((0, 1)), visited

    _, visited = jax.lax.scan(step, mdp.initial, (mdp.transition, policy))
    return visited
