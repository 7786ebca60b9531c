"""Named experiments in gather-trade-build; the first is the default of the launcher."""

from __future__ import annotations

import dataclasses
from typing import Any

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
            learning_rate=1.5e-3,
            schedule="linear",
            gamma=0.995,
            lambda_=0.95,
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
        phase1_steps=2_560_000,
        phase2_steps=204_800,
        labor_warmup=1000.0,
        tax_cap_warmup=-1.0,  # a tenth, and a tenth more with each of the few episodes
        tax_cap_slope=0.1,
    ),
    tax_models=("free_market", "us_federal", "flat", "saez", "planner"),
    flat_rates=(0.5,),
    updates_per_segment=40,  # of 1,000 and 80 updates; a remainder would be a program of its own
    num_evaluation_episodes=32,
)
_PUBLISHED = LearningConfig()


def _in_fewer_episodes(times: float, **fields: Any) -> LearningConfig:
    """The published learning where an environment plays ``times`` fewer episodes.

    Curricula count in steps and episodes of single environments.
    """
    return dataclasses.replace(
        _PUBLISHED,
        phase2_steps=100_000_000,
        labor_warmup=_PUBLISHED.labor_warmup / times,
        tax_cap_warmup=_PUBLISHED.tax_cap_warmup / times,
        tax_cap_slope=_PUBLISHED.tax_cap_slope * times,
        **fields,
    )


# One large accelerator: E4, the four tax models of the published figure.
_PAPER = ExperimentConfig(
    learning=_in_fewer_episodes(1024 / 30, num_environments=1024, shuffle_blocks=16),
    tax_models=("free_market", "us_federal", "saez", "planner"),
)
_TINY = TowerConfig(map_encoder="dense", map_width=4, hidden=(8,), memory="none")

PRESETS = {
    # Two CPU cores, a quarter of an hour: E3.
    "quick": _QUICK,
    "paper": _PAPER,
    # The same at a thousandth of its steps, for a CPU: every part of it runs, nothing is learned.
    "paper_rehearsal": dataclasses.replace(
        _PAPER,
        learning=dataclasses.replace(
            _in_fewer_episodes(1000 * 8 / 30, num_environments=8, shuffle_blocks=4),
            phase1_steps=25_000,
            phase2_steps=100_000,
        ),
        num_evaluation_episodes=8,
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
