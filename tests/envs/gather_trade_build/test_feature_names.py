"""The names of flat observations are those of what stands there."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, make_params
from ai_econ_jax.envs.gather_trade_build.observation import (
    planner_feature_names,
    worker_feature_names,
)
from ai_econ_jax.envs.gather_trade_build.state import ASK, BID

BASE = Config(layout="quadrant_8x8_4each_8clump", fixed_four=False, episode_length=50)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_workers": 7, "full_observability": True, "planner_sees_map": True},
        {"components": ("build", "trade", "gather"), "max_price": 3},
        {"bracket_spacing": "log", "num_brackets": 5},
    ],
)
def test_one_name_for_each_entry(changes):
    environment = GatherTradeBuild(dataclasses.replace(BASE, **changes))
    space = environment.observation_space(make_params(environment.config))
    for names, flat in (
        (worker_feature_names(environment.world), space.workers.flat),
        (planner_feature_names(environment.world), space.planner.flat),
    ):
        assert len(names) == len(set(names)) == flat.shape[-1]


def test_names_stand_where_the_specification_has_them():
    """Spec 3.8 gives some places of the 136 entries of a worker among four."""
    names = worker_feature_names(GatherTradeBuild(BASE).world)
    for place, name in {
        **{0: "build_payment", 1: "build_skill", 2: "available_asks_stone_0"},
        **{13: "available_asks_wood_0", 24: "available_bids_stone_0", 46: "market_rate_stone"},
        **{47: "market_rate_wood", 59: "my_asks_wood_0", 70: "my_bids_stone_0"},
        **{92: "price_history_stone_0", 113: "price_history_wood_10", 114: "bonus"},
        **{115: "rate_0", 122: "is_first_day", 123: "is_tax_day", 124: "last_income_0"},
        **{128: "marginal_rate", 129: "tax_phase", 130: "time", 131: "coin", 132: "stone"},
        **{133: "wood", 134: "column", 135: "row"},
    }.items():
        assert names[place] == name


def test_names_are_those_of_the_values():
    environment = GatherTradeBuild(BASE)
    world, params = environment.world, make_params(BASE, tax_period=10)
    state = jax.jit(lambda key: environment.reset(key, params)[0])(jax.random.key(0))
    no_orders = jnp.zeros_like(state.order_side)
    state = dataclasses.replace(
        state,
        time=jnp.array(5),
        location=jnp.array([[1, 2], [3, 4], [5, 6], [7, 8]]),
        coin=jnp.array([100.0, 200.0, 300.0, 400.0]),
        last_coin=jnp.array([100.0, 188.0, 300.0, 400.0]),
        inventory=jnp.array([[1, 2], [3, 4], [5, 6], [7, 8]]),
        bonus=jnp.array([0.1, 0.2, 0.3, 0.4]),
        build_payment=jnp.array([10.0, 11.0, 12.0, 13.0]),
        build_skill=jnp.array([0.5, 0.6, 0.7, 0.8]),
        # Worker 1 asks 3 for stone, worker 2 bids 4 for wood.
        order_side=no_orders.at[0, 1, 0].set(ASK).at[1, 2, 0].set(BID),
        order_price=state.order_price.at[0, 1, 0].set(3).at[1, 2, 0].set(4),
        price_history=state.price_history.at[1, 0, 7].set(2.0),
        tax_position=jnp.array(4),
        rates=jnp.linspace(0.1, 0.7, 7),
        shown_rates=jnp.linspace(0.2, 0.8, 7),
        last_income=jnp.array([40.0, 30.0, 20.0, 10.0]),
    )
    seen = jax.jit(environment.observe)(state, params)
    worker = dict(zip(worker_feature_names(world), np.asarray(seen.workers.flat[1]), strict=True))
    other = dict(zip(worker_feature_names(world), np.asarray(seen.workers.flat[2]), strict=True))
    planner = dict(zip(planner_feature_names(world), np.asarray(seen.planner.flat), strict=True))
    shared = {
        **{"market_rate_wood": 7.0, "market_rate_stone": 0.0, "price_history_wood_7": 0.02},
        **{"rate_0": 0.2, "rate_6": 0.8, "is_first_day": 0.0, "last_income_0": 1.0},
        **{"last_income_3": 4.0, "tax_phase": 0.4, "time": 0.1},
    }
    expected = shared | {
        **{"build_payment": 1.1, "build_skill": 0.6, "bonus": 0.2, "marginal_rate": 0.2},
        **{"my_asks_stone_3": 1.0, "available_asks_stone_3": 0.0, "available_bids_wood_4": 1.0},
        **{"my_bids_wood_4": 0.0, "coin": 2.0, "stone": 0.03, "wood": 0.04},
        **{"column": 4 / 9, "row": 3 / 9},
    }
    assert {name: worker[name] for name in expected} == pytest.approx(expected)
    assert (other["my_bids_wood_4"], other["available_asks_stone_3"]) == (1.0, 1.0)
    expected = shared | {"full_asks_stone_3": 1.0, "full_bids_wood_4": 1.0, "coin": 0.0}
    assert {name: planner[name] for name in expected} == pytest.approx(expected)
