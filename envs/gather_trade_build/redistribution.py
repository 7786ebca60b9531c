"""Full redistribution: everybody owns the same after every step.

Source: AI Economist, arXiv 2108.02755, component ``WealthRedistribution``; spec section 3.6.
"""

import dataclasses

import jax.numpy as jnp

from ai_econ_jax.envs.gather_trade_build.actions import Actions
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import State, StepNoise
from ai_econ_jax.envs.gather_trade_build.world import World


def redistribute(
    state: State, action: Actions, noise: StepNoise, params: Params, world: World
) -> State:
    """Sets coin so that coin with escrow is the same for all (and coin may turn negative)."""
    del action, noise, params, world
    return dataclasses.replace(state, coin=jnp.mean(state.total_coin) - state.escrow_coin)
