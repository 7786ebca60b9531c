"""What is seen of a state that is known: features by name, maps, masks."""

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


@pytest.fixture(scope="module")
def known():
    """A state with something in every field, and a function that observes such states."""
    environment = GatherTradeBuild(BASE)
    params = make_params(BASE, tax_period=10)
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
    return state, jax.jit(lambda state: environment.observe(state, params))


def test_names_are_those_of_the_values(known):
    state, observe = known
    seen, world = observe(state), GatherTradeBuild(BASE).world
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


def test_first_and_last_days_are_told_and_rates_are_chosen_on_the_first_only(known):
    state, observe = known
    names = planner_feature_names(GatherTradeBuild(BASE).world)
    for day, first, last in ((1, 1, 0), (2, 0, 0), (9, 0, 0), (10, 0, 1)):
        seen = observe(dataclasses.replace(state, tax_position=jnp.array(day))).planner
        values = dict(zip(names, np.asarray(seen.flat), strict=True))
        assert (values["is_first_day"], values["is_tax_day"]) == (first, last)
        rates = np.asarray(seen.action_mask).reshape(7, 22)
        assert rates[:, 0].all() and (rates[:, 1:] == bool(first)).all()


def test_masks_allow_what_has_an_effect(known):
    state, observe = known
    state = dataclasses.replace(
        state,
        coin=jnp.array([4.0, 0.0, 400.0, 9.5]),
        escrow_coin=jnp.array([6.0, 10.0, 0.0, 0.0]),
        inventory=jnp.array([[1, 0], [1, 1], [5, 6], [0, 8]]),
        # Worker 3 has five open orders for wood.
        order_side=state.order_side.at[1, 3].set(ASK),
        location=jnp.array([[0, 8], [8, 8], [8, 7], [5, 5]]),
        house_owner=state.house_owner.at[7, 8].set(1).at[7, 7].set(0).at[8, 7].set(2),
    )
    mask = np.asarray(observe(state).workers.action_mask)
    assert mask[:, 0].all()
    assert mask[:, 1].tolist() == [False, True, False, False]
    prices = np.arange(11)
    for worker, (coin, stone, wood) in enumerate([(4, 1, 0), (0, 1, 1), (400, 5, 6), (9.5, 0, 8)]):
        slots = np.array([1, 1, worker != 3, worker != 3], bool)
        covered = np.stack([prices <= coin, prices * 0 < stone, prices <= coin, prices * 0 < wood])
        np.testing.assert_array_equal(mask[worker, 2:46].reshape(4, 11), covered & slots[:, None])
    left_right_up_down = [[1, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1]]
    np.testing.assert_array_equal(mask[:, 46:], left_right_up_down)


def test_windows_show_the_map_around_and_who_is_who(known):
    state, observe = known
    state = dataclasses.replace(
        state,
        location=jnp.array([[0, 8], [8, 8], [3, 3], [5, 5]]),
        house_owner=state.house_owner.at[7, 8].set(1).at[3, 2].set(0),
        resources=state.resources.at[:, :2].set(0),
    )
    world = GatherTradeBuild(BASE).world
    seen = observe(state).workers
    stone, wood = np.asarray(state.resources)
    owner = np.asarray(state.house_owner)
    worker = np.full(owner.shape, -1)
    worker[tuple(np.asarray(state.location).T)] = range(4)
    inside = np.ones_like(stone)
    channels = np.stack([stone, wood, owner >= 0, world.water, *world.source, inside])
    for i, (row, column) in enumerate(np.asarray(state.location)):
        window = np.s_[:, row : row + 11, column : column + 11]
        around = [(0, 0), (5, 5), (5, 5)]
        np.testing.assert_array_equal(seen.map[i], np.pad(channels, around)[window])
        codes = np.stack([owner, worker])
        codes = np.where(codes < 0, 0, np.where(codes == i, 1, codes + 2))
        np.testing.assert_array_equal(seen.index_map[i], np.pad(codes, around)[window])
