"""Configuration of two-level learning in gather-trade-build.

Defaults are the published hyper-parameters (spec section 2.2); presets change them.
"""

from __future__ import annotations

import dataclasses

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.ai_economist.gather_trade_build.networks import TowerConfig
from ai_econ_jax.optimizers import SCHEDULES

PLANNER_TIMES = ("every_step", "decisions")


@dataclasses.dataclass(frozen=True)
class RoleConfig:
    """PPO and network of one role.

    Attributes:
      tower: The network.
      learning_rate: Of Adam.
      schedule: Of the learning rate over a phase, see ``optimizers.SCHEDULES``.
      gamma: Discount per step.
      lambda_: Of generalised advantage estimation.
      clip: Of the probability ratio.
      value_coefficient: On ``(V - R)^2``, without a factor 1/2.
      value_clip: Of the value's change, in units of scaled return.
      entropy_start: Entropy coefficient when the phase begins.
      entropy_end: And after ``entropy_steps`` steps of the phase, linearly in between.
      entropy_steps: In environment steps of the phase, over all environments; 0 for no schedule.
      max_gradient_norm: Global norm of a minibatch's gradient.
      num_epochs: Passes over a batch.
      num_minibatches: Per epoch.
      reward_scale: Factor on rewards before anything learns from them.
    """

    tower: TowerConfig = TowerConfig()
    learning_rate: float = 3e-4
    schedule: str = "constant"
    gamma: float = 0.998
    lambda_: float = 0.98
    clip: float = 0.3
    value_coefficient: float = 0.05
    value_clip: float = 50.0
    entropy_start: float = 0.025
    entropy_end: float = 0.025
    entropy_steps: float = 0.0
    max_gradient_norm: float = 10.0
    num_epochs: int = 1
    num_minibatches: int = 16
    reward_scale: float = 1.0

    def validate(self) -> None:
        """Check each field's range."""
        config_lib.check_range("learning_rate", self.learning_rate, 0.0, 1.0, exclude_low=True)
        config_lib.check_one_of("schedule", self.schedule, SCHEDULES)
        config_lib.check_range("gamma", self.gamma, 0.0, 1.0)
        config_lib.check_range("lambda_", self.lambda_, 0.0, 1.0)
        config_lib.check_range("clip", self.clip, 0.0, 1.0, exclude_low=True)
        config_lib.check_range("value_coefficient", self.value_coefficient, 0.0, 100.0)
        config_lib.check_range("value_clip", self.value_clip, 0.0, exclude_low=True)
        config_lib.check_range("entropy_start", self.entropy_start, 0.0, 100.0)
        config_lib.check_range("entropy_end", self.entropy_end, 0.0, 100.0)
        config_lib.check_range("entropy_steps", self.entropy_steps, 0.0)
        config_lib.check_positive("max_gradient_norm", self.max_gradient_norm)
        config_lib.check_range("num_epochs", self.num_epochs, 1, 1000)
        config_lib.check_range("num_minibatches", self.num_minibatches, 1, 100_000)
        config_lib.check_positive("reward_scale", self.reward_scale)


@dataclasses.dataclass(frozen=True)
class LearningConfig:
    """Two phases, their curricula, and how experience is cut.

    Attributes:
      workers: Their policy, one for all.
      planner: Its policy.
      planner_acts: ``every_step``, masked to nothing between tax days, as published; or
        ``decisions``, where it decides, and learns, once in a tax period from the period's reward.
      num_environments: B, over all devices.
      steps_per_update: T, per environment; a multiple of ``unroll``.
      unroll: L, steps through which gradients pass back.
      shuffle_blocks: See ``ppo.BatchConfig``.
      phase1_steps: Environment steps of phase 1, over all environments: the free market.
      phase2_steps: The same of phase 2, under a tax model.
      labor_warmup: K of the warm-up of labor costs in phase 1, in productive steps of one
        environment (the method ``auto``); 0 for none.
      tax_cap_warmup: Episodes before the cap on rates leaves 0, in phase 2.
      tax_cap_slope: By how much it rises with each episode of one environment.
      single_phase: Ablation: no phase 1 and no curricula, the steps of both phases in one.
      use_labor_warmup: False is an ablation.
      use_entropy_schedule: False is an ablation: the planner's coefficient is at its end from the
        beginning.
      share_worker_policy: False is an ablation: one policy for each worker.
    """

    workers: RoleConfig = RoleConfig()
    planner: RoleConfig = RoleConfig(
        tower=TowerConfig(hidden=(256, 256), memory_width=256),
        learning_rate=1e-4,
        entropy_start=2.0,
        entropy_end=0.125,
        entropy_steps=50e6,
        num_minibatches=4,
    )
    planner_acts: str = "every_step"
    num_environments: int = 30
    steps_per_update: int = 200
    unroll: int = 25
    shuffle_blocks: int = 1
    phase1_steps: int = 25_000_000
    phase2_steps: int = 400_000_000
    labor_warmup: float = 10_000.0
    tax_cap_warmup: float = -100.0
    tax_cap_slope: float = 0.001
    single_phase: bool = False
    use_labor_warmup: bool = True
    use_entropy_schedule: bool = True
    share_worker_policy: bool = True

    def validate(self) -> None:
        """Check each field's range."""
        config_lib.check_one_of("planner_acts", self.planner_acts, PLANNER_TIMES)
        config_lib.check_range("num_environments", self.num_environments, 1, 1_000_000)
        config_lib.check_range("unroll", self.unroll, 1, 100_000)
        config_lib.check(
            self.steps_per_update >= 1 and self.steps_per_update % self.unroll == 0,
            "steps_per_update",
            self.steps_per_update,
            f"must be a multiple of unroll = {self.unroll}",
        )
        config_lib.check_range("shuffle_blocks", self.shuffle_blocks, 1, self.num_environments)
        config_lib.check_range("phase1_steps", self.phase1_steps, 0)
        config_lib.check_range("phase2_steps", self.phase2_steps, 0)
        config_lib.check_range("labor_warmup", self.labor_warmup, 0.0)
        config_lib.check_range("tax_cap_warmup", self.tax_cap_warmup, -1e12, 1e12)
        config_lib.check_range("tax_cap_slope", self.tax_cap_slope, 0.0)

    @property
    def steps_of_update(self) -> int:
        """Environment steps of one update, over all environments."""
        return self.num_environments * self.steps_per_update

    def updates(self, phase: int) -> int:
        """Updates of phase 1 or 2; the steps are rounded up to whole updates."""
        steps = {1: self.phase1_steps, 2: self.phase2_steps}[phase]
        if self.single_phase:
            steps = 0 if phase == 1 else self.phase1_steps + self.phase2_steps
        return -(-steps // self.steps_of_update)
