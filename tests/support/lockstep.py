"""Plays our environment with the noise and actions of recorded official episodes, and compares."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.economy.saez import SaezState
from ai_econ_jax.envs.gather_trade_build import (
    GatherTradeBuild,
    PerRole,
    ResetNoise,
    StepNoise,
    make_params,
)
from ai_econ_jax.envs.gather_trade_build.auction import open_orders, order_histogram
from ai_econ_jax.envs.gather_trade_build.reset import initial_meta
from ai_econ_jax.envs.gather_trade_build.state import ASK, BID

DISCRETE = {
    *("location", "inventory", "escrow", "resources", "house_owner"),
    *("open_orders", "asks", "bids", "tax_position"),
    *("map", "index_map", "worker_mask", "planner_mask", "planner_map", "planner_index_map"),
}


def saez_samples(number, rng):
    """Incomes and marginal rates for a buffer, ``f64[number, 2]``."""
    rates = rng.choice(np.arange(0, 0.95, 0.05), number)
    return np.stack([60 * (1 - rates) ** 0.6 * rng.lognormal(0.0, 1.0, number), rates], axis=-1)


class Player:
    """Our side of one case; ``play`` continues from the curricula of the episode before."""

    def __init__(self, case, samples):
        self.environment = GatherTradeBuild(case.config)
        self.params = make_params(case.config, **dict(case.numbers))
        meta = initial_meta(self.params, self.environment.world)
        buffer = meta.saez
        if len(samples):
            buffer = dataclasses.replace(
                buffer,
                incomes=buffer.incomes.at[: len(samples)].set(samples[:, 0]),
                marginal_rates=buffer.marginal_rates.at[: len(samples)].set(samples[:, 1]),
                count=jnp.array(len(samples), jnp.int32),
            )
        # The official cap is refreshed at the end of a reset: the first one still has the cap of 0.
        self.meta = dataclasses.replace(
            meta, completions=jnp.array(case.completions, jnp.int32), saez=buffer
        )
        self._start = jax.jit(functools.partial(_start, self.environment))
        self._scan = jax.jit(functools.partial(_scan, self.environment))

    def play(self, episode):
        """States, observations and rewards of one episode, as the recorder names them."""
        start = episode.start
        noise = ResetNoise(
            worker_of_rank=jnp.asarray(start["worker_of_rank"]),
            location=jnp.asarray(start["location"]),
            build_skill=jnp.asarray(start["build_skill"]),
            bonus=jnp.asarray(start["bonus"]),
            source=jnp.asarray(self.environment.world.source),
        )
        payment = jnp.asarray(start["build_payment"])
        published, state, first = self._start(self.meta, noise, payment, self.params)
        np.testing.assert_array_equal(state.location, start["location"])
        np.testing.assert_allclose(published, start["build_payment"], rtol=5e-3)
        np.testing.assert_allclose(state.coin, start["coin"])
        actions = PerRole(
            workers=jnp.asarray(episode.actions["workers"]),
            planner=jnp.asarray(episode.actions["planner"]),
        )
        # The official Saez estimate amplifies rounding: whether an income next to 0 is above it
        # decides if a sample of log 1e-9 enters a regression. So with Saez a step after a tax day,
        # and the one after that, starts from the official samples, elasticity and rates; what it
        # makes of them, coin above all, is compared as always and never taken over.
        official = None
        if "saez_count" in episode.states:
            official = {name: jnp.asarray(episode.states[name][1:]) for name in _RESYNCED}
        state, rest = self._scan(state, actions, StepNoise(**episode.noise), official, self.params)
        self.meta = state.meta
        joined = {
            name: np.concatenate([np.asarray(first[name])[None], np.asarray(rest[name])])
            for name in first
        }
        return joined, {"workers": rest["reward_workers"], "planner": rest["reward_planner"]}


def _start(environment, meta, noise, payment, params):
    """Our own payments, and the first state with the official ones and what is seen of it."""
    state, _ = environment.reset_with_noise(meta, noise, params)
    published = state.build_payment
    state = dataclasses.replace(state, build_payment=payment)
    return published, state, _summary(state, environment.observe(state, params), None)


def _scan(environment, state, actions, noise, official, params):
    def step(state, inputs):
        action, noise, official = inputs
        state, timestep = environment.step_with_noise(state, action, noise, params)
        summary = _summary(state, timestep.observation, timestep.reward)
        return state if official is None else _resync(state, official, params), summary

    return jax.lax.scan(step, state, (actions, noise, official))


_RESYNCED = (
    *("rates", "shown_rates", "elasticity"),
    *("saez_incomes", "saez_marginal_rates", "saez_count", "saez_running_rates"),
)


def _resync(state, official, params):
    """The state with the official samples, elasticity and rates, after tax days and their morrows.

    On other days these do not change. Coin, incomes and all else stay ours.
    """
    is_new = (state.tax_position == 1) | (state.tax_position == jnp.minimum(2, params.tax_period))
    saez = SaezState(
        incomes=official["saez_incomes"],
        marginal_rates=official["saez_marginal_rates"],
        count=official["saez_count"],
        elasticity=official["elasticity"],
        running_rates=official["saez_running_rates"],
    )
    resynced = dataclasses.replace(
        state,
        rates=official["rates"],
        shown_rates=official["shown_rates"],
        meta=dataclasses.replace(state.meta, saez=saez),
    )
    return jax.tree.map(lambda a, b: jnp.where(is_new, a, b), resynced, state)


def _summary(state, observation, reward):
    workers, planner = observation.workers, observation.planner
    result = {
        name: getattr(state, name)
        for name in (
            *("location", "coin", "escrow_coin", "inventory", "escrow", "labor", "build_payment"),
            *("resources", "house_owner", "price_history", "utility", "welfare", "tax_position"),
            *("rates", "last_coin", "last_income", "last_marginal_rate"),
        )
    }
    result |= {
        "open_orders": open_orders(state),
        "asks": order_histogram(state, ASK),
        "bids": order_histogram(state, BID),
        "shown_rates": state.shown_rates,
        "elasticity": state.meta.saez.elasticity,
        "saez_incomes": jnp.sort(state.meta.saez.incomes),
        "saez_marginal_rates": jnp.sort(state.meta.saez.marginal_rates),
        "saez_count": jnp.minimum(state.meta.saez.count, state.meta.saez.incomes.shape[0]),
        "saez_running_rates": state.meta.saez.running_rates,
        "map": workers.map.astype(jnp.uint8),
        "index_map": workers.index_map.astype(jnp.uint8),
        "flat": workers.flat,
        "worker_mask": workers.action_mask,
        "planner_flat": planner.flat,
        "planner_mask": planner.action_mask,
        "per_worker": planner.per_worker,
    }
    if planner.map is not None:
        result["planner_map"] = planner.map.astype(jnp.uint8)
        result["planner_index_map"] = planner.index_map.astype(jnp.uint8)
    if reward is not None:
        result["reward_workers"], result["reward_planner"] = reward.workers, reward.planner
    return result


def assert_same(ours, official, tolerance=1e-9):
    """Discrete entries identical at every step, floats within ``tolerance``.

    That is relative, and absolute below 1. Returns the largest difference so measured.
    """
    largest = 0.0
    for name, expected in official.items():
        got = np.asarray(ours[name])
        if name in ("saez_incomes", "saez_marginal_rates"):
            expected = np.sort(expected)  # ours is a ring
        assert got.shape == expected.shape, (name, got.shape, expected.shape)
        if name in DISCRETE:
            differs = got != expected
        else:
            if name == "rates":
                # At a reset the official property is under the new cap, what is seen under the old.
                got, expected = got[1:], expected[1:]
            apart = np.abs(got - expected) / np.maximum(1.0, np.abs(expected))
            largest = max(largest, np.max(apart, initial=0.0))
            # So that a NaN differs from everything.
            differs = ~(apart <= tolerance)
        if differs.any():
            place = tuple(int(i[0]) for i in np.nonzero(differs))
            raise AssertionError(
                f"{name}: first differs at {place} (step first): ours {got[place]!r}, official "
                f"{expected[place]!r}; {int(differs.sum())} of {differs.size} entries differ"
            )
    return largest
