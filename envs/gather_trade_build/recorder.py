"""From a running environment to an episode log: capture inside compiled code, convert on the host.

``capture`` is pure and small enough to be scanned and vmapped; ``make_log`` turns what a scan
stacked into an :class:`~ai_econ_jax.envs.gather_trade_build.episode_log.EpisodeLog`.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.gather_trade_build.actions import planner_sizes, worker_sizes
from ai_econ_jax.envs.gather_trade_build.environment import GatherTradeBuild
from ai_econ_jax.envs.gather_trade_build.episode_log import EpisodeLog
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import RESOURCES, State

Policy = Callable[[jax.Array, PerRole], PerRole]  # (key, observation) -> action


@struct.dataclass
class Frame:
    """One state as a log keeps it: the fields of ``State`` and ``Events`` under their names.

    Numbers are narrowed to the types of the log. A scan stacks frames along a leading axis.
    """

    location: jax.Array  # i16[N, 2]
    coin: jax.Array  # f32[N]
    escrow_coin: jax.Array  # f32[N]
    inventory: jax.Array  # i32[N, 2]
    escrow: jax.Array  # i32[N, 2]
    labor: jax.Array  # f32[N]
    income: jax.Array  # f32[N], of the tax year so far
    utility: jax.Array  # f32[N]
    welfare: jax.Array  # f32[]
    resources: jax.Array  # u8[2, H, W]
    house_owner: jax.Array  # i16[H, W]
    order_side: jax.Array  # i8[2, N, K]
    order_price: jax.Array  # i16[2, N, K]
    order_birth: jax.Array  # i32[2, N, K]
    rates: jax.Array  # f32[B]
    tax_day: jax.Array  # i32[]
    trade_price: jax.Array  # i16[2, N, K], -1 where that bid of a buyer was not filled
    trade_seller: jax.Array  # i16[2, N, K]
    last_income: jax.Array  # f32[N], of the last finished tax year
    tax_paid: jax.Array  # f32[N]
    lump_sum: jax.Array  # f32[]


def capture(state: State) -> Frame:
    """What a log keeps of one state; pure, for use inside ``scan`` and under ``vmap``."""
    events = state.events
    return Frame(
        location=state.location.astype(jnp.int16),
        coin=state.coin.astype(jnp.float32),
        escrow_coin=state.escrow_coin.astype(jnp.float32),
        inventory=state.inventory.astype(jnp.int32),
        escrow=state.escrow.astype(jnp.int32),
        labor=state.labor.astype(jnp.float32),
        income=(state.total_coin - state.last_coin).astype(jnp.float32),
        utility=state.utility.astype(jnp.float32),
        welfare=state.welfare.astype(jnp.float32),
        resources=state.resources.astype(jnp.uint8),
        house_owner=state.house_owner.astype(jnp.int16),
        order_side=state.order_side.astype(jnp.int8),
        order_price=state.order_price.astype(jnp.int16),
        order_birth=state.order_birth.astype(jnp.int32),
        rates=state.rates.astype(jnp.float32),
        tax_day=state.tax_position.astype(jnp.int32),
        trade_price=events.trade_price.astype(jnp.int16),
        trade_seller=events.trade_seller.astype(jnp.int16),
        last_income=state.last_income.astype(jnp.float32),
        tax_paid=events.tax_paid.astype(jnp.float32),
        lump_sum=events.lump_sum.astype(jnp.float32),
    )


def record_episode(
    key: jax.Array,
    environment: GatherTradeBuild,
    params: Params,
    policy: Policy | None = None,
    about: Mapping[str, Any] | None = None,
) -> EpisodeLog:
    """Plays one episode from a reset and records it.

    Args:
      key: Of the reset, the steps and the policy.
      environment: The environment, without auto-reset.
      params: Its parameters.
      policy: ``(key, observation) -> action``; None draws uniformly from what the masks allow. It
        is static: the same function compiles once.
      about: Further entries of the log's configuration, such as the name of the policy.
    """
    if policy is None:
        policy = uniform_policy(environment)
        about = {"policy": "uniform over unmasked actions", **(about or {})}
    first, frames, actions = _play(key, environment, params, policy)
    return make_log(environment, params, first, frames, actions, about=about)


@functools.partial(jax.jit, static_argnums=(1, 3))
def _play(
    key: jax.Array, environment: GatherTradeBuild, params: Params, policy: Policy
) -> tuple[State, Frame, PerRole]:
    """The reset state, and frames and actions of all steps with a leading axis T."""
    reset_key, steps_key = jax.random.split(key)
    first, timestep = environment.reset(reset_key, params)

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, tuple[Frame, PerRole]]:
        state, observation = carry
        policy_key, step_key = jax.random.split(key)
        action = policy(policy_key, observation)
        state, timestep = environment.step(step_key, state, action, params)
        return (state, timestep.observation), (capture(state), action)

    keys = jax.random.split(steps_key, environment.config.episode_length)
    _, (frames, actions) = jax.lax.scan(step, (first, timestep.observation), keys)
    return first, frames, actions


@functools.lru_cache(maxsize=64)
def uniform_policy(environment: GatherTradeBuild) -> Policy:
    """The policy that draws every choice uniformly from those that its mask allows."""
    workers, planner = worker_sizes(environment.config), planner_sizes(environment.world)

    def policy(key: jax.Array, observation: PerRole) -> PerRole:
        worker_key, planner_key = jax.random.split(key)
        chosen = _draw(worker_key, observation.workers.action_mask, workers)
        if not environment.config.multi_action:
            chosen = chosen[..., 0]
        return PerRole(
            workers=chosen, planner=_draw(planner_key, observation.planner.action_mask, planner)
        )

    return policy


def _draw(key: jax.Array, mask: jax.Array, sizes: Sequence[int]) -> jax.Array:
    """One choice for each part of ``mask`` bool[..., sum(sizes)]: i32[..., len(sizes)]."""
    parts = jnp.split(mask, np.cumsum(sizes)[:-1], axis=-1)
    draws = [
        jax.random.categorical(key, jnp.where(part, 0.0, -jnp.inf))
        for key, part in zip(jax.random.split(key, len(sizes)), parts, strict=True)
    ]
    return jnp.stack(draws, axis=-1).astype(jnp.int32)


def make_log(
    environment: GatherTradeBuild,
    params: Params,
    first: State,
    frames: Frame,
    actions: PerRole,
    *,
    worker_names: Sequence[str] | None = None,
    about: Mapping[str, Any] | None = None,
) -> EpisodeLog:
    """A log of one episode, on the host.

    Args:
      environment: Where it was played.
      params: With these parameters.
      first: The reset state.
      frames: ``capture`` of the state after each step, leading axis T.
      actions: Of each step, leading axis T.
      worker_names: None for "worker 0" and so on.
      about: Further entries of the log's configuration.

    Raises:
      ValueError: The arrays do not fit each other; see ``EpisodeLog``.
    """
    # Arrays of numpy from here on.
    host: Any = jax.device_get((first, capture(first), frames, actions, params))
    first, start, frames, actions, params = host
    states = jax.tree.map(lambda one, many: np.concatenate([one[None], many]), start, frames)
    config, num_workers = environment.config, len(first.coin)
    names = worker_names or [f"worker {worker}" for worker in range(num_workers)]
    described = {**dataclasses.asdict(config), **(about or {})}
    worker_actions = np.asarray(actions.workers, np.int32)
    if not config.multi_action:
        worker_actions = worker_actions[..., None]
    kept = {field.name for field in dataclasses.fields(EpisodeLog)}
    return EpisodeLog(
        sources=np.asarray(first.source) > 0,
        water=np.asarray(environment.world.water, bool),
        build_payment=np.asarray(first.build_payment, np.float32),
        build_skill=np.asarray(first.build_skill, np.float32),
        gather_bonus=np.asarray(first.bonus, np.float32),
        cutoffs=np.asarray(params.cutoffs, np.float32),
        worker_names=np.array(names, str),
        resource_names=np.array(RESOURCES),
        config=np.array(json.dumps(described)),
        worker_actions=worker_actions,
        planner_actions=np.asarray(actions.planner, np.int32),
        **{
            field.name: getattr(states, field.name)
            for field in dataclasses.fields(Frame)
            if field.name in kept and not field.name.startswith("trade_")
        },
        **_trades(states),
        **_tax_years(states, taxed="tax" in config.components),
    )


def _trades(states: Any) -> dict[str, np.ndarray]:
    """The trades of the episode in order of steps, then resources, buyers and their slots."""
    filled = states.trade_price >= 0
    filled[0] = False  # nothing happens in a reset
    step, resource, buyer, _ = np.nonzero(filled)
    found = {
        "step": step,
        "resource": resource,
        "buyer": buyer,
        "seller": states.trade_seller[filled],
        "price": states.trade_price[filled],
    }
    return {f"trade_{name}": values.astype(np.int32) for name, values in found.items()}


def _tax_years(states: Any, taxed: bool) -> dict[str, np.ndarray]:
    """What happened on each tax day: the day after it is the first of a year."""
    is_end = (states.tax_day == 1) & taxed
    is_end[0] = False
    return {
        "year_step": np.flatnonzero(is_end).astype(np.int32),
        "year_rates": states.rates[is_end],
        "year_income": states.last_income[is_end],
        "year_paid": states.tax_paid[is_end],
        "year_lump_sum": states.lump_sum[is_end],
    }
