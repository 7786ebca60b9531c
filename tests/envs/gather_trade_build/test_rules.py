"""Rules of houses, moves, gathering and taxes that are easily got wrong, one by one (spec 7)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, make_params
from ai_econ_jax.envs.gather_trade_build.actions import Actions
from ai_econ_jax.envs.gather_trade_build.build import build
from ai_econ_jax.envs.gather_trade_build.gather import gather
from ai_econ_jax.envs.gather_trade_build.state import STONE, WOOD
from ai_econ_jax.envs.gather_trade_build.tax import collect

ENVIRONMENT = GatherTradeBuild(Config(layout="quadrant_8x8_4each_8clump", fixed_four=False))
WORLD, PARAMS = ENVIRONMENT.world, make_params(ENVIRONMENT.config)
STAY, LEFT, RIGHT, UP, DOWN = range(5)
# Dry ground where nothing grows, in the bottom right quarter.
FREE = [[6, 6], [7, 7], [8, 8], [6, 8]]


@pytest.fixture(scope="module")
def start():
    state = jax.jit(lambda key: ENVIRONMENT.reset(key, PARAMS)[0])(jax.random.key(0))
    return dataclasses.replace(state, location=jnp.array(FREE), bonus=jnp.zeros(4))


def try_to(move=STAY, build=False):
    nothing = jnp.full((2, 4), -1)
    return Actions(
        build=jnp.broadcast_to(jnp.asarray(build), 4),
        bid=nothing,
        ask=nothing,
        move=jnp.broadcast_to(jnp.asarray(move), 4),
        rate=jnp.full(7, -1),
    )


def gathered(state, move=STAY, order=(0, 1, 2, 3), uniform=0.5):
    noise = ENVIRONMENT.draw_step_noise(jax.random.key(0))
    noise = dataclasses.replace(
        noise, gather_order=jnp.array(order), gather=jnp.full(4, uniform, float)
    )
    return gather(state, try_to(move), noise, PARAMS, WORLD)


def at(state, **changes):
    """``state`` with a worker's entry of some fields replaced, ``field=(worker, value)``."""
    fields = {
        name: getattr(state, name).at[worker].set(jnp.asarray(value))
        for name, (worker, value) in changes.items()
    }
    return dataclasses.replace(state, **fields)


def test_who_does_nothing_gathers_what_lies_there(start):
    assert WORLD.source[WOOD, 0, 0] and WORLD.source[STONE, 2, 0]
    after = gathered(at(at(start, location=(1, [0, 0])), location=(2, [2, 0])))
    np.testing.assert_array_equal(after.inventory, [[0, 0], [0, 1], [1, 0], [0, 0]])
    np.testing.assert_allclose(after.labor, [0, 1, 1, 0])
    assert after.resources[WOOD, 0, 0] == 0 and after.resources[STONE, 2, 0] == 0


@pytest.mark.parametrize("uniform, units", [(0.29, 2), (0.31, 1)])
def test_a_bonus_is_a_second_unit(start, uniform, units):
    state = at(at(start, location=(1, [0, 0])), bonus=(1, 0.3))
    after = gathered(state, uniform=uniform)
    assert after.inventory[1, WOOD] == units
    assert after.labor[1] == 1


@pytest.mark.parametrize("order, winner", [((0, 1, 2, 3), 0), ((3, 1, 2, 0), 1)])
def test_the_first_in_order_takes_a_contested_cell_and_only_it_pays(start, order, winner):
    state = at(at(start, location=(0, [6, 6])), location=(1, [6, 8]))
    state = at(state, location=(3, [8, 6]))
    after = gathered(state, [RIGHT, LEFT, STAY, STAY], order)
    loser = 1 - winner
    assert after.location[winner].tolist() == [6, 7]
    assert after.location[loser].tolist() == state.location[loser].tolist()
    assert (after.labor[winner], after.labor[loser]) == (1, 0)


@pytest.mark.parametrize("order, follows", [((0, 1, 2, 3), True), ((1, 0, 2, 3), False)])
def test_a_cell_left_earlier_in_the_step_is_free(start, order, follows):
    state = at(at(start, location=(0, [6, 7])), location=(1, [6, 6]))
    state = at(state, location=(3, [8, 6]))
    after = gathered(state, [RIGHT, RIGHT, STAY, STAY], order)
    assert after.location[0].tolist() == [6, 8]
    assert after.location[1].tolist() == ([6, 7] if follows else [6, 6])


def test_water_borders_and_foreign_houses_stop_ones_own_do_not(start):
    houses = start.house_owner.at[6, 7].set(0).at[7, 6].set(0)
    state = dataclasses.replace(start, house_owner=houses)
    state = at(state, location=(3, [5, 5]))  # the water is on row and column 4
    assert WORLD.water[4, 5] == 1
    after = gathered(state, [RIGHT, LEFT, DOWN, UP])
    assert after.location.tolist() == [[6, 7], [7, 7], [8, 8], [5, 5]]
    np.testing.assert_allclose(after.labor, [1, 0, 0, 0])


def test_a_source_that_is_empty_and_a_house_block_building_and_escrow_does_not_count(start):
    state = at(start, location=(0, [0, 0]))
    state = dataclasses.replace(
        state,
        resources=jnp.zeros_like(state.resources),
        house_owner=state.house_owner.at[7, 7].set(1),
        inventory=jnp.array([[1, 1], [1, 1], [0, 5], [2, 3]]),
        escrow=jnp.array([[0, 0], [0, 0], [5, 0], [0, 0]]),
    )
    after = build(state, try_to(build=True), None, PARAMS, WORLD)
    np.testing.assert_array_equal(after.inventory, [[1, 1], [1, 1], [0, 5], [1, 2]])
    np.testing.assert_allclose(after.labor, [0, 0, 0, 10])
    np.testing.assert_allclose(after.coin - state.coin, [0, 0, 0, state.build_payment[3]])
    assert after.house_owner[6, 8] == 3 and after.house_owner[8, 8] == -1


def test_coin_in_escrow_is_income_but_cannot_be_taken_and_lump_sums_are_no_income(start):
    state = dataclasses.replace(
        start,
        coin=jnp.array([1.0, 50.0, 0.0, 10.0]),
        escrow_coin=jnp.array([19.0, 0.0, 0.0, 10.0]),
        last_coin=jnp.array([0.0, 40.0, 5.0, 0.0]),
        rates=jnp.full(7, 0.5),
    )
    after = collect(state, PARAMS, WORLD)
    np.testing.assert_allclose(after.last_income, [20, 10, -5, 20])
    # Half of each income, but the first has one coin at hand and the third has lost.
    np.testing.assert_allclose(after.coin, np.array([0, 45, 0, 0]) + 16 / 4)
    np.testing.assert_allclose(after.last_coin, after.total_coin)
    np.testing.assert_allclose(after.last_marginal_rate, [0.5, 0.5, 0.0, 0.5])
