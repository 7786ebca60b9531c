"""Resources grow back where they have their sources, also under workers.

Source: AI Economist, arXiv 2108.02755, official code; spec section 3.7.
"""

import dataclasses

from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import State, StepNoise
from ai_econ_jax.envs.gather_trade_build.world import World


def regenerate(state: State, noise: StepNoise, params: Params, world: World) -> State:
    """Each source without a unit grows one with its resource's probability."""
    sites = world.sites
    kind = sites // (world.height * world.width)
    units = state.resources.reshape(-1)
    grows = noise.regeneration < params.regeneration[kind]
    units = units.at[sites].max(
        grows.astype(units.dtype),
        unique_indices=True,
        indices_are_sorted=True,
        mode="promise_in_bounds",
    )
    return dataclasses.replace(state, resources=units.reshape(state.resources.shape))
