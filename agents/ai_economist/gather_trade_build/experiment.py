"""An experiment in gather-trade-build: the economy, the tax models, the seeds, learning.

A lane is one tax model as workers meet it: an environment, its parameters, and a planner or none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.ai_economist.gather_trade_build.config import LearningConfig
from ai_econ_jax.agents.ai_economist.gather_trade_build.learner import TwoLevel
from ai_econ_jax.envs.economy import brackets, skills, welfare
from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, Params, make_params

WELFARE_NAMES = tuple(welfare.WELFARE_FUNCTIONS)
TAX_MODELS = (
    "free_market",
    "us_federal",
    "flat",
    "saez",
    "saez_tuned",
    "full_redistribution",
    "random_planner",
    "searched",
    "planner",
    "fixed",
)
# What `compare` can compare; `fixed` is a schedule that a user gives.
COMPARABLE = TAX_MODELS[:-1]


@dataclasses.dataclass(frozen=True)
class EconomyConfig:
    """The economy; the defaults are the published four workers on the open quadrant.

    Attributes:
      num_workers: N.
      layout: Name of a published layout.
      layout_file: Path of a layout file instead; empty for none.
      episode_length: In steps.
      tax_period: In steps.
      fixed_four: Skill groups that start in four corners; else skills and places are random.
      skills: Multipliers of the payment by skill rank, comma-separated, or the path of a one-column
        CSV; empty for the published ones. They need ``fixed_four``.
      payment: Coin for a house at skill 1.
      labor_cost: Utility per unit of labor.
      eta: Curvature of utility.
      regeneration: Probability per step that an empty source grows a unit.
      observation_radius: Cells that a worker sees in each direction.
      gini_mode: ``foundation`` is the official formula, ``exact`` the textbook's.
    """

    num_workers: int = 4
    layout: str = "quadrant_25x25_20each_30clump"
    layout_file: str = ""
    episode_length: int = 1000
    tax_period: int = 100
    fixed_four: bool = True
    skills: str = ""
    payment: float = 10.0
    labor_cost: float = 0.21
    eta: float = 0.23
    regeneration: float = 0.01
    observation_radius: int = 5
    gini_mode: str = "foundation"

    def validate(self) -> None:
        """Check what the environment does not check itself."""
        config_lib.check_range("num_workers", self.num_workers, 2, 100)
        config_lib.check_range("episode_length", self.episode_length, 1)
        config_lib.check(
            self.tax_period >= 1 and self.episode_length % self.tax_period == 0,
            "tax_period",
            self.tax_period,
            f"must divide episode_length = {self.episode_length}",
        )
        config_lib.check(
            self.fixed_four or not self.skills, "skills", self.skills, "need fixed_four = True"
        )


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides the numbers of a run.

    Attributes:
      economy: The economy.
      learning: Two-level learning.
      welfare: The planner's goal, and what the best flat tax and the tuned Saez formula are best
        for; tables show all six functions.
      tax: The tax model of phase 2 in mode train, and of mode eval; see ``TAX_MODELS``.
      rates: With tax = fixed, one per bracket; with tax = flat, one number.
      tax_models: What mode compare compares.
      flat_rates: The rates that the best flat tax is chosen from.
      saez_elasticities: The elasticities that the tuned Saez formula is chosen from.
      seed: The first seed.
      num_seeds: S.
      updates_per_segment: Between checkpoints and log lines.
      num_evaluation_episodes: Per seed and tax model; at most ``learning.num_environments``.
    """

    economy: EconomyConfig = EconomyConfig()
    learning: LearningConfig = LearningConfig()
    welfare: str = "equality_times_productivity"
    tax: str = "planner"
    rates: tuple[float, ...] = ()
    tax_models: tuple[str, ...] = COMPARABLE
    flat_rates: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75)
    saez_elasticities: tuple[float, ...] = (0.25, 1.0, 3.0)
    seed: int = 0
    num_seeds: int = 3
    updates_per_segment: int = 50
    num_evaluation_episodes: int = 16

    def validate(self) -> None:
        """Check names and ranges."""
        config_lib.check_one_of("welfare", self.welfare, WELFARE_NAMES)
        config_lib.check_one_of("tax", self.tax, TAX_MODELS)
        for name in self.tax_models:
            config_lib.check_one_of("tax_models", name, COMPARABLE)
        for rate in (*self.rates, *self.flat_rates):
            config_lib.check_range("rates and flat_rates", rate, 0.0, 1.0)
        for elasticity in self.saez_elasticities:
            config_lib.check_range("saez_elasticities", elasticity, 0.0)
        config_lib.check_range("seed", self.seed, 0, 2**31 - 1)
        config_lib.check_range("num_seeds", self.num_seeds, 1, 4096)
        config_lib.check_range("updates_per_segment", self.updates_per_segment, 1, 1_000_000)
        config_lib.check_range(
            "num_evaluation_episodes",
            self.num_evaluation_episodes,
            1,
            self.learning.num_environments,
        )


