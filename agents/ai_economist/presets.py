"""Named experiments in the one-step economy; the first is the default of the launcher."""

from __future__ import annotations

from ai_econ_jax.agents.ai_economist.config import RoleConfig, TwoLevelConfig
from ai_econ_jax.agents.ai_economist.experiment import EconomyConfig, ExperimentConfig

_TINY_ROLE = RoleConfig(hidden=(8,), num_epochs=1)

PRESETS = {
    # The demo: four workers and a planner, both learned.
    "quick": ExperimentConfig(),
    # A hundred workers who respond exactly; only the planner learns. The numbers of the economy are
    # R2's own, so that a change of --num_workers or --skills keeps its labor cost.
    "r2": ExperimentConfig(
        economy=EconomyConfig(
            reference="R2", num_workers=100, labor_cost=0.0005, labor_exponent=3.0
        ),
        learning=TwoLevelConfig(worker_kind="exact", phase1_updates=0, random_schedule_share=0.0),
    ),
    # Seconds, for tests: it learns nothing.
    "smoke": ExperimentConfig(
        learning=TwoLevelConfig(
            workers=_TINY_ROLE,
            planner=_TINY_ROLE,
            num_environments=8,
            phase1_updates=4,
            phase2_updates=4,
        ),
        num_seeds=2,
        updates_per_segment=2,
    ),
}
