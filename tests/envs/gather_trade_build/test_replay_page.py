import base64
import dataclasses
import html.parser
import json
import re
import types

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_econ_jax.envs.economy import welfare
from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, make_params, recorder
from ai_econ_jax.envs.gather_trade_build.replay import page, render

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'{{block}}\u2028"


class Reader(html.parser.HTMLParser):
    """Elements of a page, and the text of those that have an id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self._open = [], [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self._open = dict(attributes).get("id", tag)

    def handle_data(self, data):
        self.texts[self._open] = self.texts.get(self._open, "") + data


def unpack(text):
    """The data of a page and its arrays, read as the page's script reads them."""
    texts = Reader(text).texts
    data, block = json.loads(texts["data"]), base64.b64decode(texts["block"])
    arrays = {
        name: np.frombuffer(block, kind, int(np.prod(shape)), offset).reshape(shape)
        for name, (kind, shape, offset) in data["arrays"].items()
    }
    return data, arrays


@pytest.fixture(scope="module")
def unpacked(episode):
    return unpack(render(episode))


def played(first, steps, places, values, num_states):
    """What a grid is in each state, from its events."""
    grid, states = first.copy().ravel(), []
    for state in range(num_states):
        now = steps == state
        grid[places[now]] = values[now]
        states.append(grid.copy())
    return np.stack(states)


def test_units_and_houses_come_back_from_their_events(episode, unpacked):
    _, a = unpacked
    states = len(episode.coin)
    units = played(
        a["firstResources"], a["resourceStep"], a["resourcePlace"], a["resourceAmount"], states
    )
    np.testing.assert_array_equal(units, episode.resources.reshape(states, -1))
    empty = np.full(episode.water.size, -1)
    owners = played(empty, a["houseStep"], a["houseCell"], a["houseOwner"], states)
    np.testing.assert_array_equal(owners, episode.house_owner.reshape(states, -1))


def test_open_orders_come_back_from_their_intervals(episode, unpacked):
    _, a = unpacked
    for state in range(len(episode.coin)):
        is_open = (a["orderFrom"] <= state) & (state < a["orderUntil"])
        names = ("orderResource", "orderWorker", "orderSide", "orderPrice")
        seen = sorted(zip(*(a[name][is_open].tolist() for name in names), strict=True))
        resource, worker, slot = np.nonzero(episode.order_side[state])
        where = (state, resource, worker, slot)
        sides, prices = episode.order_side[where], episode.order_price[where]
        logged = zip(resource, worker, sides, prices, strict=True)
        assert seen == sorted(tuple(map(int, order)) for order in logged)


def test_rates_come_back_from_their_changes(episode, unpacked):
    _, a = unpacked
    in_force = np.searchsorted(a["rateStep"], np.arange(len(episode.coin)), side="right") - 1
    np.testing.assert_array_equal(a["rates"][in_force], episode.rates)


def test_series_and_events_are_those_of_the_log(episode, unpacked):
    data, a = unpacked
    np.testing.assert_array_equal(a["coin"], episode.total_coin)
    np.testing.assert_array_equal(a["income"], episode.income)
    np.testing.assert_array_equal(a["labor"], episode.labor)
    np.testing.assert_array_equal(
        a["cell"], episode.location[..., 0] * episode.water.shape[1] + episode.location[..., 1]
    )
    np.testing.assert_array_equal(a["tradePrice"], episode.trade_price)
    np.testing.assert_array_equal(a["yearPaid"], episode.year_paid)
    pairs = np.abs(episode.total_coin[-1][:, None] - episode.total_coin[-1]).sum()
    gini = pairs / (2 * 4 * episode.total_coin[-1].sum()) * 4 / 3
    np.testing.assert_allclose(a["equality"][-1], 1 - gini, rtol=1e-4)
    assert (data["numSteps"], data["height"], data["width"]) == (90, 9, 9)


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=12))
def test_changes_rebuild_any_states(values):
    states = np.array(values, np.uint8).reshape(-1, 2, 2)
    steps, places, new = page._changes(states)
    rebuilt = played(states[0], steps, places, new, len(states))
    np.testing.assert_array_equal(rebuilt, states.reshape(len(states), -1))


def test_the_page_asks_nothing_of_a_network(episode):
    text = render(episode)
    reader = Reader(text)
    assert not {"link", "img", "iframe", "object", "base"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name in ("src", "href", "action")]
    script = reader.texts["script"] + reader.texts["style"]
    assert not re.search(r"https?:|//[a-z]+\.|fetch\(|XMLHttp|WebSocket|import\b|url\(", script)
    assert "default-src 'none'" in text


def test_nothing_from_a_log_becomes_markup(episode):
    names = np.array([HOSTILE, "b", "c", "d"])
    config = np.array(json.dumps({"layout": HOSTILE, HOSTILE: 1}))
    hostile = dataclasses.replace(episode, worker_names=names, config=config)
    plain, text = Reader(render(episode)), render(hostile, title=HOSTILE)
    reader = Reader(text)
    assert reader.tags == plain.tags
    assert HOSTILE not in text
    data, _ = unpack(text)
    assert data["workers"][0] == HOSTILE and data["config"][HOSTILE] == 1


def test_scripts_and_styles_stay_short():
    for name in (*page._SCRIPTS, "style.css", "page.html"):
        assert page._asset(name).count("\n") <= 450, name


@pytest.mark.slow
def test_a_published_episode_is_less_than_a_megabyte():
    config = Config()
    log = recorder.record_episode(jax.random.key(0), GatherTradeBuild(config), make_params(config))
    assert (log.num_steps, log.num_workers, log.water.shape) == (1000, 4, (25, 25))
    assert len(render(log).encode()) < 1_000_000


@pytest.mark.parametrize("mode", ["foundation", "exact"])
def test_equality_is_by_the_formula_of_the_reward(mode):
    """The two formulas differ from 30 workers on."""
    coin = np.arange(60.0).reshape(2, 30)
    log = types.SimpleNamespace(total_coin=coin, configuration={"gini_mode": mode})
    np.testing.assert_array_equal(page._equality(log), welfare.equality(coin, mode))
    other = {"foundation": "exact", "exact": "foundation"}[mode]
    assert np.abs(page._equality(log) - welfare.equality(coin, other)).min() > 1e-3
