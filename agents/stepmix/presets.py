"""Named comparisons; the first is the default of the launcher."""

from __future__ import annotations

from ai_econ_jax.agents.stepmix.config import RunConfig, StepMixConfig

PRESETS = {
    # The whole story of cliff3 in about a minute; a point of the curves for each plan.
    "quick": StepMixConfig(num_seeds=16, run=RunConfig(replan_every=10, log_points=30_000)),
    # The published claims: 64 seeds, a plan after every episode.
    "claims": StepMixConfig(num_seeds=64),
    # Seconds, for tests: nobody leaves the baseline.
    "smoke": StepMixConfig(num_seeds=2, run=RunConfig(episodes=60, log_points=20)),
}
