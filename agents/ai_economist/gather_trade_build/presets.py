"""Named experiments in gather-trade-build; the first is the default of the launcher."""

from __future__ import annotations

import dataclasses

from ai_econ_jax.agents.ai_economist.gather_trade_build.config import LearningConfig, RoleConfig
from ai_econ_jax.agents.ai_economist.gather_trade_build.experiment import (
    EconomyConfig,
    ExperimentConfig,
)
from ai_econ_jax.agents.ai_economist.gather_trade_build.networks import TowerConfig

# For a CPU: a third of a percent of the published networks' arithmetic, and no memory.
_LIGHT_WORKERS = TowerConfig(map_encoder="dense", map_width=32, hidden=(64,), memory="none")
_LIGHT_PLANNER = TowerConfig(hidden=(64,), memory="none")

_QUICK = ExperimentConfig(
    economy=EconomyConfig(layout="env-pure_and_mixed-15x15", episode_length=400, tax_period=40),
    learning=LearningConfig(
        workers=RoleConfig(
            tower=_LIGHT_WORKERS,
            learning_rate=1e-3,
            value_coefficient=0.5,
            num_epochs=2,
            num_minibatches=4,
            reward_scale=0.1,
        ),
        planner=RoleConfig(
            tower=_LIGHT_PLANNER,
            learning_rate=3e-3,
            value_coefficient=0.5,
            entropy_start=0.5,
            entropy_end=0.02,
            entropy_steps=100_000,
            num_epochs=4,
            num_minibatches=1,
            reward_scale=0.1,
        ),
        planner_acts="decisions",
        num_environments=64,
        steps_per_update=40,
        unroll=40,
        shuffle_blocks=4,
        phase1_steps=1_228_800,
        phase2_steps=204_800,
        labor_warmup=1000.0,
        tax_cap_warmup=-1.0,  # a tenth, and a tenth more with each of the few episodes
        tax_cap_slope=0.1,
    ),
    tax_models=("free_market", "us_federal", "flat", "saez", "searched", "planner"),
    flat_rates=(0.5,),
    num_evaluation_episodes=32,
)
# Curricula count in single environments, of which the published run had 30.
_TIMES_PUBLISHED = 1024 / 30
_PUBLISHED = LearningConfig()
_PAPER_LEARNING = dataclasses.replace(
    _PUBLISHED,
    num_environments=1024,
    shuffle_blocks=16,
    phase2_steps=100_000_000,
    labor_warmup=_PUBLISHED.labor_warmup / _TIMES_PUBLISHED,
    tax_cap_warmup=_PUBLISHED.tax_cap_warmup / _TIMES_PUBLISHED,
    tax_cap_slope=_PUBLISHED.tax_cap_slope * _TIMES_PUBLISHED,
)
_TINY = TowerConfig(map_encoder="dense", map_width=4, hidden=(8,), memory="none")

PRESETS = {
    # Two CPU cores, a quarter of an hour: E3.
    "quick": _QUICK,
    # One large accelerator: E4, the four tax models of the published figure.
    "paper": ExperimentConfig(
        learning=_PAPER_LEARNING, tax_models=("free_market", "us_federal", "saez", "planner")
    ),
    # The published sample budget, batch and networks.
    "paper_full": ExperimentConfig(),
    # Seconds, for tests: it learns nothing.
    "smoke": dataclasses.replace(
        _QUICK,
        economy=EconomyConfig(layout="env-pure_and_mixed-15x15", episode_length=8, tax_period=4),
        learning=dataclasses.replace(
            _QUICK.learning,
            workers=RoleConfig(tower=_TINY, num_epochs=1, num_minibatches=2),
            planner=RoleConfig(tower=_TINY, num_epochs=1, num_minibatches=1),
            num_environments=4,
            steps_per_update=4,
            unroll=4,
            shuffle_blocks=2,
            phase1_steps=64,
            phase2_steps=64,
            tax_cap_warmup=-1e9,
        ),
        num_seeds=2,
        updates_per_segment=2,
        num_evaluation_episodes=2,
    ),
}
