"""Configuration of FIND and of what it is compared with. Spec 2.6, 2.10."""

from __future__ import annotations

import dataclasses

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.find.noise_policy import DIVERGENCES, REDUCTIONS

BASELINES = ("none", "batch", "ema", "learned")
SURROGATES = ("ppo_min", "clamp_only")
REFERENCES = ("behaviour", "initial")
STD_PARAMETERS = ("direct", "log")


@dataclasses.dataclass(frozen=True)
class FindConfig:
    """FIND; the defaults are the preset fast."""

    images: int = 320  # drawn and scored in all
    batch_size: int = 16  # B, per iteration
    learning_rate: float = 0.045  # of Adam, per coordinate and step
    policy_steps: int = 5  # K, per batch
    basis: str = "pixel"  # or dct:k, the k x k lowest frequencies
    logp_reduction: str = "mean"  # over the dimensions of the noise
    surrogate: str = "ppo_min"  # clamp_only: the bare ratio clamp of the released code
    ratio_reference: str = "behaviour"  # denominator of the ratio; initial: N(0, I)
    clip_range: float = 0.2  # epsilon
    reward_weight: float = 10.0  # lambda_r
    kl: str = "gaussian"  # official: the regulariser of the released code
    kl_weight: float = 0.01  # lambda_kl
    baseline: str = "batch"  # what a reward is calibrated against; learned: the network g
    baseline_decay: float = 0.9  # of ema, per batch
    baseline_learning_rate: float = 1e-4  # of g
    history: int = 20  # M, batches remembered
    replay: int = 0  # of those, drawn for every update beside the new one
    stale_reward: bool = False  # the released code: rewards of the oldest batch, noise of the new
    std_parameter: str = "direct"  # or log
    norm_preserve: bool = False  # keep E|z|^2 / D = 1

    def validate(self) -> None:
        """Check names, ranges, and what goes together."""
        config_lib.check_range("batch_size", self.batch_size, 1, 1_000_000)
        config_lib.check(
            self.images >= self.batch_size and self.images % self.batch_size == 0,
            "images",
            self.images,
            f"must be a multiple of batch_size, {self.batch_size}, and not 0",
        )
        config_lib.check_positive("learning_rate", self.learning_rate)
        config_lib.check_range("policy_steps", self.policy_steps, 1, 1000)
        config_lib.check_one_of("logp_reduction", self.logp_reduction, REDUCTIONS)
        config_lib.check_one_of("surrogate", self.surrogate, SURROGATES)
        config_lib.check_one_of("ratio_reference", self.ratio_reference, REFERENCES)
        config_lib.check_range("clip_range", self.clip_range, 0.0, exclude_low=True)
        config_lib.check_range("reward_weight", self.reward_weight, 0.0)
        config_lib.check_one_of("kl", self.kl, DIVERGENCES)
        config_lib.check_range("kl_weight", self.kl_weight, 0.0)
        config_lib.check_one_of("baseline", self.baseline, BASELINES)
        config_lib.check(
            self.baseline != "batch" or self.batch_size > 1,
            "baseline",
            self.baseline,
            "compares the rewards of a batch, so batch_size must be at least 2",
        )
        config_lib.check_range("baseline_decay", self.baseline_decay, 0.0, 1.0, exclude_high=True)
        config_lib.check_positive("baseline_learning_rate", self.baseline_learning_rate)
        config_lib.check_range("history", self.history, 1, 100_000)
        config_lib.check_range("replay", self.replay, 0, self.history - 1)
        config_lib.check(
            self.replay == 0 or self.ratio_reference == "behaviour",
            "replay",
            self.replay,
            "needs ratio_reference behaviour: old noise is no draw of another policy",
        )
        config_lib.check(
            not self.stale_reward or (self.replay == 0 and self.baseline in ("none", "learned")),
            "stale_reward",
            self.stale_reward,
            "is the released code, which has no replay and baseline none or learned",
        )
        config_lib.check_one_of("std_parameter", self.std_parameter, STD_PARAMETERS)


# The released code, README settings; `paper` is the same with the reward of the noise that earned
# it, and the network g trained on the history. Spec 2.6, 2.7.
PAPER = FindConfig(
    images=150,
    batch_size=1,
    learning_rate=1e-3,
    policy_steps=1,
    surrogate="clamp_only",
    ratio_reference="initial",
    kl="official",
    baseline="learned",
)
FIND_PRESETS = {
    "fast": FindConfig(),
    "paper": PAPER,
    "official_code": dataclasses.replace(PAPER, stale_reward=True),
}
