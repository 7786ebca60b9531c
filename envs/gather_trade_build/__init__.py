"""Gather-trade-build, the published economy of the AI Economist, as a pure function.

Workers gather wood and stone on a map, trade them in a continuous double auction, and build houses
for coin; a planner taxes their incomes by brackets, and tax revenue is shared out.
"""

from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.gather_trade_build.config import Config
from ai_econ_jax.envs.gather_trade_build.environment import GatherTradeBuild
from ai_econ_jax.envs.gather_trade_build.params import Params, make_params
from ai_econ_jax.envs.gather_trade_build.state import (
    Events,
    MetaState,
    PlannerObservation,
    ResetNoise,
    State,
    StepNoise,
    WorkerObservation,
)

__all__ = [
    "Config",
    "Events",
    "GatherTradeBuild",
    "MetaState",
    "Params",
    "PerRole",
    "PlannerObservation",
    "ResetNoise",
    "State",
    "StepNoise",
    "WorkerObservation",
    "make_params",
]
