"""Starting an episode: places, skills, full resources, empty books.

What is random is drawn by ``draw_reset_noise``; ``reset_with_noise`` is a function of it.

Source: AI Economist, arXiv 2108.02755, official code; spec sections 3.3, 3.5 and 3.7.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.economy import saez
from ai_econ_jax.envs.gather_trade_build import procedural
from ai_econ_jax.envs.gather_trade_build.params import Params, rate_cap
from ai_econ_jax.envs.gather_trade_build.rewards import evaluate
from ai_econ_jax.envs.gather_trade_build.state import Events, MetaState, ResetNoise, State
from ai_econ_jax.envs.gather_trade_build.tax_models import TAX_MODELS
from ai_econ_jax.envs.gather_trade_build.world import World

# Tail exponents of Lomax laws ("pareto" in numpy); mean and deviation of logarithms.
_SKILL_TAIL, _BONUS_TAIL = 4.0, 3.0
_SKILL_LOG, _BONUS_LOG = (-1.0, 0.5), (-2.022, 0.938)
_MAX_BONUS = 2.0
# Apart from the other keys, so that worlds of which the map is given draw what they drew.
_MAP = 4


def initial_meta(params: Params, world: World) -> MetaState:
    """Nothing finished, nothing sampled."""
    completions = jnp.zeros((), jnp.int32)
    return MetaState(
        completions=completions,
        productive_steps=jnp.zeros((), jnp.int32),
        rate_cap=rate_cap(params, completions),
        last_rates=jnp.zeros_like(params.cutoffs),
        saez=saez.init(world.num_brackets),
    )


def draw_reset_noise(key: jax.Array, params: Params, world: World) -> ResetNoise:
    """Skill ranks, places, skills, bonuses and, where it is drawn, the map of one episode."""
    del params
    rank_key, place_key, skill_key, bonus_key = jax.random.split(key, 4)
    config = world.config
    num_workers = config.num_workers
    source, layout_ok = jnp.asarray(world.source), jnp.ones((), bool)
    if world.has_new_maps:
        source, layout_ok = procedural.draw_source(
            jax.random.fold_in(key, _MAP), config, world.water
        )
    worker_of_rank = jax.random.permutation(rank_key, num_workers).astype(jnp.int32)
    bonus = draw_law(bonus_key, config.bonus_law, num_workers, _BONUS_TAIL, _BONUS_LOG, none=0.0)
    return ResetNoise(
        worker_of_rank=worker_of_rank,
        location=_draw_places(place_key, worker_of_rank, world),
        build_skill=draw_law(
            skill_key, config.skill_law, num_workers, _SKILL_TAIL, _SKILL_LOG, none=1.0
        ),
        bonus=jnp.minimum(bonus, _MAX_BONUS) / _MAX_BONUS,
        source=source,
        layout_ok=layout_ok,
    )


def draw_law(
    key: jax.Array,
    law: str,
    num_workers: int,
    tail: float,
    log_moments: tuple[float, float],
    none: float,
) -> jax.Array:
    """Draws f32[N] of a law of ``config.SKILL_LAWS``.

    Args:
      key: Random key.
      law: ``pareto`` is the Lomax law of exponent ``tail`` and scale 1, ``lognormal`` has
        ``log_moments`` as mean and deviation of the logarithm, ``none`` is the constant ``none``.
      num_workers: N.
      tail: See ``law``.
      log_moments: See ``law``.
      none: See ``law``.
    """
    if law == "none":
        return jnp.full(num_workers, none)
    if law == "pareto":
        uniform = jax.random.uniform(key, (num_workers,))
        return jnp.expm1(-jnp.log1p(-uniform) / tail)
    mean, deviation = log_moments
    return jnp.exp(mean + deviation * jax.random.normal(key, (num_workers,)))


def _draw_places(key: jax.Array, worker_of_rank: jax.Array, world: World) -> jax.Array:
    """Distinct random free cells, i32[N, 2]; for the split layout in the half of each rank."""
    config = world.config
    free = ~world.water.reshape(-1)
    scores = jax.random.uniform(key, free.shape)

    def draw(region: np.ndarray, number: int) -> jax.Array:
        return jax.lax.top_k(jnp.where(region, scores, -1.0), number)[1]

    if config.layout_kind == "split":
        ranks = np.arange(config.num_workers)
        on_top = np.isin(ranks, config.top_ranks)
        above = np.arange(free.size) // world.width < world.split_row
        drawn = jnp.concatenate(
            [draw(free & above, on_top.sum()), draw(free & ~above, (~on_top).sum())]
        )
        rank_of_drawn = np.concatenate([ranks[on_top], ranks[~on_top]])
        cells = jnp.zeros_like(drawn).at[worker_of_rank[rank_of_drawn]].set(drawn)
    else:
        cells = draw(free, config.num_workers)
    return jnp.stack([cells // world.width, cells % world.width], axis=-1).astype(jnp.int32)


def reset_with_noise(meta: MetaState, noise: ResetNoise, params: Params, world: World) -> State:
    """The first state of an episode that follows ``meta``."""
    config = world.config
    num_workers, num_slots = config.num_workers, config.max_orders
    zeros = jnp.zeros_like(params.payment)
    per_worker, per_bracket = jnp.zeros_like(params.ranked_skills), jnp.zeros_like(params.cutoffs)
    no_units = jnp.zeros((num_workers, 2), jnp.int32)
    no_orders = jnp.zeros((2, num_workers, num_slots), jnp.int32)
    coin = per_worker + params.starting_coin
    location, payment = _ranked(noise, params, world)
    state = State(
        time=jnp.zeros((), jnp.int32),
        location=location,
        coin=coin,
        escrow_coin=per_worker,
        inventory=no_units,
        escrow=no_units,
        labor=per_worker,
        build_payment=payment,
        build_skill=noise.build_skill.astype(zeros.dtype),
        bonus=noise.bonus.astype(zeros.dtype),
        resources=noise.source,
        source=noise.source,
        house_owner=jnp.full((world.height, world.width), -1, jnp.int8),
        order_side=no_orders.astype(jnp.int8),
        order_price=no_orders,
        order_birth=no_orders,
        price_history=jnp.zeros((2, num_workers, config.num_prices), zeros.dtype),
        tax_position=jnp.ones((), jnp.int32),
        rate_index=jnp.zeros(world.num_brackets, jnp.int32),
        rates=per_bracket,
        shown_rates=per_bracket,
        last_coin=coin,
        last_income=per_worker,
        last_marginal_rate=per_worker,
        utility=per_worker,
        welfare=zeros,
        meta=meta,
        events=Events(
            built=jnp.zeros(num_workers, bool),
            gathered=no_units,
            trade_price=no_orders - 1,
            trade_seller=no_orders - 1,
            tax_paid=per_worker,
            lump_sum=zeros,
            layout_ok=jnp.asarray(noise.layout_ok),
        ),
    )
    # The rates of the first observation are still under the cap of the episode before.
    model = TAX_MODELS[config.tax_model]
    rates = model.starting_rates(state, params, world)
    meta = dataclasses.replace(meta, rate_cap=rate_cap(params, meta.completions))
    shown = meta.last_rates if model.shows_last_rates else rates
    state = dataclasses.replace(state, rates=rates, shown_rates=shown, meta=meta)
    utilities, goal = evaluate(state, params, world)
    return dataclasses.replace(state, utility=utilities, welfare=goal)


def _ranked(noise: ResetNoise, params: Params, world: World) -> tuple[jax.Array, jax.Array]:
    """Places i32[N, 2] and payments f32[N], where these follow the skill rank."""
    config = world.config
    rank = jnp.argsort(noise.worker_of_rank)
    location = noise.location
    if world.start is not None:
        location = jnp.asarray(world.start)[rank]
        return location, params.payment * params.ranked_skills[rank]
    if config.layout_kind == "split":
        return location, params.payment * params.ranked_skills[::-1][rank]
    if config.skill_law == "none":
        return location, jnp.broadcast_to(params.payment, rank.shape)
    multiplier = jnp.minimum(params.max_skill, 1.0 + (params.max_skill - 1.0) * noise.build_skill)
    return location, params.payment * multiplier
