"""PPO on a tabular problem: what a learner without model, bounds or safety does with the episodes.

The core's PPO as it is; a linear layer on the one-hot observation makes the policy a softmax table
and the critic a table of values. Every policy played is scored by dynamic programming.
Spec section 4.

Axes: H steps, S states, A actions, T updates, B seeds.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax import ppo
from ai_econ_jax.agents.stepmix.block_score import Blocks, trace_of_blocks
from ai_econ_jax.agents.stepmix.run import Trace
from ai_econ_jax.distributions import masked_categorical
from ai_econ_jax.environment import AutoReset
from ai_econ_jax.envs.tabular import dynamic_programming
from ai_econ_jax.envs.tabular.environment import TabularEnvironment
from ai_econ_jax.envs.tabular.mdp import TabularMDP
from ai_econ_jax.networks import ActorCritic

# Episodes are short and nothing is discounted; a table takes larger steps than a deep network.
HYPERPARAMETERS = ppo.Hyperparameters(
    learning_rate=0.05,
    gamma=1.0,
    lambda_=0.95,
    value_clip=np.inf,
    entropy_coefficient=0.01,
)


def table_network(num_actions: int) -> ActorCritic:
    """Linear policy and critic: on a one-hot observation, two tables."""
    return ActorCritic(num_logits=num_actions, hidden=())


def table_policy(network: ActorCritic, params: Any, shape: tuple[int, int, int]) -> jax.Array:
    """The policy f[H, S, A] of parameters, at every step and state at once."""
    horizon, num_states, _ = shape
    logits = network.apply(params, jnp.eye(horizon * num_states), method="logits")
    return jax.nn.softmax(jnp.asarray(logits)).reshape(shape)


def run_ppo(
    mdp: TabularMDP,
    gamma: float,
    keys: jax.Array,
    episodes: int,
    *,
    episodes_per_update: int = 64,
    hyperparameters: ppo.Hyperparameters = HYPERPARAMETERS,
) -> Trace:
    """Trains PPO for as many episodes as the other algorithms have, all seeds at once.

    Args:
      mdp: The problem.
      gamma: What every episode should be worth, in rewards of [0, 1]; PPO does not know it.
      keys: key[B], one per seed.
      episodes: K. What the last update plays beyond it does not count.
      episodes_per_update: Played by one policy; a multiple of 4.
      hyperparameters: Of PPO.

    Returns:
      The trace, a point per update. Level 0 throughout: there is no baseline in it.
    """
    num_updates = -(-episodes // episodes_per_update)
    lowered = _train.lower(mdp, keys, hyperparameters, num_updates, episodes_per_update)
    train = lowered.compile()
    began = time.perf_counter()
    values = np.asarray(train(mdp, keys, hyperparameters), np.float64).T
    seconds = time.perf_counter() - began
    best = float(mdp.initial @ dynamic_programming.optimal(mdp)[0][0])
    shape = values.shape
    blocks = Blocks(
        length=np.diff(np.minimum(np.arange(num_updates + 1) * episodes_per_update, episodes)),
        gap=best - values,
        excess=gamma - values,
        level=np.zeros(shape),
        upper=np.full(shape, float(mdp.horizon)),
    )
    return trace_of_blocks(blocks, mdp.horizon, None, seconds)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _train(
    mdp: TabularMDP,
    keys: jax.Array,
    hyperparameters: ppo.Hyperparameters,
    num_updates: int,
    episodes_per_update: int,
) -> jax.Array:
    """Exact values f[B, T] of the policies that PPO played."""
    config = ppo.BatchConfig(num_environments=episodes_per_update, num_steps=mdp.horizon)
    network = table_network(mdp.num_actions)
    learner = ppo.make_ppo(
        AutoReset(TabularEnvironment()),
        network,
        lambda logits, observation: masked_categorical(logits),
        config,
        num_updates,
    )

    def one_seed(key: jax.Array) -> jax.Array:
        def update(state: ppo.PPOState, _) -> tuple[ppo.PPOState, jax.Array]:
            played = table_policy(network, state.policy.params, mdp.shape)
            state, _ = learner.update(state)
            return state, dynamic_programming.value(mdp, played)

        state = learner.init(key, hyperparameters, mdp)
        return jax.lax.scan(update, state, length=num_updates)[1]

    return jax.vmap(one_seed)(keys)
