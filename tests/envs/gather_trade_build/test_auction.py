"""The auction: the nine cases whose official outcomes are known, and the rules one by one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, PerRole, make_params
from ai_econ_jax.envs.gather_trade_build.auction import order_histogram
from ai_econ_jax.envs.gather_trade_build.state import ASK, BID, WOOD

ENVIRONMENT = GatherTradeBuild(Config(layout="quadrant_25x25_20each_30clump_no_water"))
NOOP = 0


@jax.jit
def _step(state, action, params):
    """What is seen is not compiled, and that is half of a step."""
    state, timestep = ENVIRONMENT.step(jax.random.key(1), state, action, params)
    return state, timestep.info


@jax.jit
def _reset(params):
    return ENVIRONMENT.reset(jax.random.key(0), params)[0]


def bid(price):
    return 24 + price


def ask(price):
    return 35 + price


def start(coin=100.0, units=3, **numbers):
    params = make_params(ENVIRONMENT.config, **numbers)
    state = _reset(params)
    state = dataclasses.replace(
        state,
        coin=jnp.full(4, coin),
        inventory=jnp.full((4, 2), units, jnp.int32),
        # Nothing to gather, so that only trade moves goods.
        resources=jnp.zeros_like(state.resources),
    )
    return state, dataclasses.replace(params, regeneration=jnp.zeros(2))


def play(state, params, *steps):
    """Plays ``steps`` of ``{worker: action}``; returns the state and all trades in Wood."""
    trades = []
    for step in steps:
        workers = jnp.array([step.get(i, NOOP) for i in range(4)])
        action = PerRole(workers=workers, planner=jnp.zeros(7, jnp.int32))
        state, events = _step(state, action, params)
        for buyer, slot in np.argwhere(np.asarray(events.trade_price[WOOD]) >= 0):
            seller = int(events.trade_seller[WOOD, buyer, slot])
            trades.append((int(buyer), seller, int(events.trade_price[WOOD, buyer, slot])))
    return state, trades


@pytest.mark.parametrize(
    "steps, expected",
    [
        pytest.param([{0: bid(9)}, {1: ask(1)}], [(0, 1, 9)], id="a-older-bid-sets-price"),
        pytest.param([{1: ask(1)}, {0: bid(9)}], [(0, 1, 1)], id="b-older-ask-sets-price"),
        pytest.param([{0: bid(9), 1: ask(1)}], [(0, 1, 1)], id="c-same-step-ask-sets-price"),
        pytest.param([{0: bid(9)}, {0: ask(1)}], [], id="d-nobody-trades-with-oneself"),
        pytest.param([{0: bid(5), 2: bid(5)}, {1: ask(5)}], [(0, 1, 5)], id="e-lower-index-first"),
        pytest.param([{3: bid(5)}, {0: bid(5)}, {1: ask(2)}], [(3, 1, 5)], id="f-older-bid-first"),
        pytest.param(
            [{0: ask(1)}, {1: ask(4)}, {0: bid(5)}], [(0, 1, 4)], id="g-own-best-ask-is-skipped"
        ),
        pytest.param(
            [{0: ask(3), 1: ask(2), 2: ask(2)}, {3: bid(2)}, {3: bid(4)}],
            [(3, 1, 2), (3, 2, 2)],
            id="i-asks-by-price-then-index",
        ),
    ],
)
def test_official_cases(steps, expected):
    _, trades = play(*start(), *steps)
    assert trades == expected


@pytest.mark.parametrize("idle, trades_made", [(0, 1), (1, 1), (2, 1), (3, 0), (4, 0)])
def test_h_an_order_takes_part_in_duration_plus_one_matchings(idle, trades_made):
    state, params = start(order_duration=3)
    state, trades = play(state, params, {0: bid(5)}, *[{}] * idle, {1: ask(5)})
    assert len(trades) == trades_made
    if not trades_made:
        assert state.coin[0] == 100 and state.escrow_coin[0] == 0


def test_d_both_orders_of_one_worker_stay_open():
    state, _ = play(*start(), {0: bid(9)}, {0: ask(1)})
    assert order_histogram(state, BID)[WOOD, 0, 9] == 1
    assert order_histogram(state, ASK)[WOOD, 0, 1] == 1


def test_payment_moves_from_escrow_and_the_excess_returns():
    state, _ = play(*start(), {1: ask(2)}, {0: bid(9)})
    np.testing.assert_allclose(state.coin, [98, 102, 100, 100])
    np.testing.assert_allclose(state.escrow_coin, 0)
    np.testing.assert_array_equal(state.inventory[:, WOOD], [4, 2, 3, 3])
    np.testing.assert_allclose(state.labor, [0.25, 0.25, 0, 0])


def test_sales_enter_the_history_of_the_seller_and_decay():
    state, _ = play(*start(), {1: ask(2)}, {0: bid(9)}, {})
    history = np.asarray(state.price_history[WOOD])
    np.testing.assert_allclose(history[1, 2], 0.995, rtol=1e-6)
    assert history.sum() == history[1, 2]


def test_uncovered_orders_are_not_opened():
    state, _ = play(*start(coin=4.0, units=0), {0: bid(5), 1: ask(0), 2: bid(4), 3: bid(0)})
    np.testing.assert_allclose(state.labor, [0, 0, 0.25, 0.25])
    np.testing.assert_allclose(state.escrow_coin, [0, 0, 4, 0])


def test_no_more_than_five_orders_are_open():
    state, _ = play(*start(), *[{0: bid(1)}] * 7)
    assert order_histogram(state, BID)[WOOD, 0].sum() == 5
    assert state.escrow_coin[0] == 5
