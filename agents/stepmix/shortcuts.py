"""Short flags of the launcher, each for one field of the comparison's config.

``--config.…`` sets any field; a short flag sets one that people change often. One field set in both
ways to different values is an error.
"""

from __future__ import annotations

from typing import Any

from absl import flags

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.stepmix.config import ALGORITHMS, BONUSES, StepMixConfig
from ai_econ_jax.envs.tabular import baselines, suite

FIELDS = {
    "env": "problem.env",
    "env_file": "problem.env_file",
    "gym_env": "problem.gym_env",
    "options": "problem.options",
    "horizon": "problem.horizon",
    "rescale": "problem.rescale",
    "baseline": "problem.baseline",
    "eta": "problem.eta",
    "offline_data": "problem.offline_data",
    "warm_start": "problem.warm_start",
    "allow_uncertified": "problem.allow_uncertified",
    "gamma": "problem.gamma",
    "gamma_frac": "problem.gamma_frac",
    "episodes": "run.episodes",
    "delta": "run.delta",
    "bonus": "run.bonus",
    "bonus_scale": "run.bonus_scale",
    "replan_every": "run.replan_every",
    "stationary": "run.stationary",
    "baseline_value_known": "run.baseline_value_known",
    "algos": "algos",
    "seed": "seed",
    "seeds": "num_seeds",
    "lp_every": "lp_every",
    "true_support": "true_support",
    "max_cells": "max_cells",
}
_LIST = ["list"]


def define() -> None:
    """Defines the flags on absl's global ones."""
    text, number, whole, switch = (
        flags.DEFINE_string,
        flags.DEFINE_float,
        flags.DEFINE_integer,
        flags.DEFINE_bool,
    )
    text("env", None, f"Built-in problem: {', '.join(suite.PROBLEMS)}.")
    text("env_file", None, "Your own problem, .npz or .json with P, R; see docs/stepmix.md.")
    text("gym_env", None, "Toy-text table of Gymnasium, such as FrozenLake-v1.")
    text("options", None, "Of env or gym_env: name=value, comma-separated.")
    whole("horizon", None, "Steps of an episode, for files and tables without it.")
    switch("rescale", None, "Map the file's rewards to [0, 1] by their own range.")
    text("baseline", None, f"In place of the problem's own: {', '.join(baselines.NAMES)}.")
    number("eta", None, "Inverse temperature of the baseline boltzmann.")
    text("offline_data", None, "Trajectories, .npz, from which the baseline is learned.")
    switch("warm_start", None, "Begin with the counts of the offline data.")
    switch("allow_uncertified", None, "Go on with a baseline that the data do not certify.")
    number("gamma", None, "What every episode must be worth, in units of the rewards.")
    number("gamma_frac", None, "Without gamma: share of V(baseline), in rewards of [0, 1].")
    whole("episodes", None, "Episodes per run.")
    number("delta", None, "Chance that any confidence bound ever fails, in (0, 1).")
    text("bonus", None, f"Confidence set: {', '.join(BONUSES)}.")
    number("bonus_scale", None, "Factor of the confidence sets; below 1 nothing is guaranteed.")
    whole("replan_every", None, "Episodes played by one plan, after the first 200.")
    switch("stationary", None, "Pool counts over steps; for transitions that are the same at all.")
    switch("baseline_value_known", None, "Tell the learner V(baseline).")
    flags.DEFINE_list("algos", None, f"list prints them: {', '.join(ALGORITHMS)}.")
    whole("seed", None, "First seed.")
    whole("seeds", None, "Number of seeds, run side by side.")
    whole("lp_every", None, "Episodes between two linear programs of dope and optpess_lp.")
    switch(
        "true_support", None, "Tell dope which next states are possible, as its official code does."
    )
    whole("max_cells", None, "Largest S A S H seeds that may be in memory.")


def wants_list(values: flags.FlagValues = flags.FLAGS) -> bool:
    """Whether the command line asks for the names of the algorithms."""
    return values["algos"].value == _LIST


def apply(config: StepMixConfig, values: flags.FlagValues = flags.FLAGS) -> StepMixConfig:
    """Sets the fields that the short flags name.

    Raises:
      ValueError: A flag that contradicts another, or a value that its field must not have.
    """
    short: dict[str, Any] = {
        field: values[name].value
        for name, field in FIELDS.items()
        if values[name].value is not None
    }
    if {"problem.env_file", "problem.gym_env"} & short.keys():
        short.setdefault("problem.env", "")  # in place of the preset's
    changes = config_lib.merge_short_flags(config, short, values)
    return config_lib.replace_fields(config, changes)
