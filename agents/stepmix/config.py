"""Configuration of StepMix runs."""

from __future__ import annotations

import dataclasses

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.stepmix.confidence import PRESETS

BONUSES = tuple(name for name in PRESETS if name != "simple")  # "simple" is UCBVI's alone


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How algorithms are run, apart from the problem and the seeds."""

    episodes: int = 30_000  # K
    delta: float = 0.05  # chance that any confidence bound ever fails
    bonus: str = "kl"  # the confidence set
    bonus_scale: float = 1.0  # times its logarithmic terms; below 1 nothing is guaranteed
    replan_every: int = 1  # episodes played by one plan, after the first 200
    stationary: bool = False  # pool counts over steps, valid where transitions do not depend on h
    baseline_value_known: bool = False  # V(baseline) in place of its lower bound
    log_points: int = 2000  # of the curves; totals are exact whatever it is

    def validate(self) -> None:
        """Check names and ranges."""
        config_lib.check_range("episodes", self.episodes, 1, 2**24)  # counts are exact floats
        config_lib.check_range(
            "delta", self.delta, 0.0, 1.0, exclude_low=True, exclude_high=True
        )
        config_lib.check_one_of("bonus", self.bonus, BONUSES)
        config_lib.check_range("bonus_scale", self.bonus_scale, 0.0, 1000.0)
        config_lib.check_range("replan_every", self.replan_every, 1, 1_000_000)
        config_lib.check_range("log_points", self.log_points, 1, 1_000_000)
