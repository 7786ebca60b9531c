"""Utilities, the planner's objective, and rewards, which are their changes.

Source: AI Economist, arXiv 2108.02755, official code; spec sections 2.1 and 2.4.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.economy import utility, welfare
from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import MetaState, State
from ai_econ_jax.envs.gather_trade_build.world import World


def labor_weight(meta: MetaState, params: Params, world: World) -> jax.Array:
    """Progress of the warm-up of labor costs, f32[] in [0, 1]."""
    by_episodes = world.config.warmup_method == "decay"
    count = meta.completions if by_episodes else meta.productive_steps
    constant = params.warmup_constant
    is_warming = constant > 0
    return jnp.where(is_warming, -jnp.expm1(-count / jnp.where(is_warming, constant, 1.0)), 1.0)


def evaluate(state: State, params: Params, world: World) -> tuple[jax.Array, jax.Array]:
    """Utility of each worker f32[N], and the planner's objective f32[]."""
    coin = state.total_coin
    labor_cost = params.labor_cost * labor_weight(state.meta, params, world)
    utilities = utility.isoelastic(coin, state.labor, params.eta, labor_cost)
    config = world.config
    goal = welfare.welfare_function(config.planner_goal)(coin, coin, utilities, config.gini_mode)
    if config.planner_goal == "equality_times_productivity":
        productivity = welfare.productivity(coin, coin, utilities)
        goal = params.equality_weight * goal + (1.0 - params.equality_weight) * productivity
    return utilities, goal


def give_rewards(state: State, params: Params, world: World) -> tuple[State, PerRole]:
    """Rewards of the step that led to ``state``: each objective now minus the one stored.

    What is stored was computed with the labor weight of its own time.
    """
    utilities, goal = evaluate(state, params, world)
    rewards = PerRole(workers=utilities - state.utility, planner=goal - state.welfare)
    is_productive = jnp.mean(rewards.workers) > 0
    meta = dataclasses.replace(
        state.meta, productive_steps=state.meta.productive_steps + is_productive
    )
    return dataclasses.replace(state, utility=utilities, welfare=goal, meta=meta), rewards
