"""Configuration of two-level learning in the one-step economy."""

from __future__ import annotations

import dataclasses

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.ai_economist.networks import WORKER_NETWORKS
from ai_econ_jax.networks import ACTIVATIONS

WORKER_KINDS = ("learned", "exact")
PLANNER_JUDGES = ("greedy_workers", "exploring_workers")


@dataclasses.dataclass(frozen=True)
class RoleConfig:
    """PPO of one role. The horizon is one decision, so there is no discount."""

    learning_rate: float = 1e-3  # annealed linearly to 0 over each phase
    clip: float = 0.2  # of the probability ratio
    value_coefficient: float = 1.0  # on (1/2)(V - R)^2, returns in standard deviations
    entropy_start: float = 0.1  # entropy coefficient when a phase begins
    entropy_end: float = 0.0  # and from the share entropy_until of the phase on
    entropy_until: float = 0.8
    max_gradient_norm: float = 0.5
    num_epochs: int = 2
    num_minibatches: int = 1
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"

    def validate(self) -> None:
        """Check each field's range."""
        config_lib.check_range("learning_rate", self.learning_rate, 0.0, 1.0, exclude_low=True)
        config_lib.check_range("clip", self.clip, 0.0, 1.0, exclude_low=True)
        config_lib.check_range("value_coefficient", self.value_coefficient, 0.0, 100.0)
        config_lib.check_range("entropy_start", self.entropy_start, 0.0, 100.0)
        config_lib.check_range("entropy_end", self.entropy_end, 0.0, 100.0)
        config_lib.check_range("entropy_until", self.entropy_until, 0.0, 1.0, exclude_low=True)
        config_lib.check_positive("max_gradient_norm", self.max_gradient_norm)
        config_lib.check_range("num_epochs", self.num_epochs, 1, 1000)
        config_lib.check_range("num_minibatches", self.num_minibatches, 1, 1000)
        config_lib.check_one_of("activation", self.activation, tuple(ACTIVATIONS))


@dataclasses.dataclass(frozen=True)
class TwoLevelConfig:
    """Two-level learning: phase 1 trains workers on random schedules, phase 2 both levels."""

    workers: RoleConfig = RoleConfig(learning_rate=2e-3, entropy_start=0.02, hidden=(32, 32))
    planner: RoleConfig = RoleConfig(learning_rate=5e-3, entropy_start=0.3, num_epochs=4, hidden=())
    worker_kind: str = "learned"  # or exact: exact best responses instead of a policy
    worker_network: str = "budget_set"  # see networks.WORKER_NETWORKS
    share_worker_policy: bool = True  # one policy for all workers, or one each
    # The planner's reward: from what the same workers do when they do not explore, or when they do.
    planner_judged_by: str = "greedy_workers"
    num_environments: int = 32  # B, over all devices
    shuffle_blocks: int = 4  # see ppo.BatchConfig
    phase1_updates: int = 3000
    phase2_updates: int = 1500
    fine_tuning_rate: float = 0.25  # of the workers' learning rate, in phase 2 behind phase 1
    random_schedule_share: float = 0.25  # of environments in phase 2: keeps workers' competence
    labor_warmup_episodes: float = 0.0  # K of the labor-cost warm-up; 0: full cost at once
    tax_cap_warmup: float = -1e9  # episodes; the default never binds, the paper's is -100
    tax_cap_slope: float = 0.001  # per episode

    def validate(self) -> None:
        """Check each field's range."""
        config_lib.check_one_of("worker_kind", self.worker_kind, WORKER_KINDS)
        config_lib.check_one_of("worker_network", self.worker_network, tuple(WORKER_NETWORKS))
        config_lib.check_one_of("planner_judged_by", self.planner_judged_by, PLANNER_JUDGES)
        config_lib.check_range("num_environments", self.num_environments, 1, 1_000_000)
        config_lib.check_range("shuffle_blocks", self.shuffle_blocks, 1, self.num_environments)
        config_lib.check_range("phase1_updates", self.phase1_updates, 0, 100_000_000)
        config_lib.check_range("phase2_updates", self.phase2_updates, 0, 100_000_000)
        config_lib.check_range(
            "random_schedule_share", self.random_schedule_share, 0.0, 1.0, exclude_high=True
        )
        config_lib.check_range("fine_tuning_rate", self.fine_tuning_rate, 0.0, 1.0)
        config_lib.check_range("labor_warmup_episodes", self.labor_warmup_episodes, 0.0)
        config_lib.check_range("tax_cap_warmup", self.tax_cap_warmup, -1e12, 1e12)
        config_lib.check_range("tax_cap_slope", self.tax_cap_slope, 0.0)
