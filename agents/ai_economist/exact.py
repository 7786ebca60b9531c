"""The comparison without learning: exact best responses to every tax model that is no planner."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.agents.ai_economist.compare import COMPARED, Comparison, TaxModelResult
from ai_econ_jax.agents.ai_economist.experiment import (
    WELFARE_NAMES,
    ExperimentConfig,
    build_economy,
    fixed_schedules,
)
from ai_econ_jax.envs.one_step_economy import Outcome, bracket_optimum, equilibrium


def exact_comparison(config: ExperimentConfig) -> Comparison:
    """A comparison of one "seed" with exact best responses in float64; nothing learns.

    Raises:
      ValueError: The economy has no exact optimum (isoelastic utility, or too many schedules).
    """
    economy = build_economy(config.economy)
    optimum = bracket_optimum(economy, config.rate_step)
    schedules = fixed_schedules(economy, config.rate_step)
    with jax.enable_x64(True):
        precise = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), economy)
        play = jax.jit(equilibrium)
        outcomes = {
            name: jax.device_get(play(precise, jnp.asarray(rates)))
            for name, rates in schedules.items()
        }
    models = {}
    for name in COMPARED:
        keys = [key for w in WELFARE_NAMES if (key := _key(name, w)) in schedules]
        if keys:
            models[name] = _result([schedules[k] for k in keys], [outcomes[k] for k in keys])
    free = outcomes["free_market"].welfare
    return Comparison(
        economy=economy,
        models=models,
        optimum=optimum,
        exact_free_market={name: float(value) for name, value in free.items()},
        rows={},
    )


def _key(tax_model: str, welfare_name: str) -> str:
    return f"flat/{welfare_name}" if tax_model == "flat" else tax_model


def _result(rates: list[np.ndarray], outcomes: list[Outcome]) -> TaxModelResult:
    """One tax model from its schedule and outcome for each welfare function."""

    def stack(values: list[Any]) -> np.ndarray:
        return np.stack(values)[None].astype(np.float64)

    welfare = stack([o.welfare[w] for o, w in zip(outcomes, WELFARE_NAMES, strict=True)])
    return TaxModelResult(
        rates=stack(rates),
        hours=stack([outcome.hours for outcome in outcomes]),
        production=stack([outcome.production for outcome in outcomes]),
        coin=stack([outcome.coin for outcome in outcomes]),
        utility=stack([outcome.utility for outcome in outcomes]),
        equality=stack([outcome.equality for outcome in outcomes]),
        welfare=welfare,
        exact_welfare=welfare,
    )
