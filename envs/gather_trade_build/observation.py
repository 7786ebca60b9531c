"""What workers and the planner see.

Axes: N workers, P prices, B brackets, V = 2 radius + 1 visible cells, H x W cells. Features stand
in the order of the official flattened observations, which is that of their names.

Source: AI Economist, arXiv 2108.02755, official code; spec section 3.8.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax import spaces
from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.gather_trade_build import ground, masks
from ai_econ_jax.envs.gather_trade_build.auction import order_histogram
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import (
    ASK,
    BID,
    RESOURCES,
    PlannerObservation,
    State,
    WorkerObservation,
)
from ai_econ_jax.envs.gather_trade_build.tax import current_marginal_rate
from ai_econ_jax.envs.gather_trade_build.world import World

_RESOURCE_NAMES = tuple(name.lower() for name in RESOURCES)
_SCALE = 0.01
# Divides where nothing was ever sold.
_LEAST_SALES = 0.001


def observe(state: State, params: Params, world: World) -> PerRole:
    """What everybody sees of ``state``: ``WorkerObservation`` and ``PlannerObservation``."""
    config = world.config
    border = max(config.observation_radius, 1)
    cells = ground.add_workers(ground.pack(state, world, border), state, border)
    near = ground.around(cells, state.location, border)
    market = _market(state, world)
    whole = cells[border : border + world.height, border : border + world.width]
    if config.full_observability:
        seen = jnp.broadcast_to(whole, (config.num_workers, *whole.shape))
        channels = _channels(seen, 6)
    else:
        # Without the barriers the compiler gathers, and packs, once for each channel.
        cells = jax.lax.optimization_barrier(cells)
        corner = state.location + (border - config.observation_radius)
        seen = ground.windows(cells, corner, config.observation_radius)
        seen = jax.lax.optimization_barrier(seen)
        channels = _channels(seen, 7)
    dtype = state.coin.dtype
    return PerRole(
        workers=WorkerObservation(
            map=channels.astype(dtype),
            index_map=_index_map(seen, observers=True),
            flat=_stack_features(
                _worker_features(state, market, params, world), config.num_workers, dtype
            ),
            action_mask=masks.worker_mask(state, near, world),
        ),
        planner=PlannerObservation(
            map=_channels(whole, 6).astype(dtype) if config.planner_sees_map else None,
            index_map=_index_map(whole, observers=False) if config.planner_sees_map else None,
            flat=_stack_features(_planner_features(state, market, params, world), None, dtype),
            per_worker=_stack_features(
                _per_worker_features(state, params, world), config.num_workers, dtype
            ),
            action_mask=masks.planner_mask(state, world),
        ),
    )


def _channels(cells: jax.Array, number: int) -> jax.Array:
    """The first channels of the map, i32[..., number, rows, columns]."""
    shift = ground.CHANNEL_SHIFT[:number, None, None]
    return (cells[..., None, :, :] >> shift) & ground.CHANNEL_MASK[:number, None, None]


def _index_map(cells: jax.Array, observers: bool) -> jax.Array:
    """Owners and workers, i32[..., 2, rows, columns]; with observers their own code is 1."""
    codes = jnp.stack([ground.owner(cells), ground.worker(cells)], axis=-3)
    if not observers:
        return codes
    own = jnp.arange(codes.shape[0], dtype=codes.dtype)[:, None, None, None] + 2
    return jnp.where(codes == own, 1, codes)


def _market(state: State, world: World) -> dict[str, jax.Array]:
    """Order books and prices: per worker i32[2, N, P], and over all workers."""
    scale = _SCALE if world.config.observation_scaling else 1.0
    asks, bids = order_histogram(state, ASK), order_histogram(state, BID)
    history = jnp.sum(state.price_history, axis=1)
    prices = jnp.arange(history.shape[-1])
    sales = jnp.maximum(jnp.sum(history, axis=-1), _LEAST_SALES)
    return {
        "my_asks": asks,
        "my_bids": bids,
        "full_asks": jnp.sum(asks, axis=1),
        "full_bids": jnp.sum(bids, axis=1),
        "price_history": history * scale,
        "market_rate": (jnp.sum(history * prices, axis=-1) / sales)[:, None],
    }


def _worker_features(
    state: State, market: dict[str, jax.Array], params: Params, world: World
) -> list[jax.Array]:
    """Features of workers in order: the last axis over values, before it maybe one over N."""
    own = {name: market[name] for name in ("my_asks", "my_bids")}
    others = {
        name: market[f"full_{name}"][:, None] - market[f"my_{name}"] for name in ("asks", "bids")
    }
    features = [
        _column(state.build_payment / params.payment),
        _column(state.build_skill),
        *others["asks"],
        *others["bids"],
        *market["market_rate"],
        *own["my_asks"],
        *own["my_bids"],
        *market["price_history"],
        _column(state.bonus),
    ]
    if "tax" in world.config.components:
        before, phase = _tax_features(state, params)
        features += [*before, _column(current_marginal_rate(state, params, world)), phase]
    features += [_time(state, world), *_inventory(state, world)]
    if not world.config.full_observability:
        features += _place(state, world)
    return features


def _planner_features(
    state: State, market: dict[str, jax.Array], params: Params, world: World
) -> list[jax.Array]:
    """Features of the planner in order, each with one axis."""
    features = [
        *market["full_asks"],
        *market["full_bids"],
        *market["market_rate"],
        *market["price_history"],
    ]
    if "tax" in world.config.components:
        before, phase = _tax_features(state, params)
        features += [*before, phase]
    # The planner owns nothing.
    return [*features, _time(state, world), jnp.zeros(3)]


def worker_feature_names(world: World) -> tuple[str, ...]:
    """Names of the entries of a worker's flat observation, F of them, in order (spec 3.8).

    A number at the end is a price, a bracket, or for ``last_income`` the rank from the lowest.
    """
    names = ["build_payment", "build_skill"]
    names += [*_price_names("available_asks", world), *_price_names("available_bids", world)]
    names += [f"market_rate_{resource}" for resource in _RESOURCE_NAMES]
    for name in ("my_asks", "my_bids", "price_history"):
        names += _price_names(name, world)
    names += ["bonus"]
    if "tax" in world.config.components:
        names += [*_tax_names(world), "marginal_rate", "tax_phase"]
    names += ["time", "coin", *_RESOURCE_NAMES]
    if not world.config.full_observability:
        names += ["column", "row"]
    return tuple(names)


def planner_feature_names(world: World) -> tuple[str, ...]:
    """Names of the entries of the planner's flat observation, F of them, in order (spec 3.8)."""
    names = [*_price_names("full_asks", world), *_price_names("full_bids", world)]
    names += [f"market_rate_{resource}" for resource in _RESOURCE_NAMES]
    names += _price_names("price_history", world)
    if "tax" in world.config.components:
        names += [*_tax_names(world), "tax_phase"]
    return (*names, "time", "coin", *_RESOURCE_NAMES)


