"""Whole random episodes: our figures and the official ones agree within sampling error."""

import jax
import jax.numpy as jnp
import numpy as np
import official_economy
import pytest

from ai_econ_jax.envs.economy import welfare
from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, PerRole, make_params

pytestmark = [pytest.mark.slow, pytest.mark.oracle]

CONFIG = Config()
OURS, OFFICIAL = 256, 64
FIGURES = ("productivity", "equality", "houses", "trades", "labor")


def random_allowed(key, mask):
    return jax.random.categorical(key, jnp.where(mask, 0.0, -jnp.inf))


def play_ours():
    environment, params = GatherTradeBuild(CONFIG), make_params(CONFIG)

    def episode(key):
        def step(carry, key):
            state, observation, trades = carry
            worker_key, planner_key, step_key = jax.random.split(key, 3)
            planner_mask = observation.planner.action_mask.reshape(7, -1)
            action = PerRole(
                workers=random_allowed(worker_key, observation.workers.action_mask),
                planner=random_allowed(planner_key, planner_mask),
            )
            state, timestep = environment.step(step_key, state, action, params)
            trades += jnp.sum(timestep.info.trade_price >= 0)
            return (state, timestep.observation, trades), None

        reset_key, *_ = jax.random.split(key)
        state, timestep = environment.reset(reset_key, params)
        carry = (state, timestep.observation, jnp.zeros((), jnp.int32))
        keys = jax.random.split(jax.random.fold_in(key, 1), CONFIG.episode_length)
        (state, _, trades), _ = jax.lax.scan(step, carry, keys)
        return jnp.stack(
            [
                jnp.sum(state.total_coin),
                welfare.equality(state.total_coin, "foundation"),
                jnp.sum(state.house_owner >= 0),
                trades,
                jnp.mean(state.labor),
            ]
        )

    return np.asarray(jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), OURS)))


def play_official():
    environment = official_economy.make(CONFIG)
    np.random.seed(0)  # what the official package draws from  # noqa: NPY002
    rng = np.random.default_rng(0)
    results = []
    for _ in range(OFFICIAL):
        observed, done = environment.reset(), False
        while not done:
            action = {
                str(i): int(rng.choice(np.flatnonzero(observed[str(i)]["action_mask"])))
                for i in range(CONFIG.num_workers)
            }
            mask = observed["p"]["action_mask"].reshape(7, -1)
            action["p"] = [int(rng.choice(np.flatnonzero(row))) for row in mask]
            observed, _, finished, _ = environment.step(action)
            done = finished["__all__"]
        metrics = environment.previous_episode_metrics
        results.append(
            [
                metrics["social/productivity"],
                metrics["social/equality"],
                metrics["Build/total_builds"],
                metrics["Trade/n_trades"],
                np.mean([metrics[f"endogenous/{i}/Labor"] for i in range(CONFIG.num_workers)]),
            ]
        )
    return np.array(results)


def test_random_episodes_have_the_official_figures():
    ours, official = play_ours(), play_official()
    error = np.sqrt(ours.var(0, ddof=1) / len(ours) + official.var(0, ddof=1) / len(official))
    distance = (ours.mean(0) - official.mean(0)) / error
    print(
        dict(zip(FIGURES, zip(ours.mean(0), official.mean(0), distance, strict=True), strict=True))
    )
    assert (np.abs(distance) <= 4).all(), dict(zip(FIGURES, distance, strict=True))
