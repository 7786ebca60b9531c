"""A baseline learned from offline data by pessimistic value iteration, with a certificate.

VI-LCB plans for the worst law that the data allow. Its lower bound of its own policy's value is the
certificate: where it reaches gamma, the policy is a baseline that StepMix may start from, with the
probability that the confidence set promises. Spec section 2.6.

Axes: H steps, X next states, S states, A actions, B datasets, always last.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.agents.stepmix import confidence
from ai_econ_jax.agents.stepmix.confidence import Sizes
from ai_econ_jax.envs.tabular.mdp import TabularMDP
from ai_econ_jax.envs.tabular.trajectories import Trajectories, count_transitions


class BaselineNotCertified(ValueError):
    """The data do not prove that the learned baseline is worth gamma.

    Attributes:
      certificate: What they prove it to be worth.
    """

    def __init__(self, certificate: float, gamma: float, num_episodes: int):
        super().__init__(
            f"the baseline learned from {num_episodes} trajectories is certified for "
            f"{certificate:.6g}, gamma is {gamma:.6g}: give more data, a lower gamma, or "
            "--allow_uncertified"
        )
        self.certificate = certificate


@dataclasses.dataclass(frozen=True)
class OfflineBaseline:
    """A learned baseline.

    Attributes:
      policy: f[H, S, A], one-hot.
      certificate: Lower bound of its value, in rewards of [0, 1].
      certified: Whether the certificate reaches gamma.
      transitions: f[H or 1, X, S, A], the counts of the data, for `run`'s ``initial_transitions``.
    """

    policy: jax.Array
    certificate: float
    certified: bool
    transitions: np.ndarray


def split_delta(delta: float, warm_start: bool) -> tuple[float, float]:
    """What the offline and the online confidence sets may each fail with, `delta` together.

    With a warm start the online sets hold all data, the offline ones too, and hold at all times at
    once: one and the same event, so it is paid for once. Else half each.
    """
    return (delta, delta) if warm_start else (delta / 2, delta / 2)


def learn_baseline(
    data: Trajectories,
    mdp: TabularMDP,
    gamma: float,
    *,
    delta: float,
    bonus: str = "kl",
    bonus_scale: float = 1.0,
    stationary: bool = False,
    allow_uncertified: bool = False,
) -> OfflineBaseline:
    """Learns a baseline from trajectories of unknown behaviour.

    Args:
      data: The trajectories.
      mdp: Of it, only sizes, rewards and the law of the first state are read, which are known.
      gamma: What the baseline must be certified for, in rewards of [0, 1].
      delta: Chance that the certificate is wrong, of the rigorous confidence sets.
      bonus: The confidence set, a name of `confidence.PRESETS`.
      bonus_scale: As in `RunConfig`.
      stationary: Pool counts over steps; valid where the law does not depend on the step.
      allow_uncertified: Return a baseline whose certificate falls short of gamma.

    Raises:
      BaselineNotCertified: The certificate falls short, and that was not allowed.
    """
    horizon, num_states, num_actions = mdp.shape
    transitions = step_counts(data, mdp, stationary)
    cells = num_states * num_actions * len(transitions)
    sizes = Sizes(cells, num_states, horizon, delta, bonus_scale)
    policy, values = pessimistic_policy(
        bonus, sizes, mdp.reward, jnp.asarray(transitions, mdp.reward.dtype)[..., None]
    )
    certificate = float(jnp.sum(mdp.initial * values[0, :, 0]))
    if certificate < gamma and not allow_uncertified:
        raise BaselineNotCertified(certificate, gamma, len(data.actions))
    return OfflineBaseline(policy[..., 0], certificate, certificate >= gamma, transitions)


def step_counts(data: Trajectories, mdp: TabularMDP, stationary: bool) -> np.ndarray:
    """Counts f[H, X, S, A] of the transitions in `data`; f[1, X, S, A] if pooled over steps."""
    counts = np.moveaxis(count_transitions(data, mdp.num_states, mdp.num_actions), -1, 1)
    return counts.sum(0, keepdims=True) if stationary else counts


@functools.partial(jax.jit, static_argnums=(0, 1))
def pessimistic_policy(
    bonus: str, sizes: Sizes, reward: jax.Array, transitions: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """VI-LCB: `L_h(s) = max_a [r_h(s, a) + lower(L_{h+1})]`, and the policy that attains it.

    With the preset `zero`, plain greedy planning on the empirical laws.

    Args:
      bonus: The confidence set, a name of `confidence.PRESETS`.
      sizes: What it depends on.
      reward: f[H, S, A].
      transitions: f[H or 1, X, S, A, B], counts; one step where they are pooled over steps.

    Returns:
      The policy f[H, S, A, B], one-hot with the lowest action on ties, and its lower values
      f[H + 1, S, B].
    """
    confidence_set = confidence.PRESETS[bonus](sizes)
    known = confidence.estimate(confidence_set, transitions)
    horizon, num_states, num_actions = reward.shape

    def back(values, step):
        high, low = values
        cells = jax.tree.map(lambda x: x[jnp.minimum(step, x.shape[0] - 1)], known)
        ahead = high[:, None, None], low[:, None, None]  # [X, 1, 1, B]
        reach = (horizon - 1 - step).astype(reward.dtype)
        paid = reward[step][..., None]
        q = paid + confidence.lower(confidence_set, cells, *ahead, reach)
        chosen = jax.nn.one_hot(q.argmax(1), num_actions, axis=1, dtype=q.dtype)
        low = q.max(1)
        high = low
        if confidence_set.paired:
            upper = paid + confidence.upper(confidence_set, cells, *ahead, reach)
            high = (chosen * upper).sum(1)
        return (high, low), (chosen, low)

    end = jnp.zeros((num_states, transitions.shape[-1]), reward.dtype)
    _, (policy, values) = jax.lax.scan(back, (end, end), jnp.arange(horizon), reverse=True)
    return policy, jnp.concatenate([values, end[None]])