class Lane(NamedTuple):
    """One tax model in one setting. ``name`` is that of its stage and work directory."""

    name: str
    tax_model: str  # an entry of TAX_MODELS
    env_tax: str = "fixed"  # the environment's tax model
    planner_kind: str = "none"
    rates: tuple[float, ...] | None = None
    elasticity: float | None = None
    redistributes: bool = False


def lanes(config: ExperimentConfig, tax_model: str) -> list[Lane]:
    """The lanes of one tax model: several where the best of several settings is chosen."""
    per_bracket = len(brackets.US_FEDERAL_RATES)
    simple = {
        "free_market": Lane("free_market", "free_market", rates=(0.0,) * per_bracket),
        "us_federal": Lane("us_federal", "us_federal", rates=tuple(brackets.US_FEDERAL_RATES)),
        "saez": Lane("saez", "saez", env_tax="saez"),
        "full_redistribution": Lane(
            "full_redistribution",
            "full_redistribution",
            rates=(0.0,) * per_bracket,
            redistributes=True,
        ),
        "random_planner": Lane("random_planner", "random_planner", "planner", "random"),
        "searched": Lane("searched", "searched", "planner", "search"),
        "planner": Lane("planner", "planner", "planner", "learned"),
    }
    if tax_model in simple:
        return [simple[tax_model]]
    if tax_model == "flat":
        return [
            Lane(f"flat_{100 * rate:g}", "flat", rates=(rate,) * per_bracket)
            for rate in config.flat_rates
        ]
    if tax_model == "fixed":
        rates = brackets.validate_rates(config.rates, per_bracket)
        return [Lane("fixed", "fixed", rates=tuple(rates.tolist()))]
    return [
        Lane(f"saez_tuned_{elasticity:g}", "saez_tuned", env_tax="saez", elasticity=elasticity)
        for elasticity in config.saez_elasticities
    ]


def build_environment(config: ExperimentConfig, lane: Lane) -> GatherTradeBuild:
    """The environment of a lane; what workers see has the same shapes in all.

    Raises:
      ValueError: An economy that cannot be.
      FileNotFoundError: No such layout file.
    """
    economy = config.economy
    components: tuple[str, ...] = ("build", "trade", "gather", "tax")
    if lane.redistributes:
        components = (*components, "wealth_redistribution")
    return GatherTradeBuild(
        Config(
            num_workers=economy.num_workers,
            layout=economy.layout,
            layout_file=economy.layout_file,
            episode_length=economy.episode_length,
            components=components,
            observation_radius=economy.observation_radius,
            fixed_four=economy.fixed_four,
            tax_model=lane.env_tax,
            planner_goal=config.welfare,
            gini_mode=economy.gini_mode,
            warmup_method="auto",
        )
    )


def build_params(
    config: ExperimentConfig, environment: GatherTradeBuild, lane: Lane, phase: int
) -> Params:
    """Parameters in phase 1 or 2: labor costs warm up in 1, the cap on rates lifts in 2."""
    economy, learning = config.economy, config.learning
    curricula = not learning.single_phase
    warms_up = phase == 1 and curricula and learning.use_labor_warmup
    is_capped = phase == 2 and curricula
    return make_params(
        environment.config,
        payment=economy.payment,
        skills=skills.parse_skills(economy.skills) if economy.skills else None,
        labor_cost=economy.labor_cost,
        eta=economy.eta,
        regeneration=economy.regeneration,
        tax_period=economy.tax_period,
        warmup_constant=learning.labor_warmup if warms_up else 0.0,
        fixed_rates=lane.rates,
        cap_schedule=(learning.tax_cap_warmup, learning.tax_cap_slope) if is_capped else None,
        saez_elasticity=lane.elasticity,
    )


def build_learner(config: ExperimentConfig, lane: Lane, phase: int) -> TwoLevel:
    """The learner of a lane in phase 1 or 2."""
    return TwoLevel(
        config.learning,
        build_environment(config, lane),
        config.learning.updates(phase),
        lane.planner_kind,
        config.economy.tax_period,
    )


def stage_keys(config: ExperimentConfig, stage: int) -> jax.Array:
    """One key per seed, ``key[S]``; stages draw from streams of their own.

    A seed's keys do not depend on how many run beside it.
    """
    keys = jax.vmap(jax.random.key)(config.seed + np.arange(config.num_seeds))
    return jax.vmap(jax.random.fold_in, (0, None))(keys, stage)


def init_states(
    config: ExperimentConfig, learner: TwoLevel, params: Params, phase: int, workers: Any = None
) -> Any:
    """States [S, ...] of a stage; ``workers`` are parameters [S, ...] from phase 1."""
    init: Callable = jax.vmap(learner.init, (0, None, None if workers is None else 0))
    return jax.jit(init)(stage_keys(config, phase), params, workers)
