"""The configurations of the parity suite: what differs, and how workers behave in each."""

import dataclasses

import numpy as np

from ai_econ_jax.envs.gather_trade_build.config import Config


@dataclasses.dataclass(frozen=True)
class Case:
    """One configuration: ours, its numbers, and how it is played.

    Attributes:
      config: Static half; episodes have its length.
      numbers: Arguments of ``make_params``, as pairs.
      policy: A name of ``POLICIES``.
      episodes: Played one after the other, with curricula going on.
      completions: Episodes that count as finished before the first.
      saez_samples: Samples put into the Saez buffer before the first episode.
    """

    config: Config
    numbers: tuple = ()
    policy: str = "masked"
    episodes: int = 1
    completions: int = 0
    saez_samples: int = 0


def _case(policy="masked", episodes=1, completions=0, saez_samples=0, numbers=None, **config):
    free = {"fixed_four": False, "official_rounding": True, "episode_length": 700}
    return Case(
        Config(**(free | config)),
        tuple((numbers or {}).items()),
        policy,
        episodes,
        completions,
        saez_samples,
    )


CASES = {
    "paper": _case(fixed_four=True, episode_length=1000, planner_sees_map=True),
    "ten_workers": _case(
        num_workers=10,
        fixed_four=True,
        layout="quadrant_40x40_50each",
        policy="trade",
        episode_length=600,
    ),
    "trade_only": _case(
        layout="env-pure_and_mixed-15x15", policy="trade", numbers={"starting_coin": 30.0}
    ),
    "unmasked": _case(
        num_workers=7,
        layout="env-pure_and_mixed-15x15",
        policy="unmasked",
        tax_model="us_federal",
        numbers={"tax_period": 37, "starting_coin": 10.0},
    ),
    "houses": _case(
        num_workers=3,
        layout="env-pure_and_mixed-15x15",
        policy="build",
        tax_model="fixed",
        bracket_spacing="log",
        num_brackets=5,
        skill_law="none",
        bonus_law="none",
        planner_goal="inverse_income_utility",
        numbers={"fixed_rates": (0.0, 0.1, 0.45, 0.3, 0.6), "tax_period": 37, "max_skill": 1},
    ),
    "one_order": _case(
        num_workers=2,
        layout="quadrant_25x25_20each_30clump_no_water",
        policy="trade",
        max_orders=1,
        max_price=3,
        tax_model="disabled",
        numbers={"order_duration": 3, "starting_coin": 10.0, "eta": 0.0},
    ),
    "two_step_years": _case(
        layout="env-pure_and_mixed-25x25",
        policy="build",
        bonus_law="lognormal",
        skill_law="lognormal",
        planner_goal="inverse_income_coin",
        observation_radius=2,
        observation_scaling=False,
        numbers={"tax_period": 2, "starting_coin": 10.0},
    ),
    "multi_action": _case(
        multi_action=True,
        layout="env-pure_and_mixed-15x15",
        policy="multi",
        numbers={"starting_coin": 20.0, "tax_period": 37},
    ),
    "whole_map": _case(
        num_workers=7,
        layout="closed_quadrant_25x25_20each_30clump",
        full_observability=True,
        planner_sees_map=True,
        policy="trade",
        episode_length=500,
        numbers={"starting_coin": 5.0},
    ),
    "split": _case(
        num_workers=10,
        layout="quadrant_40x40_50each_no_water",
        layout_kind="split",
        top_ranks=(0, 3),
        policy="build",
        episode_length=500,
        numbers={"tax_period": 50},
    ),
    "saez_random": _case(
        tax_model="saez",
        layout="env-pure_and_mixed-15x15",
        policy="build",
        episode_length=300,
        episodes=3,
        numbers={"tax_period": 4, "cap_schedule": (-1.0, 0.3)},
    ),
    "saez_full": _case(
        num_workers=7,
        tax_model="saez",
        layout="env-pure_and_mixed-15x15",
        layout_kind="split",
        top_ranks=(2, 5),
        policy="build",
        episode_length=400,
        episodes=2,
        saez_samples=500,
        numbers={"tax_period": 37},
    ),
    "saez_uniform": _case(
        num_workers=3,
        tax_model="saez",
        layout="quadrant_8x8_4each_8clump",
        policy="build",
        pareto_weights="uniform",
        episode_length=300,
        saez_samples=480,
        numbers={"tax_period": 10, "saez_elasticity": 0.7},
    ),
    "curricula": _case(
        layout="quadrant_8x8_4each_8clump",
        policy="build",
        episode_length=120,
        episodes=4,
        completions=499,
        warmup_method="auto",
        full_observability=True,
        planner_sees_map=True,
        numbers={"tax_period": 10, "cap_schedule": (-100.0, 0.001), "warmup_constant": 40.0},
    ),
    "capped": _case(
        num_workers=2,
        layout="quadrant_8x8_4each_8clump",
        policy="build",
        tax_model="us_federal",
        episode_length=120,
        episodes=4,
        numbers={
            "tax_period": 10,
            "cap_schedule": (0.0, 0.1),
            "warmup_constant": 2.0,
            "equality_weight": 0.3,
        },
    ),
    "shared_wealth": _case(
        layout="env-pure_and_mixed-40x40",
        components=("build", "trade", "gather", "wealth_redistribution"),
        policy="build",
        episode_length=300,
        numbers={"starting_coin": 10.0, "regeneration": 0.05},
    ),
}


def _masked(rng, mask):
    return rng.choice(np.flatnonzero(mask))


def _all(workers):
    return np.array(workers, np.int32)


def masked(rng, masks, step):
    """Uniform among the allowed actions."""
    return _all([_masked(rng, mask) for mask in masks])


def unmasked(rng, masks, step):
    """Uniform among all actions."""
    return _all([rng.integers(mask.size) for mask in masks])


def build(rng, masks, step):
    """Builds where possible, else moves or waits mostly."""

    def choose(mask):
        if mask[1]:
            return 1
        if rng.random() < 0.7:
            return rng.choice([0, *range(mask.size - 4, mask.size)])
        return _masked(rng, mask)

    return _all([choose(mask) for mask in masks])


def trade(rng, masks, step):
    """Gathers and moves for a third of the time, else opens orders only."""

    def choose(mask):
        if rng.random() < 0.35:
            return rng.integers(mask.size - 4, mask.size)
        orders = mask.copy()
        orders[[1, *range(mask.size - 4, mask.size)]] = False
        return _masked(rng, orders)

    return _all([choose(mask) for mask in masks])


def multi(rng, masks, step):
    """Each of the six choices uniform: half the time among the allowed, else among all."""

    def choose(mask):
        prices = (mask.size - 7 - 4) // 4
        parts = np.split(mask, np.cumsum([2, *[prices + 1] * 4]))
        return [_masked(rng, p) if rng.random() < 0.5 else rng.integers(p.size) for p in parts]

    return _all([choose(mask) for mask in masks])


POLICIES = {
    "masked": masked,
    "unmasked": unmasked,
    "build": build,
    "trade": trade,
    "multi": multi,
}
