"""Configuration of a run: the frozen model, what is asked of it, the method, and its settings."""

from __future__ import annotations

import dataclasses
from typing import Any

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.find.config import FIND_PRESETS, FindConfig
from ai_econ_jax.agents.find.ddpo import DdpoConfig
from ai_econ_jax.agents.find.dpok import DpokConfig
from ai_econ_jax.agents.find.search import BestOfNConfig, CemConfig, RenoConfig

# What each method does, in one line; all but the last two leave the model's weights alone.
METHODS = {
    "find": "policy gradient on the distribution of the initial noise",
    "cem": "the cross-entropy method on that distribution",
    "best_of_n": "draws from the model, keeps the best image; learns no distribution",
    "reno": "gradient ascent on one noise; needs a reward with a gradient",
    "ddpo": "PPO on the model's weights, step by step",
    "dpok": "a buffered policy gradient on the model's weights, held near the frozen ones",
}
TRAINS_WEIGHTS = ("ddpo", "dpok")


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """One method on one prompt."""

    model: str = "digits8"  # a name, or a folder that train_diffusion left
    prompt: str = "three"  # what the images shall show; gauss and terrain have none
    reward: str | None = None  # jpeg, neg_jpeg or module:function; None: the model's own
    method: str = "find"
    steps: int | None = None  # of the sampler; None: 20, and 1 of terrain, which has no others
    eta: float | None = None  # noise that its steps add; None: 0, and 1 for ddpo and dpok
    guidance: float = 2.0  # towards the prompt, of models that have prompts
    eval_images: int = 100  # fresh ones, before and after
    seed: int = 0  # the first
    num_seeds: int = 1  # run side by side
    find: FindConfig = FindConfig()
    cem: CemConfig = CemConfig()
    best_of_n: BestOfNConfig = BestOfNConfig()
    reno: RenoConfig = RenoConfig()
    ddpo: DdpoConfig = DdpoConfig()
    dpok: DpokConfig = DpokConfig()

    def validate(self) -> None:
        """Check names and ranges."""
        config_lib.check_one_of("method", self.method, tuple(METHODS))
        if self.steps is not None:
            config_lib.check_range("steps", self.steps, 1, 1_000_000)
        config_lib.check_range("eval_images", self.eval_images, 2, 1_000_000)
        config_lib.check_range("seed", self.seed, 0, 2**31 - 1)
        config_lib.check_range("num_seeds", self.num_seeds, 1, 10_000)
        config_lib.check_range("guidance", self.guidance, 0.0, 1000.0)
        if self.eta is not None:
            config_lib.check_range("eta", self.eta, 0.0, 1.0)
            config_lib.check(
                self.eta > 0 or self.method not in TRAINS_WEIGHTS,
                "eta",
                self.eta,
                f"{self.method} learns from the noise of the steps, so it must be above 0",
            )

    @property
    def settings(self) -> Any:
        """Of the method."""
        return getattr(self, self.method)

    @property
    def sampler_eta(self) -> float:
        """What eta is when the config leaves it open."""
        if self.eta is not None:
            return self.eta
        return 1.0 if self.method in TRAINS_WEIGHTS else 0.0


PRESETS = {
    "fast": ExperimentConfig(),
    "paper": ExperimentConfig(eta=1.0, find=FIND_PRESETS["paper"]),
    "official_code": ExperimentConfig(eta=1.0, find=FIND_PRESETS["official_code"]),
}
