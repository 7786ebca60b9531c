"""An episode log as one self-contained HTML page: data, script and style inside, no network.

The data is one block of typed arrays in base64 behind a table of contents in JSON. What changes
rarely (units on the map, houses, orders, rates) is written as events.
"""

import base64
import html
import importlib.resources
import json
import re
from typing import Any

import numpy as np

from ai_econ_jax.envs.economy import welfare
from ai_econ_jax.envs.gather_trade_build.episode_log import NO_ORDER, NO_OWNER, EpisodeLog
from ai_econ_jax.envs.gather_trade_build.replay import palette

_SCRIPTS = (
    "episode.js",
    "canvas.js",
    "world.js",
    "charts.js",
    "market.js",
    "taxes.js",
    "player.js",
)
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_ALIGNMENT = 4  # bytes: the widest number in the block


def render(log: EpisodeLog, title: str = "Gather-trade-build") -> str:
    """The page, as text.

    Args:
      log: The episode.
      title: Shown at the top of the page and of its window.
    """
    contents, block = _pack(_arrays(log))
    data = {
        "numSteps": log.num_steps,
        "height": log.water.shape[0],
        "width": log.water.shape[1],
        "workers": log.worker_names.tolist(),
        "resources": log.resource_names.tolist(),
        "config": log.configuration,
        "palette": {theme: _palette(log, theme) for theme in palette.TERRAIN},
        "arrays": contents,
    }
    values = {
        "title": html.escape(title),
        "style": _asset("style.css"),
        "data": _json(data),
        "block": base64.b64encode(block).decode(),
        "script": "\n".join(map(_asset, _SCRIPTS)),
    }
    # One pass, so that what a log calls itself is never taken for a place to fill.
    return _PLACE.sub(lambda place: values[place[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _json(data: Any) -> str:
    """JSON that is safe inside a script element, whatever the names in it are."""
    escaped = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return escaped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _palette(log: EpisodeLog, theme: str) -> dict[str, Any]:
    return {
        "workers": palette.worker_colors(log.num_workers, theme),
        "terrain": palette.TERRAIN[theme],
        "resources": palette.RESOURCES[theme],
    }


def _arrays(log: EpisodeLog) -> dict[str, np.ndarray]:
    """The page's arrays by name; the leading axis of an event array runs over events."""
    width = log.water.shape[1]
    cell = log.location[..., 0].astype(np.int32) * width + log.location[..., 1]
    resource_steps, resource_places, amounts = _changes(log.resources)
    house_steps, house_cells, owners = _changes(log.house_owner, start=NO_OWNER)
    rate_steps = 1 + np.flatnonzero(np.any(np.diff(log.rates, axis=0) != 0, axis=1))
    rate_steps = np.concatenate([[0], rate_steps]).astype(np.int32)
    return {
        "sources": log.sources.astype(np.uint8),
        "water": log.water.astype(np.uint8),
        "buildPayment": log.build_payment,
        "cutoffs": log.cutoffs,
        "cell": cell,
        "coin": log.total_coin,
        "escrowCoin": log.escrow_coin,
        "income": log.income,
        "labor": log.labor,
        "utility": log.utility,
        "equality": np.asarray(_equality(log), np.float32),
        "inventory": log.inventory,
        "escrow": log.escrow,
        "taxDay": log.tax_day,
        "firstResources": log.resources[0],
        "resourceStep": resource_steps,
        "resourcePlace": resource_places,
        "resourceAmount": amounts.astype(np.uint8),
        "houseStep": house_steps,
        "houseCell": house_cells,
        "houseOwner": owners,
        "rateStep": rate_steps,
        "rates": log.rates[rate_steps],
        **_orders(log),
        "tradeStep": log.trade_step,
        "tradeResource": log.trade_resource,
        "tradeBuyer": log.trade_buyer,
        "tradeSeller": log.trade_seller,
        "tradePrice": log.trade_price,
        "yearStep": log.year_step,
        "yearRates": log.year_rates,
        "yearIncome": log.year_income,
        "yearPaid": log.year_paid,
        "yearLumpSum": log.year_lump_sum,
    }


def _changes(
    states: np.ndarray, start: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where an array [S, ...] changes: states, flat places and new values, in order of time.

    With ``start``, state 0 itself counts as changed where it differs from that value.
    """
    flat = states.reshape(len(states), -1)
    before = np.full_like(flat[:1], start) if start is not None else flat[:1]
    step, place = np.nonzero(flat != np.concatenate([before, flat[:-1]]))
    return step.astype(np.int32), place.astype(np.int32), flat[step, place]


def _orders(log: EpisodeLog) -> dict[str, np.ndarray]:
    """Open orders as intervals: seen in the states ``orderFrom <= s < orderUntil``."""
    side = log.order_side.reshape(len(log.order_side), -1)
    price = np.where(side == NO_ORDER, 0, log.order_price.reshape(side.shape))
    birth = np.where(side == NO_ORDER, 0, log.order_birth.reshape(side.shape))
    same = (side[1:] == side[:-1]) & (price[1:] == price[:-1]) & (birth[1:] == birth[:-1])
    fresh = np.concatenate([np.ones_like(side[:1], bool), ~same])
    # Slot by slot, each run of equal states is one order, or none.
    slot, first = np.nonzero(fresh.T)
    until = np.append(first[1:], 0)
    until[np.append(slot[1:] != slot[:-1], True)] = len(side)
    is_order = side[first, slot] != NO_ORDER
    slot, first, until = slot[is_order], first[is_order], until[is_order]
    order = np.argsort(first, kind="stable")
    slot, first, until = slot[order], first[order], until[order]
    resource, worker, _ = np.unravel_index(slot, log.order_side.shape[1:])
    return {
        "orderFrom": first.astype(np.int32),
        "orderUntil": until.astype(np.int32),
        "orderSide": side[first, slot].astype(np.uint8),
        "orderResource": resource.astype(np.uint8),
        "orderWorker": worker.astype(np.int32),
        "orderPrice": price[first, slot].astype(np.int32),
    }


def _pack(arrays: dict[str, np.ndarray]) -> tuple[dict[str, list], bytes]:
    """Little-endian bytes of all arrays, and for each its type, shape and offset."""
    contents: dict[str, list] = {}
    block = bytearray()
    for name, array in arrays.items():
        block += bytes(-len(block) % _ALIGNMENT)
        contents[name] = [array.dtype.name, list(array.shape), len(block)]
        block += np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return contents, bytes(block)


def _equality(log: EpisodeLog) -> Any:
    """Equality of coin, f[S], by the formula of the economy's own reward."""
    mode = log.configuration.get("gini_mode", "exact")
    return welfare.equality(np.maximum(log.total_coin, 0.0), mode)
