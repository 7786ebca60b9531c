"""Configuration: the problem, the constraint, how algorithms are run, and which."""

from __future__ import annotations

import dataclasses
import math

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.stepmix.confidence import PRESETS
from ai_econ_jax.envs.tabular import baselines

BONUSES = tuple(name for name in PRESETS if name != "simple")  # "simple" is UCBVI's alone

# Every algorithm of the command, with what it does in one line.
ALGORITHMS = {
    "stepmix": "baseline, then one mixed step, then optimism: safe in every episode",
    "epsmix": "the optimistic policy or the baseline for a whole episode: safe as a mixture",
    "ucbvi": "always the optimistic policy: no constraint",
    "switch": "the optimistic policy once it is known to be safe, else the baseline; no mixing",
    "budget": "constrains the sum over all episodes so far, not each of them",
    "baseline": "always the baseline",
    "allstep": "EpsMix's share mixed in at every step: a negative control, not safe",
    "greedy_stepmix": "StepMix without confidence bounds: a negative control, not safe",
    "ucbvi_simple": "UCBVI with the bonus c / sqrt(n) + (H - h) / n",
    "dope": "DOPE, for constrained MDPs, by linear programs; small problems only",
    "optpess_lp": "OptPess-LP, for constrained MDPs, by linear programs; small problems only",
    "ppo_tabular": "PPO with a table of logits: no model, no bounds, no constraint",
}


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
        config_lib.check_range("delta", self.delta, 0.0, 1.0, exclude_low=True, exclude_high=True)
        config_lib.check_one_of("bonus", self.bonus, BONUSES)
        config_lib.check_range("bonus_scale", self.bonus_scale, 0.0, 1000.0)
        config_lib.check_range("replan_every", self.replan_every, 1, 1_000_000)
        config_lib.check_range("log_points", self.log_points, 1, 1_000_000)


@dataclasses.dataclass(frozen=True)
class ProblemConfig:
    """The problem, one of ``env``, ``env_file``, ``gym_env``; its baseline; the constraint."""

    env: str = "cliff3"  # a built-in problem
    env_file: str = ""  # .npz or .json
    gym_env: str = ""  # a toy-text environment of Gymnasium
    options: str = ""  # of env or gym_env: name=value, comma-separated
    horizon: int | None = None  # H, for files and tables without one; 20 for Gymnasium's
    rescale: bool = False  # env_file: map rewards to [0, 1] by their own range, 0 included
    # A name of `baselines.NAMES`; None: the problem's own, boltzmann for random and Gymnasium's.
    baseline: str | None = None
    eta: float = 10.0  # inverse temperature of boltzmann
    offline_data: str = ""  # .npz of trajectories, from which the baseline is learned instead
    warm_start: bool = True  # begin with the counts of the offline data
    allow_uncertified: bool = False  # go on where the data do not prove the baseline worth gamma
    gamma: float | None = None  # what every episode must be worth, in units of the rewards
    gamma_frac: float = 0.9  # without gamma: share of V(baseline), both in rewards of [0, 1]

    def validate(self) -> None:
        """Check that the fields go together."""
        given = [name for name in ("env", "env_file", "gym_env") if getattr(self, name)]
        config_lib.check(
            len(given) == 1,
            "env",
            self.env,
            f"must be the only problem; give one of env, env_file and gym_env, not "
            f"{' and '.join(given) or 'none'}",
        )
        if self.options:
            config_lib.check(not self.env_file, "options", self.options, "env_file has no options")
        if self.rescale:
            config_lib.check(bool(self.env_file), "rescale", True, "is for env_file alone")
        if self.horizon is not None:
            config_lib.check_range("horizon", self.horizon, 1, 1_000_000)
            config_lib.check(
                not self.env, "horizon", self.horizon, "a built-in problem takes it as an option"
            )
        if self.baseline is not None:
            config_lib.check_one_of("baseline", self.baseline, baselines.NAMES)
            config_lib.check(
                not self.offline_data, "baseline", self.baseline, "is learned from offline_data"
            )
        for name in ("gamma", "gamma_frac", "eta"):
            value = getattr(self, name)
            if value is not None:
                config_lib.check(math.isfinite(value), name, value, "must be finite")


@dataclasses.dataclass(frozen=True)
class StepMixConfig:
    """Everything that decides the numbers of a comparison."""

    problem: ProblemConfig = ProblemConfig()
    run: RunConfig = RunConfig()
    algos: tuple[str, ...] = ("stepmix", "epsmix", "ucbvi", "switch", "budget", "baseline")
    seed: int = 0  # the first
    num_seeds: int = 8  # run side by side; all algorithms get the same ones
    lp_every: int = 500  # episodes between two linear programs of dope and optpess_lp
    true_support: bool = False  # tell dope which next states are possible, as its authors do
    max_cells: int = 200_000_000  # S A S H seeds that may be in memory

    def validate(self) -> None:
        """Check names and ranges."""
        config_lib.check(len(self.algos) > 0, "algos", self.algos, "must name an algorithm")
        for i, name in enumerate(self.algos):
            config_lib.check_one_of(f"algos[{i}]", name, tuple(ALGORITHMS))
            config_lib.check(
                name not in self.algos[:i], f"algos[{i}]", name, "must be named only once"
            )
        config_lib.check_range("seed", self.seed, 0, 2**31 - 1)
        config_lib.check_range("num_seeds", self.num_seeds, 1, 1_000_000)
        config_lib.check_range("lp_every", self.lp_every, 1, 2**24)
        config_lib.check_range("max_cells", self.max_cells, 1)
