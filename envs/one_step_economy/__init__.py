"""The one-step economy: a planner sets bracket rates, workers choose hours, tax is shared out.

The public surface of the exact economics; each name's home is one file of this folder.
"""

from ai_econ_jax.envs.one_step_economy.best_response import Response, equilibrium, respond
from ai_econ_jax.envs.one_step_economy.flat_tax import (
    FlatOptimum,
    best_flat_tax,
    continuous_equality_productivity_rate,
    continuous_inverse_income_rate,
)
from ai_econ_jax.envs.one_step_economy.optimum import BracketOptimum, Frontier, bracket_optimum
from ai_econ_jax.envs.one_step_economy.outcome import Outcome, outcome_of, utility_of
from ai_econ_jax.envs.one_step_economy.params import (
    MAX_HOURS,
    UTILITIES,
    EconomyParams,
    make_params,
)
from ai_econ_jax.envs.one_step_economy.reference import REFERENCE_ECONOMIES, reference_economy
from ai_econ_jax.envs.one_step_economy.saez_fixed_point import SaezFixedPoint, iterate_saez

__all__ = [
    "MAX_HOURS",
    "REFERENCE_ECONOMIES",
    "UTILITIES",
    "BracketOptimum",
    "EconomyParams",
    "FlatOptimum",
    "Frontier",
    "Outcome",
    "Response",
    "SaezFixedPoint",
    "best_flat_tax",
    "bracket_optimum",
    "continuous_equality_productivity_rate",
    "continuous_inverse_income_rate",
    "equilibrium",
    "iterate_saez",
    "make_params",
    "outcome_of",
    "reference_economy",
    "respond",
    "utility_of",
]
