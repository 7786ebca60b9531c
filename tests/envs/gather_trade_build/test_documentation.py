"""The code on the page of this economy runs, and does what the page says."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.envs.gather_trade_build import (
    Config,
    GatherTradeBuild,
    PerRole,
    components,
    episode_log,
    make_params,
    recorder,
    tax_models,
)

PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "gather_trade_build.md"
SMALL = {"layout": "quadrant_8x8_4each_8clump"}


def blocks(heading):
    """The Python code under a heading of the page."""
    section = re.search(rf"^## {heading}.*?$(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)[1]
    return re.findall(r"```python\n(.*?)```", section, re.S)


def test_the_wealth_tax_of_the_page_is_paid_by_the_rich_and_creates_no_coin(monkeypatch):
    component, registration, use = blocks("Add a component")
    names = {}
    exec(component, names)
    monkeypatch.setitem(components.COMPONENTS, "wealth_tax", names["tax_wealth"])
    assert 'COMPONENTS["wealth_tax"] = tax_wealth' in registration
    exec(use, names)
    environment, params = names["environment"], names["params"]
    state = jax.jit(lambda key: environment.reset(key, params)[0])(jax.random.key(0))
    coin = jnp.array([10.0, 20.0, 120.0, 520.0])
    state = state.replace(coin=coin, time=jnp.array(49))
    idle = PerRole(workers=jnp.zeros(4, int), planner=jnp.zeros(7, int))
    step = jax.jit(lambda key, state: environment.step(key, state, idle, params)[0])
    state = step(jax.random.key(1), state)
    np.testing.assert_allclose(state.coin, [13.0, 23.0, 121.0, 513.0], rtol=1e-6)
    after = step(jax.random.key(2), state)
    np.testing.assert_allclose(after.coin, state.coin)


def test_the_tax_model_of_the_page_sets_rates_by_inequality():
    (code,) = blocks("Add a tax model")
    try:
        exec(code, {})
        config = Config(**SMALL, tax_model="leveling", episode_length=20)
        params = make_params(config, tax_period=10, starting_coin=20.0)
        log = recorder.record_episode(jax.random.key(3), GatherTradeBuild(config), params)
    finally:
        tax_models.TAX_MODELS.pop("leveling", None)
    coin = log.total_coin[10]
    gini = np.abs(coin[:, None] - coin).sum() / (2 * 3 * coin.sum())
    np.testing.assert_allclose(log.year_rates[1], np.full(7, gini), rtol=1e-4)
    assert not log.year_rates[0].any()  # all own the same at the start


@pytest.mark.slow
@pytest.mark.parametrize(
    "heading",
    ["Record an episode", "Without JAX"],
)
def test_other_code_of_the_page_runs(heading, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for code in blocks(heading):
        small = code.replace("Config()", f"Config(layout={SMALL['layout']!r}, episode_length=20)")
        assert small != code
        exec(small, {})
    if heading == "Record an episode":
        assert episode_log.load("runs/episode.npz").num_steps == 20


def test_the_first_example_of_the_page_steps():
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)[1]
    names = {}
    exec(code, names)
    assert int(names["state"].time) == 1


def test_files_that_the_page_names_exist():
    table = re.search(r"## Where things are(.*?)## ", PAGE.read_text(), re.S)[1]
    folder = PAGE.parents[1] / "envs" / "gather_trade_build"
    named = re.findall(r"`(\w+(?:\.py|/))`", table)
    assert len(named) > 15
    assert not [name for name in named if not (folder / name).exists()]
