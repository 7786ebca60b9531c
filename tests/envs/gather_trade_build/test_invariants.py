"""What must hold whatever workers do: a thousand random episodes at once, checked on the device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, PerRole, make_params
from ai_econ_jax.envs.gather_trade_build.state import ASK, BID

LENGTH = 60
BASE = Config(
    layout="env-pure_and_mixed-15x15",
    fixed_four=False,
    bonus_law="pareto",
    episode_length=LENGTH,
)
VARIANTS = {
    "planner": (BASE, {"tax_period": 15}),
    "multi_action": (
        dataclasses.replace(BASE, multi_action=True, num_workers=3, max_orders=2),
        {"tax_period": 7, "order_duration": 5},
    ),
    "saez": (dataclasses.replace(BASE, tax_model="saez"), {"tax_period": 2}),
}
NUMBERS = {"starting_coin": 15.0, "regeneration": 0.1}


def checks(before, after, timestep, params, world):
    """Names and verdicts bool[] of every invariant for one step."""
    config = world.config
    row, column = after.location[:, 0], after.location[:, 1]
    built, events = timestep.info.built, timestep.info
    is_bid, is_ask = after.order_side == BID, after.order_side == ASK
    owner = after.house_owner[row, column]
    workers = jnp.arange(config.num_workers)
    place = row * world.width + column
    same_place = (place[:, None] == place).sum()
    gained = after.total_coin.sum() - before.total_coin.sum()
    payments = jnp.where(built, after.build_payment, 0).sum()
    goods = (after.inventory + after.escrow).sum(0) - (before.inventory + before.escrow).sum(0)
    is_new_house = (after.house_owner != before.house_owner).sum()
    return {
        "coin is conserved": jnp.abs(gained - payments) < 2e-3,
        "goods are conserved": (goods == events.gathered.sum(0) - built.sum()).all(),
        "escrow is what bids promise": jnp.allclose(
            after.escrow_coin, jnp.where(is_bid, after.order_price, 0).sum((0, 2))
        ),
        "escrow is what asks promise": (after.escrow == is_ask.sum(2).T).all(),
        "no negative coin": (after.coin >= -1e-4).all() & (after.escrow_coin >= 0).all(),
        "no negative goods": (after.inventory >= 0).all() & (after.escrow >= 0).all(),
        "open orders": ((after.order_side != 0).sum(2) <= config.max_orders).all(),
        "no order outlives its duration": jnp.where(
            after.order_side != 0, after.time - after.order_birth < params.order_duration, True
        ).all(),
        "one worker per cell": same_place == config.num_workers,
        "nobody on water": ~jnp.asarray(world.water)[row, column].any(),
        "nobody in a foreign house": ((owner < 0) | (owner == workers)).all(),
        "inside the world": (row >= 0).all()
        & (row < world.height).all()
        & (column >= 0).all()
        & (column < world.width).all(),
        "resources on sources only": (after.resources <= after.source).all(),
        "taxes are handed back": jnp.abs(
            events.tax_paid.sum() - config.num_workers * events.lump_sum
        )
        < 1e-3,
        "taxes are not negative": (events.tax_paid >= 0).all(),
        "labor never falls": (after.labor >= before.labor).all(),
        "each builder leaves a house": is_new_house == built.sum(),
        "rates are rates": ((after.rates >= 0) & (after.rates <= 1)).all(),
    }


def play(name, num_episodes, seed=0):
    config, numbers = VARIANTS[name]
    environment = GatherTradeBuild(config)
    params = make_params(config, **NUMBERS, **numbers)
    world, space = environment.world, environment.action_space(params)

    def episode(key):
        reset_key, *keys = jax.random.split(key, LENGTH + 1)
        first, _ = environment.reset(reset_key, params)

        def step(carry, key):
            state, verdicts, total = carry
            worker_key, planner_key, step_key = jax.random.split(key, 3)
            action = PerRole(
                workers=space.workers.sample(worker_key), planner=space.planner.sample(planner_key)
            )
            after, timestep = environment.step(step_key, state, action, params)
            now = checks(state, after, timestep, params, world)
            verdicts = {name: verdicts[name] & now[name] for name in verdicts}
            total = jax.tree.map(jnp.add, total, timestep.reward)
            return (after, verdicts, total), None

        good = {name: jnp.array(True) for name in CHECKED}
        total = PerRole(workers=jnp.zeros(config.num_workers), planner=jnp.zeros(()))
        (last, verdicts, total), _ = jax.lax.scan(step, (first, good, total), jnp.stack(keys))
        verdicts["rewards add up to utility gained"] = jnp.allclose(
            total.workers, last.utility - first.utility, atol=1e-3
        )
        verdicts["planner rewards add up"] = jnp.allclose(
            total.planner, last.welfare - first.welfare, atol=1e-2
        )
        return verdicts, last

    keys = jax.random.split(jax.random.key(seed), num_episodes)
    return jax.jit(jax.vmap(episode))(keys)


def _names():
    config, numbers = VARIANTS["planner"]
    environment = GatherTradeBuild(config)
    params = make_params(config, **numbers)

    def one(key):
        state, timestep = environment.reset(key, params)
        return checks(state, state, timestep, params, environment.world)

    return tuple(jax.eval_shape(one, jax.random.key(0)))


CHECKED = _names()


@pytest.mark.parametrize(
    "name, episodes",
    [
        ("planner", 1000),
        pytest.param("multi_action", 1000, marks=pytest.mark.slow),
        pytest.param("saez", 1000, marks=pytest.mark.slow),
    ],
)
def test_invariants_hold_in_every_step_of_every_episode(name, episodes):
    verdicts, last = play(name, episodes)
    broken = {name: int((~v).sum()) for name, v in verdicts.items() if not v.all()}
    assert not broken, f"episodes that break an invariant, of {episodes}: {broken}"
    # Something happened at all.
    assert np.asarray(last.price_history).sum() > 0
    assert (np.asarray(last.house_owner) >= 0).sum() > 0
    assert len({tuple(places) for places in np.asarray(last.location)[:, 0].tolist()}) > 10
