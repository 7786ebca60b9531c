"""Layouts that every episode draws: the official ones, their invariants, in the environment."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import official_economy
import pytest
from scipy import signal

from ai_econ_jax.environment import AutoReset
from ai_econ_jax.envs.gather_trade_build import (
    Config,
    GatherTradeBuild,
    PerRole,
    make_params,
    procedural,
)
from ai_econ_jax.envs.gather_trade_build.config import GROWN_KINDS
from ai_econ_jax.envs.gather_trade_build.regeneration import regenerate
from ai_econ_jax.envs.gather_trade_build.state import RESOURCES

GROWN = Config(fixed_four=False, layout_kind="uniform", world_size=(25, 25), episode_length=3)
SMALL = dataclasses.replace(GROWN, world_size=(10, 10), coverage=(0.06, 0.06))


def of_kind(kind, config=GROWN):
    return GatherTradeBuild(dataclasses.replace(config, layout_kind=kind))


@functools.cache
def draw_ours(kind, number):
    """Maps u8[number, 2, H, W], whether they are ok, and the water."""
    world = of_kind(kind).world
    draw = jax.jit(jax.vmap(lambda key: procedural.draw_source(key, world.config, world.water)))
    batches = [draw(keys) for keys in jax.random.split(jax.random.key(3), (number // 64, 64))]
    source, is_ok = map(np.concatenate, zip(*batches, strict=True))
    return source, is_ok, world.water


def draw_official(kind, number):
    environment = official_economy.foundation.make_env_instance(
        scenario_name=f"{kind}/simple_wood_and_stone",
        components=[("Build", {}), ("ContinuousDoubleAuction", {}), ("Gather", {})],
        n_agents=4,
        world_size=[25, 25],
        episode_length=3,
        multi_action_mode_agents=False,
        multi_action_mode_planner=True,
    )
    np.random.seed(5)  # noqa: NPY002
    maps = []
    for _ in range(number):
        environment.reset_starting_layout()
        drawn = environment.world.maps
        # A copy: the next reset clears these very arrays.
        maps.append(np.array([drawn.get(f"{name}SourceBlock") for name in RESOURCES]))
    has_water = "Water" in environment.world.maps.keys()
    water = environment.world.maps.get("Water") if has_water else np.zeros((25, 25))
    return np.array(maps), water


def compare(kind, ours, number):
    source, is_ok, water = draw_ours(kind, ours)
    official, official_water = draw_official(kind, number)
    np.testing.assert_array_equal(water, official_water)
    assert is_ok.all()
    for axis, place in ((-1, "row"), (-2, "column")):
        us, them = source.mean(axis), official.mean(axis)
        error = np.sqrt(us.var(0, ddof=1) / len(us) + them.var(0, ddof=1) / len(them))
        distance = np.abs(us.mean(0) - them.mean(0))
        assert (distance <= 4 * error + 1e-9).all(), (kind, place)


@pytest.mark.oracle
@pytest.mark.parametrize("kind", GROWN_KINDS)
def test_coverage_of_rows_and_columns_is_the_official_one(kind):
    compare(kind, 128, 64)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("kind", GROWN_KINDS)
def test_coverage_of_rows_and_columns_is_the_official_one_over_many_maps(kind):
    compare(kind, 2048, 1024)


@pytest.mark.parametrize("kind", GROWN_KINDS)
def test_maps_keep_what_they_promise(kind):
    source, is_ok, water = draw_ours(kind, 128)
    assert source.dtype == np.uint8 and source.max() == 1
    assert (source.sum(1) <= 1).all(), "two resources on a cell"
    assert not (source * water).any(), "a source in the water"
    assert len({one.tobytes() for one in source}) == len(source), "two maps alike"
    coverage = source.mean((2, 3)) / np.array(GROWN.coverage)
    assert is_ok.all() and (coverage <= procedural.COVERAGE_FACTOR).all()
    if kind != "quadrant":
        assert (coverage >= 1 / procedural.COVERAGE_FACTOR).all()


def test_lines_of_water_have_two_gaps_each():
    line = "@@@@@....@@@@@@@....@@@@@"
    water = of_kind("quadrant").world.water
    expected = np.zeros((25, 25), bool)
    expected[12] = expected[:, 12] = [cell == "@" for cell in line]
    np.testing.assert_array_equal(water, expected)
    source, _, _ = draw_ours("quadrant", 128)
    assert not source[:, :, 12].any() and not source[:, :, :, 12].any()


def test_thinning_at_once_is_thinning_step_by_step():
    rng = np.random.default_rng(0)
    for needed in (1, 7, 30):
        uniform, chance = rng.random((8, 9)), 1e-3 * rng.random((8, 9)) ** 4
        chance[2:4] = 0.0
        thinned, seeds = uniform.copy(), uniform < chance
        while seeds.sum() < needed:
            thinned *= 0.9
            seeds = thinned < chance
        np.testing.assert_array_equal(procedural._sow(uniform, chance, needed), seeds)
    # Where nothing can fall it ends all the same.
    assert not procedural._sow(jnp.asarray(uniform), jnp.zeros((8, 9)), 3).any()


def test_correlation_is_scipys():
    rng = np.random.default_rng(1)
    values, kernel = rng.normal(size=(9, 12)), rng.random((7, 7)) > 0.5
    ours = procedural._correlate(jnp.asarray(values), jnp.asarray(kernel, float))
    np.testing.assert_allclose(ours, signal.correlate2d(values, kernel, "same"), atol=1e-4)


def test_zones_are_as_many_as_asked_for():
    config = dataclasses.replace(GROWN, layout_kind="multi_zone", world_size=(24, 24))
    chance = np.asarray(procedural.seed_chances(jax.random.key(2), config, np.zeros((24, 24))))
    stone, wood = chance.reshape(2, 8, 3, 8, 3).transpose(0, 1, 3, 2, 4).reshape(2, 64, 9) > 0
    assert (stone == stone[:, :1]).all() and (wood == wood[:, :1]).all()
    stone, wood = stone[:, 0], wood[:, 0]
    assert ((wood & ~stone).sum(), (stone & ~wood).sum(), (wood & stone).sum()) == (6, 6, 4)
    np.testing.assert_allclose(chance.mean((1, 2)), config.coverage[1], rtol=1e-5)


def test_a_map_too_far_off_after_the_last_attempt_says_so(monkeypatch):
    monkeypatch.setattr(procedural, "MAX_ATTEMPTS", 1)
    environment = of_kind("uniform", SMALL)
    params = make_params(environment.config)

    @jax.jit
    @jax.vmap
    def draw(key):
        state, timestep = environment.reset(key, params)
        return state.source, timestep.info.layout_ok

    source, is_ok = map(np.asarray, draw(jax.random.split(jax.random.key(0), 64)))
    ratio = source.mean((2, 3)) / 0.06
    expected = ((ratio <= 1.4) & (ratio >= 1 / 1.4)).all(1)
    np.testing.assert_array_equal(is_ok, expected)
    assert len({each.tobytes() for each in source}) == 64, "two episodes with one map"
    assert expected.any() and not expected.all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", GROWN_KINDS)
def test_every_episode_has_its_own_map(kind):
    environment = of_kind(kind, SMALL)
    params = make_params(environment.config, regeneration=0.5)
    resetting = AutoReset(environment)
    nothing = PerRole(workers=jnp.zeros(4, int), planner=jnp.zeros(7, int))

    @jax.jit
    @jax.vmap
    def play(key):
        reset_key, step_key = jax.random.split(key)
        state, _ = resetting.reset(reset_key, params)

        def step(state, key):
            state, timestep = resetting.step(key, state, nothing, params)
            return state, (state.source, state.resources, timestep.info.layout_ok, timestep.done)

        return state.source, jax.lax.scan(step, state, jax.random.split(step_key, 6))[1]

    first, (source, resources, is_ok, done) = play(jax.random.split(jax.random.key(4), 8))
    source = np.concatenate([np.asarray(first)[:, None], source], axis=1)
    assert np.asarray(is_ok).all() and (np.asarray(resources) <= source[:, 1:]).all()
    np.testing.assert_array_equal(done, [[False, False, True] * 2] * 8)
    same = (source[:, 1:] == source[:, :-1]).all((2, 3, 4))
    np.testing.assert_array_equal(same, ~np.asarray(done))
    assert len({each.tobytes() for each in source[:, 0]}) == 8


@pytest.mark.parametrize("kind, halfwidth", [("file", (2, 3)), ("uniform", (0, 1))])
def test_regrowth_hangs_on_the_sources_around(kind, halfwidth):
    config = dataclasses.replace(SMALL, layout_kind=kind, regeneration_halfwidth=halfwidth)
    if kind == "file":
        config = dataclasses.replace(config, layout="quadrant_8x8_4each_8clump", world_size=None)
    environment = GatherTradeBuild(config)
    weights = (0.3, 0.8)
    params = make_params(config, regeneration=weights)
    state = jax.jit(lambda key: environment.reset(key, params)[0])(jax.random.key(5))
    source = np.asarray(state.source, float)
    state = dataclasses.replace(state, resources=jnp.zeros_like(state.resources))
    expected = np.zeros(source.shape)
    for kind_of, (weight, half) in enumerate(zip(weights, halfwidth, strict=True)):
        width = 2 * half + 1
        kernel = weight * np.ones((width, width)) / width**2
        expected[kind_of] = signal.convolve2d(source[kind_of], kernel, "same") * source[kind_of]
    sites = environment.world.sites
    noise = environment.draw_step_noise(jax.random.key(6))
    for slack, grows in ((-1e-4, True), (1e-4, False)):
        uniform = np.maximum(expected.reshape(-1)[sites] + slack, 0.0)
        given = dataclasses.replace(noise, regeneration=jnp.asarray(uniform))
        grown = regenerate(state, given, params, environment.world).resources
        there = (expected > 0) & grows
        np.testing.assert_array_equal(np.asarray(grown) > 0, there)


@pytest.mark.parametrize(
    "message, changes",
    [
        ("layout_kind uniform needs world_size", {"world_size": None}),
        ("layout_kind uniform draws its layout, layout_file must be", {"layout_file": __file__}),
        ("world_size is 1, must be at least 2", {"world_size": (1, 9)}),
        ("steepness is 0.5, must be at least 1", {"steepness": 0.5}),
        ("clumpiness of Wood is 2, must lie in \\[0, 1\\]", {"clumpiness": (0.5, 2.0)}),
        ("coverage of Stone is 0, must be above 0", {"coverage": (0.0, 0.1)}),
        ("coverage is 0.2 of Stone and 0.3 of Wood, must be below 0.5", {"coverage": (0.2, 0.3)}),
        (
            "coverage of Stone is 0.025: no number of the 16 cells of world_size 4 x 4",
            {"world_size": (4, 4)},
        ),
        (
            "world_size is 12 x 30: layout_kind quadrant has water on row 15",
            {"layout_kind": "quadrant", "world_size": (12, 30)},
        ),
        ("regeneration_halfwidth of Wood is 4, must be", {"regeneration_halfwidth": (0, 4)}),
        ("zone_grid is 0, must be", {"layout_kind": "multi_zone", "zone_grid": (0, 8)}),
        ("num_zones is -1, must be", {"layout_kind": "multi_zone", "num_zones": (-1, 6, 4)}),
        (
            "num_zones has 16 zones, zone_grid 3 x 3 has 9 regions",
            {"layout_kind": "multi_zone", "zone_grid": (3, 3)},
        ),
        (
            "num_zones is \\(0, 6, 0\\), must leave Wood a zone",
            {"layout_kind": "multi_zone", "num_zones": (0, 6, 0)},
        ),
        ("fixed_four needs layout_kind file, not uniform", {"fixed_four": True}),
    ],
)
def test_bad_configurations(message, changes):
    with pytest.raises(ValueError, match=message):
        GatherTradeBuild(dataclasses.replace(GROWN, **changes))
