"""The environment contract, resets, laws of skills, maps, and curricula over episodes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import official_economy
import pytest

from ai_econ_jax.environment import AutoReset
from ai_econ_jax.envs.economy.skills import expected_order_statistics
from ai_econ_jax.envs.gather_trade_build import (
    Config,
    GatherTradeBuild,
    PerRole,
    layouts,
    make_params,
)
from ai_econ_jax.envs.gather_trade_build.params import OFFICIAL_RANKED_SKILLS
from ai_econ_jax.envs.gather_trade_build.reset import draw_law, draw_reset_noise
from ai_econ_jax.envs.gather_trade_build.tax import collect
from ai_econ_jax.envs.gather_trade_build.tax_models import record_for_saez

SMALL = Config(layout="quadrant_8x8_4each_8clump", fixed_four=False, episode_length=3)


def start(environment, params, seed=0):
    """The first state; what is seen of it is not compiled, and that is most of a reset."""
    return jax.jit(lambda key: environment.reset(key, params)[0])(jax.random.key(seed))


# Wood, stone, water: spec, appendix A.
COUNTS = {
    "quadrant_25x25_20each_30clump": (20, 20, 33),
    "env-pure_and_mixed-15x15": (23, 12, 21),
    "env-pure_and_mixed-25x25": (43, 45, 37),
    "uniform_25x25_25each_65clump": (27, 24, 0),
    "quadrant_8x8_4each_8clump": (13, 9, 15),
    "top_wood_bottom_stone_14x14": (9, 9, 0),
    "quadrant_40x40_50each": (49, 51, 108),
    "env-pure_and_mixed-40x40": (27, 36, 0),
    "quadrant_25x25_20each_30clump_no_water": (20, 20, 0),
    "quadrant_40x40_50each_no_water": (49, 51, 0),
    "closed_quadrant_25x25_20each_30clump": (20, 20, 49),
}


def test_published_layouts_have_the_counts_of_the_specification():
    assert set(layouts.names()) == set(COUNTS)
    for name, (wood, stone, water) in COUNTS.items():
        layout = layouts.published(name)
        assert (layout.source[1].sum(), layout.source[0].sum(), layout.water.sum()) == (
            wood,
            stone,
            water,
        )


def test_layout_file_may_have_line_ends_other_letters_and_no_last_semicolon(tmp_path):
    path = tmp_path / "mine.map"
    path.write_text("WAS;\n @ ;\n   ;\n")
    world = GatherTradeBuild(dataclasses.replace(SMALL, layout_file=str(path), num_workers=2)).world
    assert (world.height, world.width) == (3, 3)
    assert layouts.parse("WAS; @ ;   ", "x").water.sum() == world.water.sum() == 1


def test_a_layout_file_that_changed_is_read_anew(tmp_path):
    path = tmp_path / "mine.map"
    path.write_text("WS ;   ;   ;")
    config = dataclasses.replace(SMALL, layout_file=str(path), num_workers=2)
    before = GatherTradeBuild(config)
    assert GatherTradeBuild(config) == before
    path.write_text("WS ; @ ;   ;")
    after = GatherTradeBuild(config)
    assert after != before  # so that nothing compiled for one serves the other
    assert (before.world.water.sum(), after.world.water.sum()) == (0, 1)


def test_fixed_four_starts_in_the_corners_with_the_published_payments():
    environment = GatherTradeBuild()
    state = start(environment, make_params(environment.config), 3)
    by_payment = np.argsort(np.asarray(state.build_payment))
    np.testing.assert_array_equal(
        np.asarray(state.location)[by_payment], [[0, 24], [24, 0], [0, 0], [24, 24]]
    )
    np.testing.assert_allclose(
        np.sort(state.build_payment), [11.33164062, 13.26711234, 16.47237295, 22.2496143], rtol=1e-6
    )


@pytest.mark.parametrize("num_workers", OFFICIAL_RANKED_SKILLS)
def test_published_payments_are_close_to_the_expectations(num_workers):
    np.testing.assert_allclose(
        OFFICIAL_RANKED_SKILLS[num_workers], expected_order_statistics(num_workers), rtol=1e-3
    )


def test_split_puts_top_ranks_above_the_water_and_pays_by_rank():
    config = dataclasses.replace(
        SMALL,
        layout="env-pure_and_mixed-25x25",
        layout_kind="split",
        top_ranks=(0, 2),
    )
    environment = GatherTradeBuild(config)
    params = make_params(config)

    @jax.jit
    @jax.vmap
    def start_all(key):
        state, _ = environment.reset(key, params)
        return state.build_payment, state.location[:, 0]

    payment, row = start_all(jax.random.split(jax.random.key(0), 50))
    assert environment.world.water[12].all() and not environment.world.source[:, 12].any()
    rank = np.argsort(np.argsort(-np.asarray(payment), axis=1), axis=1)
    np.testing.assert_array_equal(row < 12, np.isin(rank, (0, 2)))
    np.testing.assert_allclose(np.sort(payment[0]), 10 * expected_order_statistics(4), rtol=1e-5)


def test_naming_a_rank_twice_changes_nothing():
    places = []
    for ranks in ((0,), (0, 0)):
        config = dataclasses.replace(SMALL, layout_kind="split", top_ranks=ranks)
        environment = GatherTradeBuild(config)
        params = make_params(config)
        draw = jax.jit(
            lambda key, p=params, w=environment.world: draw_reset_noise(key, p, w).location
        )
        places.append(draw(jax.random.key(0)))
    np.testing.assert_array_equal(*places)


@pytest.mark.parametrize(
    "law, tail, log_moments, mean",
    [
        ("pareto", 4.0, (-1.0, 0.5), 1 / 3),
        ("pareto", 3.0, (-1.0, 0.5), 1 / 2),
        ("lognormal", 4.0, (-1.0, 0.5), np.exp(-1 + 0.125)),
        ("none", 4.0, (-1.0, 0.5), 1.0),
    ],
)
def test_laws_have_their_means(law, tail, log_moments, mean):
    draws = np.asarray(draw_law(jax.random.key(0), law, 200_000, tail, log_moments, none=1.0))
    error = draws.std() / np.sqrt(draws.size)
    assert abs(draws.mean() - mean) <= 5 * error + 1e-6


def test_bonus_law_is_cut_at_one_and_places_are_distinct_and_dry():
    environment = GatherTradeBuild(dataclasses.replace(SMALL, num_workers=20))
    params = make_params(environment.config)
    noise = jax.jit(jax.vmap(lambda key: draw_reset_noise(key, params, environment.world)))(
        jax.random.split(jax.random.key(0), 500)
    )
    assert (noise.bonus <= 1).all() and (noise.bonus == 1).any()
    places = np.asarray(noise.location)
    assert all(len(np.unique(episode, axis=0)) == 20 for episode in places)
    assert not environment.world.water[places[..., 0], places[..., 1]].any()


def test_different_keys_give_different_episodes_and_vmap_equals_a_loop():
    environment = GatherTradeBuild(dataclasses.replace(SMALL, episode_length=20))
    params = make_params(environment.config, starting_coin=10.0)
    space = environment.action_space(params)

    def rollout(key):
        def step(state, key):
            keys = jax.random.split(key, 3)
            action = PerRole(
                workers=space.workers.sample(keys[0]), planner=space.planner.sample(keys[1])
            )
            return environment.step(keys[2], state, action, params)

        state, _ = environment.reset(key, params)
        return jax.lax.scan(step, state, jax.random.split(key, 20))

    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(rollout))(keys)
    compiled = jax.jit(rollout)
    for i, key in enumerate(keys):
        for a, b in zip(jax.tree.leaves(compiled(key)), jax.tree.leaves(together), strict=True):
            np.testing.assert_array_equal(a, b[i])
    places = np.asarray(together[0].location)
    assert not (places[0] == places[1]).all()
    assert compiled._cache_size() == 1

    spaces = environment.observation_space(params)
    last = jax.tree.map(lambda array: array[0, -1], together[1].observation)
    assert jax.tree.all(
        jax.tree.map(
            lambda space, array: space.shape == array.shape and bool(space.contains(array)),
            spaces,
            last,
            is_leaf=lambda x: hasattr(x, "contains"),
        )
    )


def test_auto_reset_keeps_curricula_and_starts_a_new_episode():
    config = dataclasses.replace(SMALL, tax_model="saez", num_workers=2)
    environment = AutoReset(GatherTradeBuild(config))
    params = make_params(config, tax_period=1, starting_coin=5.0)
    nothing = PerRole(workers=jnp.zeros(2, jnp.int32), planner=jnp.zeros(1, jnp.int32))

    @jax.jit
    def play(key):
        def step(state, key):
            state, timestep = environment.step(key, state, nothing, params)
            meta = state.meta
            seen = (timestep.done, meta.completions, state.time, meta.saez.count, state.location)
            return state, seen

        key, *keys = jax.random.split(key, 8)
        return jax.lax.scan(step, environment.reset(key, params)[0], jnp.stack(keys))[1]

    done, completions, time, samples, places = play(jax.random.key(0))
    number = np.arange(1, 8)
    np.testing.assert_array_equal(done, number % 3 == 0)
    np.testing.assert_array_equal(completions, number // 3)
    np.testing.assert_array_equal(time, number % 3)
    np.testing.assert_array_equal(samples, 2 * number)
    assert (places[1] == places[0]).all() and not (places[2] == places[1]).all()


def test_the_cap_rises_with_episodes_and_is_in_force_from_the_first_day():
    config = dataclasses.replace(SMALL, tax_model="us_federal")
    environment = GatherTradeBuild(config)
    params = make_params(config, cap_schedule=(-100.0, 0.001))
    nothing = PerRole(workers=jnp.zeros(4, jnp.int32), planner=jnp.zeros(1, jnp.int32))

    @jax.jit
    @jax.vmap
    def first_day(completions):
        state, _ = environment.reset(jax.random.key(0), params)
        meta = dataclasses.replace(state.meta, completions=completions)
        state = dataclasses.replace(state, meta=meta)
        state, _ = environment.restart(jax.random.key(0), state, params)
        after, _ = environment.step(jax.random.key(0), state, nothing, params)
        return state.meta.rate_cap, after.rates

    cap, rates = first_day(jnp.array([0, 1, 100, 500, 2000]))
    expected = np.array([0.1, 0.101, 0.2, 0.6, 1.0])
    np.testing.assert_allclose(cap, expected, rtol=1e-6)
    np.testing.assert_allclose(rates[:, -1], np.minimum(0.37, expected), rtol=1e-6)


@pytest.mark.parametrize("official, allowed", [(False, 13), (True, 12)])
def test_rates_at_the_cap_by_rounding(official, allowed):
    with jax.enable_x64(True):
        environment = GatherTradeBuild(dataclasses.replace(SMALL, official_rounding=official))
        params = make_params(environment.config, cap_schedule=(-100.0, 0.001))

        @jax.jit
        def allowed_rates(completions):
            state, _ = environment.reset(jax.random.key(0), params)
            meta = dataclasses.replace(state.meta, completions=completions)
            state = dataclasses.replace(state, meta=meta)
            _, timestep = environment.restart(jax.random.key(0), state, params)
            return timestep.observation.planner.action_mask

        mask = allowed_rates(jnp.array(500, jnp.int32)).reshape(7, -1)
        assert mask[0, 1:].sum() == allowed


@pytest.mark.oracle
@pytest.mark.parametrize("highest", [0.1, 0.3, 0.35, 0.7, 1.0])
def test_the_rates_to_choose_from_are_the_official_ones_or_those_meant(highest):
    """Where the highest rate is no multiple of the step in floating point, the official lose it."""
    config = dataclasses.replace(SMALL, rate_max=highest)
    tax = official_economy.make(config).get_component("PeriodicBracketTax")
    official = GatherTradeBuild(dataclasses.replace(config, official_rounding=True))
    np.testing.assert_array_equal(official.world.rates, tax.disc_rates)
    rates = GatherTradeBuild(config).world.rates
    np.testing.assert_allclose(rates, 0.05 * np.arange(round(highest / 0.05) + 1))
    assert rates[-1] == highest


def test_two_rates_that_rounding_alone_brings_above_the_highest_are_two():
    config = dataclasses.replace(SMALL, rate_min=0.1, rate_step=0.2, rate_max=0.3)
    np.testing.assert_allclose(GatherTradeBuild(config).world.rates, [0.1, 0.3])


def test_state_is_small():
    environment = GatherTradeBuild()
    state = jax.eval_shape(
        lambda key: environment.reset(key, make_params(environment.config))[0], jax.random.key(0)
    )
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) <= 64 * 1024


@pytest.mark.parametrize("official_rounding", [False, True])
def test_an_income_that_is_rounding_alone_is_recorded_as_0(official_rounding):
    config = dataclasses.replace(
        SMALL, tax_model="saez", num_workers=3, official_rounding=official_rounding
    )
    environment = GatherTradeBuild(config)
    params = make_params(config, tax_period=1)
    state = start(environment, params)
    earned = jnp.array([2e-5, -2e-5, 5.0])
    taxed = record_for_saez(
        collect(dataclasses.replace(state, coin=earned), params, environment.world)
    )
    expected = earned if official_rounding else jnp.array([0.0, 0.0, 5.0])
    np.testing.assert_array_equal(taxed.last_income, expected)
    np.testing.assert_array_equal(taxed.meta.saez.incomes[:3], expected)
