"""Every row of the table of bad inputs that concerns the environment, on its message."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import checkify

from ai_econ_jax.envs.gather_trade_build import (
    Config,
    GatherTradeBuild,
    PerRole,
    actions,
    layouts,
    make_params,
)

FREE = Config(fixed_four=False)


def refuse(message, **changes):
    with pytest.raises(ValueError, match=re.escape(message)):
        GatherTradeBuild(dataclasses.replace(FREE, **changes))


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "layout has no cells"),
        ("WS ;W;", "row 2: 1 cells, row 1 has 3"),
        ("WWW;   ;", "layout has no Stone source"),
        ("SSS;   ;", "layout has no Wood source"),
    ],
)
def test_layout_files(tmp_path, text, message):
    path = tmp_path / "mine.map"
    path.write_text(text)
    refuse(f"{path}", layout_file=str(path))
    refuse(message, layout_file=str(path))


def test_layout_file_of_another_size(tmp_path):
    path = tmp_path / "mine.map"
    path.write_text("WS ;\n   ;\n")
    refuse("layout is 2 x 3, world_size is 3 x 3", layout_file=str(path), world_size=(3, 3))


def test_layout_file_that_is_no_text(tmp_path):
    path = tmp_path / "mine.map"
    path.write_bytes(b"WS\xff ;")
    refuse(f"layout file {path} is not UTF-8 text", layout_file=str(path))


def test_layout_file_that_does_not_exist():
    with pytest.raises(FileNotFoundError, match=r"layout file nowhere\.map does not exist"):
        GatherTradeBuild(dataclasses.replace(FREE, layout_file="nowhere.map"))


def test_unknown_names_list_the_valid_ones():
    refuse("layout 'x' is unknown; valid: " + layouts.names()[0], layout="x")
    refuse("tax_model 'x' is unknown; valid: planner, us_federal", tax_model="x")
    refuse("component 'x' is unknown; valid: build, trade", components=("x",))
    refuse("welfare function 'x' is unknown; valid: ", planner_goal="x")
    refuse(
        "layout_kind 'x' is unknown; valid: file, split, uniform, quadrant, multi_zone",
        layout_kind="x",
    )


def test_workers():
    refuse("num_workers is 1, must be between 2 and 126", num_workers=1)


def test_more_workers_than_free_cells(tmp_path):
    path = tmp_path / "mine.map"
    path.write_text("WS@;@ @;")
    refuse("4 workers do not fit on the 3 free cells of the map", layout_file=str(path))


def test_fixed_four(tmp_path):
    path = tmp_path / "mine.map"
    path.write_text("WS      ;        ;        ;")
    refuse("fixed_four needs a square map, layout is 3 x 8", fixed_four=True, layout_file=str(path))
    refuse("fixed_four needs skill_law pareto, not none", fixed_four=True, skill_law="none")
    refuse("fixed_four needs layout_kind file, not split", fixed_four=True, layout_kind="split")


def test_split():
    refuse("split_row is 0, must lie between 1 and 23", layout_kind="split", split_row=0)
    refuse("split_row is 24, must lie between 1 and 23", layout_kind="split", split_row=24)
    refuse("top_ranks has 4, must lie in [0, 4)", layout_kind="split", top_ranks=(4,))
    refuse("top_ranks is [0, 1, 2, 3], must leave", layout_kind="split", top_ranks=(0, 1, 2, 3))
    refuse("split needs skill_law pareto, not none", layout_kind="split", skill_law="none")


@pytest.mark.parametrize(
    "top_ranks, message",
    [
        ((0,), "3 workers do not fit on the 1 free cells of the map below the water"),
        ((0, 1, 2), "3 workers do not fit on the 2 free cells of the map above the water"),
    ],
)
def test_halves_of_a_split_that_are_too_small(tmp_path, top_ranks, message):
    path = tmp_path / "mine.map"
    path.write_text("W@;S@;  ; @;")
    refuse(message, layout_file=str(path), layout_kind="split", top_ranks=top_ranks)


def test_corners_on_water(tmp_path):
    path = tmp_path / "mine.map"
    path.write_text("@WS;   ;   ;")
    message = "fixed_four starts a worker at (0, 0), which is water"
    refuse(message, fixed_four=True, layout_file=str(path))


def test_rates_and_brackets():
    refuse("rate_min is -0.1 and rate_max 1, must satisfy 0 <= rate_min", rate_min=-0.1)
    refuse("rate_min is 0 and rate_max 1.5, must satisfy 0 <= rate_min", rate_max=1.5)
    refuse("rate_min is 0.6 and rate_max 0.5, must satisfy", rate_min=0.6, rate_max=0.5)
    refuse("rate_step is 0, must lie in (0, 1]", rate_step=0.0)
    refuse("rate_step is 1.5, must lie in (0, 1]", rate_step=1.5)
    refuse("rate_step is 0.5, leaves the planner one rate", rate_step=0.5, rate_max=0.4)
    refuse("bracket spacing 'x' is unknown; valid: us_federal, linear", bracket_spacing="x")
    refuse("num_brackets is 1, must be at least 2", bracket_spacing="linear", num_brackets=1)
    refuse(
        "tax_model us_federal needs bracket_spacing us_federal, not linear",
        tax_model="us_federal",
        bracket_spacing="linear",
    )


@pytest.mark.parametrize(
    "config, numbers, message",
    [
        ({"tax_model": "fixed"}, {"fixed_rates": [1.5] + [0.0] * 6}, "rates[0] is 1.5, must lie"),
        ({"tax_model": "fixed"}, {"fixed_rates": [0.0] * 3}, "one rate for each of 7 brackets"),
        ({"tax_model": "fixed"}, {}, "tax_model fixed needs fixed_rates"),
        ({}, {"cutoffs": [0.0, 5.0, 3.0, 9.0, 10.0, 11.0, 12.0]}, "must ascend strictly"),
        ({}, {"cutoffs": [1.0, 5.0, 6.0, 9.0, 10.0, 11.0, 12.0]}, "cutoffs starts at 1"),
        ({}, {"cutoffs": [0.0, 5.0, 6.0]}, "cutoffs has 3 entries, the configuration has 7"),
        ({"tax_model": "x"}, {}, "tax_model 'x' is unknown; valid: planner, us_federal"),
        ({}, {"cap_schedule": (float("nan"), 0.1)}, "cap_schedule is (nan, 0.1), must be two"),
        ({}, {"tax_period": 0}, "tax_period is 0, must be an integer of at least 1"),
        ({}, {"tax_period": 2.5}, "tax_period is 2.5, must be an integer of at least 1"),
        ({}, {"order_duration": float("nan")}, "order_duration is nan, must be an integer"),
        ({}, {"payment": 0.0}, "payment is 0, must be positive"),
        ({}, {"payment": -1.0}, "payment is -1, must be positive"),
        ({}, {"max_skill": float("nan")}, "max_skill is nan, must be at least 1"),
        ({}, {"eta": 1.5}, "eta is 1.5, must lie in [0, 1]"),
        ({}, {"labor_cost": -1.0}, "labor_cost is -1, must not be negative"),
        ({}, {"regeneration": 1.5}, "regeneration is 1.5, must lie in [0, 1]"),
        ({}, {"skills": [1.0, 2.0]}, "skills has 2 entries, must have 4"),
        ({"fixed_four": False}, {"skills": [1.0, 1.1, 2.0, 3.0]}, "skills are given, but they are"),
    ],
)
def test_numbers(config, numbers, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_params(dataclasses.replace(FREE, **config), **numbers)


@pytest.mark.slow  # checks make compilation long
def test_actions_out_of_range_and_negative_coin_are_errors_in_debug_mode():
    environment = GatherTradeBuild(dataclasses.replace(FREE, debug=True))
    params = make_params(environment.config)
    state, _ = jax.jit(environment.reset)(jax.random.key(0), params)
    checked = jax.jit(checkify.checkify(environment.step))

    def step(workers, planner=0, coin=0.0):
        action = PerRole(workers=jnp.full(4, workers), planner=jnp.full(7, planner))
        poor = dataclasses.replace(state, coin=jnp.full(4, coin))
        return checked(jax.random.key(1), poor, action, params)[0]

    with pytest.raises(Exception, match=r"worker actions .*must lie below"):
        step(50).throw()
    with pytest.raises(Exception, match=r"planner actions .*must lie below"):
        step(0, planner=22).throw()
    with pytest.raises(Exception, match=r"coin .*negative"):
        step(0, coin=-1.0).throw()
    step(0).throw()


@pytest.mark.parametrize("multi_action", [False, True])
def test_actions_out_of_range_do_nothing_otherwise(multi_action):
    environment = GatherTradeBuild(dataclasses.replace(FREE, multi_action=multi_action))
    shape = (4, 6) if multi_action else (4,)
    nothing, *outside = (
        actions.decode(
            PerRole(workers=jnp.full(shape, worker), planner=jnp.full(7, planner)),
            environment.world,
        )
        for worker, planner in ((0, 0), (77, -3), (-1, 22))
    )
    for each in outside:
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), nothing, each))
