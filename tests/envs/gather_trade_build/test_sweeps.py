"""Parameters are traced: one compiled program plays many economies, and never asks the host."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, PerRole, make_params

STEPS = 12
ENVIRONMENT = GatherTradeBuild(Config(tax_model="fixed", episode_length=100))


def play(params):
    """Coin, labor, utility and houses after some steps of random actions, masked or not."""

    def step(state, key):
        action_key, step_key = jax.random.split(key)
        workers = jax.random.randint(action_key, (4,), 0, 50)
        action = PerRole(workers=workers, planner=jnp.zeros(7, jnp.int32))
        state, timestep = ENVIRONMENT.step(step_key, state, action, params)
        return state, (state.total_coin, state.labor, timestep.reward)

    reset_key, key = jax.random.split(jax.random.key(0))
    state, _ = ENVIRONMENT.reset(reset_key, params)
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]


def economies():
    flat = np.ones(7)
    return [
        make_params(ENVIRONMENT.config, fixed_rates=0.1 * flat, tax_period=5),
        make_params(
            ENVIRONMENT.config,
            fixed_rates=0.9 * flat,
            tax_period=4,
            payment=20.0,
            starting_coin=10.0,
        ),
        make_params(
            ENVIRONMENT.config,
            fixed_rates=0.5 * flat,
            skills=[1.0, 1.1, 2.0, 3.0],
            regeneration=0.5,
            eta=0.6,
            labor_cost=0.1,
            move_labor=1.0,
        ),
    ]


def test_one_program_plays_all_economies_each_as_if_alone():
    together = jax.jit(jax.vmap(play))
    alone = jax.jit(chex.assert_max_traces(play, n=1))
    played = together(jax.tree.map(lambda *leaves: jnp.stack(leaves), *economies()))
    for place, params in enumerate(economies()):
        own = jax.tree.map(lambda leaf, place=place: leaf[place], played)
        chex.assert_trees_all_close(own, alone(params), rtol=1e-5, atol=1e-5)
    coin, labor, _ = played
    assert (coin[1, -1] > coin[0, -1]).all()
    assert labor[2, -1].max() > labor[0, -1].max()


def test_a_step_never_calls_back_to_the_host():
    assert "callback" not in str(jax.make_jaxpr(play)(economies()[0]))
