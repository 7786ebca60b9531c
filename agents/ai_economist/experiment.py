"""An experiment in the one-step economy: the economy, the tax models, the seeds, learning."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.ai_economist.config import TwoLevelConfig
from ai_econ_jax.envs.economy import brackets, skills, welfare
from ai_econ_jax.envs.one_step_economy import (
    REFERENCE_ECONOMIES,
    UTILITIES,
    EconomyParams,
    best_flat_tax,
    iterate_saez,
    make_params,
    reference_economy,
)

TAX_MODELS = ("free_market", "us_federal", "flat", "saez", "planner", "fixed")
WELFARE_NAMES = tuple(welfare.WELFARE_FUNCTIONS)


@dataclasses.dataclass(frozen=True)
class EconomyConfig:
    """The economy. A reference economy is complete; ``custom`` reads the fields below it."""

    reference: str = "R1"  # R1, R2 or custom
    num_workers: int = 4  # with the expected published skills; ignored where skills are given
    skills: str = ""  # comma-separated, or the path of a one-column CSV; coin per hour
    labor_cost: float = 0.016
    labor_exponent: float = 2.0
    utility: str = "coin_minus_labor_cost"
    eta: float = 0.23
    gini_mode: str = "exact"
    bracket_spacing: str = "us_federal"
    num_brackets: int = 7  # ignored by us_federal
    top_cutoff: float = 100.0  # coin; ignored by us_federal

    def validate(self) -> None:
        """Check names and ranges; numbers of the economy are checked when it is built."""
        config_lib.check_one_of("reference", self.reference, (*REFERENCE_ECONOMIES, "custom"))
        config_lib.check_range("num_workers", self.num_workers, 2, 1000)
        config_lib.check_one_of("utility", self.utility, UTILITIES)
        config_lib.check_one_of("gini_mode", self.gini_mode, welfare.GINI_MODES)
        config_lib.check_one_of("bracket_spacing", self.bracket_spacing, tuple(brackets.SPACINGS))


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides the numbers of a run."""

    economy: EconomyConfig = EconomyConfig()
    learning: TwoLevelConfig = TwoLevelConfig()
    welfare: str = "inverse_income_utility"  # the planner's goal; compare runs all
    tax: str = "planner"  # the tax model of train and eval; compare runs all
    rates: tuple[float, ...] = ()  # with tax=fixed, one per bracket
    rate_step: float = 0.05
    seed: int = 0  # the first
    num_seeds: int = 5
    updates_per_segment: int = 250  # between checkpoints and log lines

    def validate(self) -> None:
        """Check names and ranges."""
        config_lib.check_one_of("welfare", self.welfare, WELFARE_NAMES)
        config_lib.check_one_of("tax", self.tax, TAX_MODELS)
        config_lib.check_range("num_seeds", self.num_seeds, 1, 4096)
        config_lib.check_range("seed", self.seed, 0, 2**31 - 1)
        config_lib.check_range("updates_per_segment", self.updates_per_segment, 1, 1_000_000)
        brackets.rate_grid(self.rate_step)


def build_economy(config: EconomyConfig) -> EconomyParams:
    """The economy that a config describes.

    Raises:
      ValueError: a value out of range, naming field, value and what is allowed.
      FileNotFoundError: the skills file does not exist.
    """
    if config.reference != "custom":
        return reference_economy(config.reference)
    if config.skills:
        worker_skills = skills.parse_skills(config.skills)
    else:
        worker_skills = skills.expected_order_statistics(config.num_workers)
    return make_params(
        worker_skills,
        brackets.make_cutoffs(config.bracket_spacing, config.num_brackets, config.top_cutoff),
        labor_cost=config.labor_cost,
        labor_exponent=config.labor_exponent,
        eta=config.eta,
        utility=config.utility,
        gini_mode=config.gini_mode,
    )


def fixed_schedules(economy: EconomyParams, rate_step: float) -> dict[str, np.ndarray]:
    """Schedules of the tax models that do not learn: name to rates ``f64[B]``.

    ``flat/<welfare function>`` is the best flat tax for that function; it and ``saez`` (the mean of
    the iterated official formula) are computed with exact best responses, which favours them.
    The US schedule is absent where the brackets are not the US ones, ``saez`` where the utility has
    no elasticity of income.
    """
    num_brackets = economy.num_brackets
    schedules = {"free_market": np.zeros(num_brackets)}
    if np.allclose(economy.cutoffs, brackets.US_FEDERAL_CUTOFFS) if num_brackets == 7 else False:
        schedules["us_federal"] = np.asarray(brackets.US_FEDERAL_RATES)
    if economy.utility == "coin_minus_labor_cost":
        schedules["saez"] = iterate_saez(economy).rates
    for name, flat in best_flat_tax(economy, rate_step).items():
        schedules[f"flat/{name}"] = np.full(num_brackets, flat.rate)
    return schedules


def schedule_of(config: ExperimentConfig, economy: EconomyParams) -> np.ndarray | None:
    """Rates of the config's tax model, ``f64[B]``; None where the planner learns them.

    Raises:
      ValueError: no such schedule in this economy, or ``rates`` do not fit it.
    """
    if config.tax == "planner":
        return None
    if config.tax == "fixed":
        return brackets.validate_rates(config.rates, economy.num_brackets)
    name = f"flat/{config.welfare}" if config.tax == "flat" else config.tax
    schedules = fixed_schedules(economy, config.rate_step)
    if name not in schedules:
        raise ValueError(
            f"tax = {config.tax!r}: us_federal needs bracket_spacing = 'us_federal', saez needs "
            "utility = 'coin_minus_labor_cost'"
        )
    return schedules[name]


def seed_keys(config: ExperimentConfig) -> jax.Array:
    """One key per seed, ``key[S]``; a seed's key does not depend on how many run beside it."""
    return jax.vmap(jax.random.key)(config.seed + np.arange(config.num_seeds))
