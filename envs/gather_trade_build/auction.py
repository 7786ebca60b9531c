"""The continuous double auction in which workers trade Stone and Wood.

In a market, bids come in the order of price (highest first), age and worker, asks likewise
(lowest first). The next trade is that of the first bid which any ask of another worker meets, and
of the first such ask. A bid that no ask meets now will meet none later in this step, for asks only
disappear: so this is the official order of trades, one reduction over the open orders for each.

Axes: N workers, K slots for open orders, P prices.

Source: AI Economist, arXiv 2108.02755, component ``ContinuousDoubleAuction``; spec section 3.4.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from ai_econ_jax.envs.gather_trade_build.actions import Actions
from ai_econ_jax.envs.gather_trade_build.config import Config
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import (
    ASK,
    BID,
    NO_ORDER,
    RESOURCES,
    STONE,
    WOOD,
    State,
    StepNoise,
)
from ai_econ_jax.envs.gather_trade_build.world import World

_HISTORY_DECAY = 0.995
_GONE = np.iinfo(np.int32).max  # rank of what is no (longer a) bid or ask


@struct.dataclass
class _Book:
    """Open orders while trades are made.

    Attributes:
      bid_rank: i32[2, N, K], place in the order of bids, ``_GONE`` where there is no open bid.
      ask_rank: i32[2, N, K], likewise.
      price: i32[2, N, K], price of the trade that filled the bid or ask, -1 for none.
      seller: i32[2, N, K], who sold to that bid, -1 for none.
      coin: f32[N], of the workers.
      may_go_on: bool[], whether the last search found a trade.
    """

    bid_rank: jax.Array
    ask_rank: jax.Array
    price: jax.Array
    seller: jax.Array
    coin: jax.Array
    may_go_on: jax.Array


def trade(state: State, action: Actions, noise: StepNoise, params: Params, world: World) -> State:
    """New orders, then trades, then expiry."""
    del noise
    state = create_orders(state, action, params)
    state = match(state, world.config)
    state = expire(state, params)
    return dataclasses.replace(
        state,
        escrow_coin=jnp.sum(
            jnp.where(state.order_side == BID, state.order_price, 0), axis=(0, 2)
        ).astype(state.escrow_coin.dtype),
        escrow=jnp.sum(state.order_side == ASK, axis=2, dtype=jnp.int32).T,
    )


def create_orders(state: State, action: Actions, params: Params) -> State:
    """Opens the orders that their worker can cover; what they promise leaves the inventory.

    Per resource a bid comes before an ask; Stone comes before Wood.
    """
    coin, labor = state.coin, state.labor
    sides, prices, births, stocks = [], [], [], []
    for kind in range(len(RESOURCES)):
        side, price, birth = (
            state.order_side[kind],
            state.order_price[kind],
            state.order_birth[kind],
        )
        stock = state.inventory[:, kind]
        for new_side, new_price in ((BID, action.bid[kind]), (ASK, action.ask[kind])):
            covered = coin >= new_price if new_side == BID else stock > 0
            slot = _first_free_slot(side)
            opens = (new_price >= 0) & covered & (slot < side.shape[-1])
            if new_side == BID:
                coin = coin - jnp.where(opens, new_price, 0)
            else:
                stock = stock - opens
            labor = labor + jnp.where(opens, params.order_labor, 0.0)
            here = opens[:, None] & (jnp.arange(side.shape[-1]) == slot[:, None])
            side = jnp.where(here, jnp.int8(new_side), side)
            price = jnp.where(here, new_price[:, None], price)
            birth = jnp.where(here, state.time, birth)
        sides.append(side)
        prices.append(price)
        births.append(birth)
        stocks.append(stock)
    return dataclasses.replace(
        state,
        coin=coin,
        labor=labor,
        inventory=jnp.stack(stocks, axis=-1),
        order_side=jnp.stack(sides),
        order_price=jnp.stack(prices),
        order_birth=jnp.stack(births),
        price_history=state.price_history * _HISTORY_DECAY,
    )


def match(state: State, config: Config) -> State:
    """Trades until no bid meets an ask of another worker.

    The older order sets the price; of two of one step, the ask. The unit and what was bid too much
    go to the buyer, the price to the seller. Trades are paid one by one, Stone first, so that coin
    is rounded as in the official code: its Saez estimate hangs on the sign of incomes next to 0.
    """
    num_workers, num_steps = config.num_workers, config.episode_length + 1
    one_price = num_steps * num_workers
    side, price = state.order_side, state.order_price
    workers = jnp.arange(num_workers, dtype=jnp.int32)[:, None]
    by_age = state.order_birth * num_workers + workers
    # Ranks are unique: nobody opens two bids, or two asks, for one resource in one step.
    bid_rank = jnp.where(side == BID, (config.max_price - price) * one_price + by_age, _GONE)
    ask_rank = jnp.where(side == ASK, price * one_price + by_age, _GONE)
    is_wood = np.arange(len(RESOURCES))[:, None, None] == WOOD

    def next_trade(book: _Book) -> _Book:
        best_ask = jnp.min(book.ask_rank, axis=(1, 2), keepdims=True)
        is_best_seller = workers == best_ask % num_workers
        # Nobody trades with oneself: the best seller's own bids meet the best ask of the others.
        second_ask = jnp.min(
            jnp.where(is_best_seller, _GONE, book.ask_rank), axis=(1, 2), keepdims=True
        )
        ask = jnp.where(is_best_seller, second_ask, best_ask)
        meets = (book.bid_rank != _GONE) & (price * one_price + (one_price - 1) >= ask)
        best_bid = jnp.min(jnp.where(meets, book.bid_rank, _GONE), axis=(1, 2), keepdims=True)
        found = best_bid != _GONE
        found &= ~(is_wood & found[STONE])

        buyer = best_bid % num_workers
        ask = jnp.where(buyer == best_ask % num_workers, second_ask, best_ask)
        bid_age, ask_age = best_bid % one_price // num_workers, ask % one_price // num_workers
        bid_price = config.max_price - best_bid // one_price
        paid = jnp.where(ask_age <= bid_age, ask // one_price, bid_price)
        is_bid = found & (book.bid_rank == best_bid)
        is_ask = found & (book.ask_rank == ask)
        received = jnp.where(is_bid, bid_price - paid, 0) + jnp.where(is_ask, paid, 0)
        return _Book(
            bid_rank=jnp.where(is_bid, _GONE, book.bid_rank),
            ask_rank=jnp.where(is_ask, _GONE, book.ask_rank),
            price=jnp.where(is_bid | is_ask, paid, book.price),
            seller=jnp.where(is_bid, ask % num_workers, book.seller),
            coin=book.coin + jnp.sum(received, axis=(0, 2)),
            may_go_on=jnp.any(found),
        )

    none = jnp.full(side.shape, -1, jnp.int32)
    book = _Book(bid_rank, ask_rank, none, none, state.coin, jnp.array(True))
    book = lax.while_loop(lambda book: book.may_go_on, next_trade, book)

    is_filled = book.price >= 0
    bought, sold = is_filled & (side == BID), is_filled & (side == ASK)
    prices = jnp.arange(config.num_prices)
    sales = jnp.sum(sold[..., None] & (book.price[..., None] == prices), axis=2)
    return dataclasses.replace(
        state,
        coin=book.coin,
        inventory=state.inventory + jnp.sum(bought, axis=2, dtype=jnp.int32).T,
        order_side=jnp.where(is_filled, jnp.int8(NO_ORDER), side),
        price_history=state.price_history + sales,
        events=dataclasses.replace(
            state.events, trade_price=jnp.where(bought, book.price, -1), trade_seller=book.seller
        ),
    )


def expire(state: State, params: Params) -> State:
    """Closes orders of the age ``order_duration``; what they promised returns."""
    is_old = state.time - state.order_birth >= params.order_duration
    is_old &= state.order_side != NO_ORDER
    returned = jnp.where(is_old & (state.order_side == BID), state.order_price, 0)
    coin_by_resource = jnp.sum(returned, axis=2)
    units = jnp.sum(is_old & (state.order_side == ASK), axis=2, dtype=jnp.int32).T
    return dataclasses.replace(
        state,
        coin=state.coin + coin_by_resource[STONE] + coin_by_resource[WOOD],
        inventory=state.inventory + units,
        order_side=jnp.where(is_old, jnp.int8(NO_ORDER), state.order_side),
    )


def open_orders(state: State) -> jax.Array:
    """Number of open orders by resource and worker, i32[2, N]."""
    return jnp.sum(state.order_side != NO_ORDER, axis=2, dtype=jnp.int32)


def order_histogram(state: State, side: int) -> jax.Array:
    """Number of open bids or asks by resource, worker and price, i32[2, N, P]."""
    prices = jnp.arange(state.price_history.shape[-1])
    is_side = (state.order_side == side)[..., None]
    return jnp.sum(is_side & (state.order_price[..., None] == prices), axis=2, dtype=jnp.int32)


def _first_free_slot(side: jax.Array) -> jax.Array:
    """i32[N], K where all slots are taken."""
    slots = jnp.arange(side.shape[-1], dtype=jnp.int32)
    return jnp.min(
        jnp.where(side == NO_ORDER, slots, side.shape[-1]), axis=-1, initial=side.shape[-1]
    )
