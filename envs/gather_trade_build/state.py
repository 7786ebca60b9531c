"""What one running economy is made of.

Axes: N workers, H x W cells, K open orders of one worker for one resource, P prices, B brackets,
M Saez samples, S sites where resources may grow. Wherever an axis has length 2 and stands for
resources, Stone is 0 and Wood is 1. Places are ``(row, column)``.

Source: AI Economist, arXiv 2108.02755, official code; spec section 3.2.
"""

from typing import Any

import jax
from flax import struct

from ai_econ_jax.envs.economy.saez import SaezState

STONE, WOOD = 0, 1
RESOURCES = ("Stone", "Wood")

# Values of `State.order_side`.
NO_ORDER, BID, ASK = 0, 1, 2


@struct.dataclass
class Events:
    """What happened in the last step, for logs and replays; zeros after a reset.

    Attributes:
      built: bool[N], the worker built a house.
      gathered: i32[N, 2], units gathered.
      trade_price: i32[2, N, K], price at which the bid in that slot of its buyer was filled, in
        coin; -1 where no bid was filled.
      trade_seller: i32[2, N, K], who sold to that bid; -1 where no bid was filled.
      tax_paid: f32[N], in coin.
      lump_sum: f32[], what each worker got back, in coin.
      layout_ok: bool[], of the episode: whether its map covers what it should, if it was drawn; see
        ``procedural.draw_source``.
    """

    built: jax.Array
    gathered: jax.Array
    trade_price: jax.Array
    trade_seller: jax.Array
    tax_paid: jax.Array
    lump_sum: jax.Array
    layout_ok: jax.Array


@struct.dataclass
class MetaState:
    """What an environment remembers over episodes: the progress of curricula, and Saez' samples.

    Attributes:
      completions: i32[], episodes finished.
      productive_steps: i32[], steps with a positive mean reward of workers.
      rate_cap: f32[], highest marginal rate allowed in this episode.
      last_rates: f32[B], the marginal rates in force when the last episode ended.
      saez: Buffer and elasticity of the tax model ``saez``.
    """

    completions: jax.Array
    productive_steps: jax.Array
    rate_cap: jax.Array
    last_rates: jax.Array
    saez: SaezState


@struct.dataclass
class State:
    """One running economy.

    Attributes:
      time: i32[], steps taken.
      location: i32[N, 2], row and column.
      coin: f32[N], inventory, in coin.
      escrow_coin: f32[N], set aside for open bids, in coin.
      inventory: i32[N, 2], units of each resource.
      escrow: i32[N, 2], units set aside for open asks.
      labor: f32[N], cumulative.
      build_payment: f32[N], coin per house.
      build_skill: f32[N], the sampled skill that workers observe.
      bonus: f32[N], probability of a second unit when gathering.
      resources: u8[2, H, W], units that lie on each cell.
      source: u8[2, H, W], 1 where the resource grows.
      house_owner: i8[H, W], worker who built there, -1 for none.
      order_side: i8[2, N, K], ``NO_ORDER``, ``BID`` or ``ASK``.
      order_price: i32[2, N, K], in coin.
      order_birth: i32[2, N, K], the step that created the order.
      price_history: f32[2, N, P], decayed number of sales of each worker at each price.
      tax_position: i32[], day of the tax period, from 1.
      rate_index: i32[B], the planner's choice among the discrete rates.
      rates: f32[B], marginal rates in force.
      shown_rates: f32[B], marginal rates that observations show.
      last_coin: f32[N], coin with escrow after the last tax day.
      last_income: f32[N], income of the last tax period, in coin.
      last_marginal_rate: f32[N], at that income.
      utility: f32[N], at the end of the last step.
      welfare: f32[], the planner's objective at the end of the last step.
      meta: What survives the episode.
      events: What happened in the last step.
    """

    time: jax.Array
    location: jax.Array
    coin: jax.Array
    escrow_coin: jax.Array
    inventory: jax.Array
    escrow: jax.Array
    labor: jax.Array
    build_payment: jax.Array
    build_skill: jax.Array
    bonus: jax.Array
    resources: jax.Array
    source: jax.Array
    house_owner: jax.Array
    order_side: jax.Array
    order_price: jax.Array
    order_birth: jax.Array
    price_history: jax.Array
    tax_position: jax.Array
    rate_index: jax.Array
    rates: jax.Array
    shown_rates: jax.Array
    last_coin: jax.Array
    last_income: jax.Array
    last_marginal_rate: jax.Array
    utility: jax.Array
    welfare: jax.Array
    meta: MetaState
    events: Events

    @property
    def total_coin(self) -> jax.Array:
        """f32[N], inventory and escrow, in coin."""
        return self.coin + self.escrow_coin


@struct.dataclass
class StepNoise:
    """Everything that is random in one step.

    Attributes:
      gather_order: i32[N], a permutation: the workers in the order in which they move.
      gather: f32[N], uniform; below ``bonus`` the worker gathers a second unit.
      regeneration: f32[S], uniform; one number for each site where a resource may grow.
      saez: f32[B], uniform; rates of the tax model ``saez`` until its buffer is full.
    """

    gather_order: jax.Array
    gather: jax.Array
    regeneration: jax.Array
    saez: jax.Array


@struct.dataclass
class ResetNoise:
    """Everything that is random in a reset.

    Attributes:
      worker_of_rank: i32[N], a permutation: who gets each skill rank, for the layouts with ranks.
      location: i32[N, 2], distinct free cells.
      build_skill: f32[N], draws of the skill law.
      bonus: f32[N], draws of the law of bonus probabilities.
      source: u8[2, H, W], where resources grow.
      layout_ok: bool[], see ``Events``.
    """

    worker_of_rank: jax.Array
    location: jax.Array
    build_skill: jax.Array
    bonus: jax.Array
    source: jax.Array
    layout_ok: jax.Array | bool = True


@struct.dataclass
class WorkerObservation:
    """What each worker sees, or its space. F features, A actions, V x V visible cells.

    Attributes:
      map: f32[N, 7, V, V]: Stone, Wood, House, Water, StoneSource, WoodSource, inside the world;
        with full observability f32[N, 6, H, W], without the last one.
      index_map: i32[N, 2, V, V]: owner of the house, worker on the cell; 0 nobody, 1 the observer,
        j + 2 worker j.
      flat: f32[N, F], see ``observation.worker_feature_names``.
      action_mask: bool[N, A], True where the action has an effect.
    """

    map: Any
    index_map: Any
    flat: Any
    action_mask: Any


@struct.dataclass
class PlannerObservation:
    """What the planner sees, or its space.

    Attributes:
      map: f32[6, H, W] and
      index_map: i32[2, H, W], whole; None unless the planner gets spatial information.
      flat: f32[F], see ``observation.planner_feature_names``.
      per_worker: f32[N, 6 or 8]: current marginal rate, last income, last marginal rate, inventory
        of coin, Stone, Wood, and where the planner gets spatial information column and row.
      action_mask: bool[A], True where the action is allowed.
    """

    map: Any
    index_map: Any
    flat: Any
    per_worker: Any
    action_mask: Any