def _price_names(name: str, world: World) -> list[str]:
    prices = range(world.config.num_prices)
    return [f"{name}_{resource}_{price}" for resource in _RESOURCE_NAMES for price in prices]


def _tax_names(world: World) -> list[str]:
    rates = [f"rate_{bracket}" for bracket in range(world.num_brackets)]
    incomes = [f"last_income_{rank}" for rank in range(world.config.num_workers)]
    return [*rates, "is_first_day", "is_tax_day", *incomes]


def _per_worker_features(state: State, params: Params, world: World) -> list[jax.Array]:
    """What the planner sees of each worker, each f32[N, 1]."""
    features = []
    if "tax" in world.config.components:
        features += [
            _column(current_marginal_rate(state, params, world)),
            _column(state.last_income / params.tax_period),
            _column(state.last_marginal_rate),
        ]
    if not world.config.full_observability:
        features += _inventory(state, world)
        if world.config.planner_sees_map:
            features += _place(state, world)
    return features


def _tax_features(state: State, params: Params) -> tuple[list[jax.Array], jax.Array]:
    """Rates, first day, tax day and sorted last incomes; and the phase of the period."""
    position, period = state.tax_position, params.tax_period
    incomes = jnp.sort(state.last_income / period)
    calendar = jnp.stack([position == 1, position >= period])
    phase = position.astype(incomes.dtype) / period
    return [state.shown_rates, calendar, incomes], phase[None]


def _time(state: State, world: World) -> jax.Array:
    config = world.config
    time = state.time.astype(state.coin.dtype)
    return (time / (config.episode_length if config.observation_scaling else 1))[None]


def _inventory(state: State, world: World) -> list[jax.Array]:
    scale = _SCALE if world.config.observation_scaling else 1.0
    return [_column(state.coin * scale), state.inventory.astype(state.coin.dtype) * scale]


def _place(state: State, world: World) -> list[jax.Array]:
    place = state.location.astype(state.coin.dtype)
    return [_column(place[:, 1] / world.width), _column(place[:, 0] / world.height)]


def _column(values: jax.Array) -> jax.Array:
    return values[:, None]


def _stack_features(
    features: list[jax.Array], num_workers: int | None, dtype: np.dtype
) -> jax.Array:
    """Features side by side, f32[N, F], or f32[F] without workers."""
    if num_workers is not None:
        features = [jnp.broadcast_to(f, (num_workers, f.shape[-1])) for f in features]
        if not features:
            return jnp.zeros((num_workers, 0), dtype)
    return jnp.concatenate([f.astype(dtype) for f in features], axis=-1)


def observation_space(example: PerRole) -> PerRole:
    """Boxes with the shapes of ``example``, an observation or its ``jax.eval_shape``."""
    return jax.tree.map(
        lambda array: (
            spaces.Box(0, 1, array.shape)
            if array.dtype == bool
            else spaces.Box(-np.inf, np.inf, array.shape)
        ),
        example,
    )
