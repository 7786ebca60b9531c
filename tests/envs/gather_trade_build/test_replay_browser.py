"""The replay page in a real browser: Debian's chromium, headless, driven by playwright."""

import dataclasses
import json
import re
import shutil
import time

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from ai_econ_jax.envs.gather_trade_build.replay import palette, render

pytestmark = pytest.mark.browser

DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 3,
    "is_mobile": True,
    "has_touch": True,
}


@pytest.fixture(scope="module")
def chromium():
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("these tests need the program chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        # Root, as in a container, may not use Chromium's sandbox.
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def file(episode, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "episode.html"
    path.write_text(render(episode, "An episode"), encoding="utf-8")
    return path


@pytest.fixture
def open_page(chromium, file):
    """``open_page(path=file, fragment="", **options of the browser's context)``.

    Afterwards: no error was logged, and nothing but the file was asked for.
    """
    contexts, errors, requests = [], [], []

    def open_it(path=file, fragment="", **options):
        contexts.append(chromium.new_context(**(DESKTOP | options)))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"file://{path}{fragment}")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert errors == []
    assert all(re.fullmatch(r"file://.*\.html(#.*)?", url) for url in requests)


@pytest.fixture
def page(open_page):
    return open_page()


def step_of(page):
    return int(page.locator("#clock b").inner_text().replace(",", ""))


def is_playing(page):
    return page.locator("#play").get_attribute("aria-pressed") == "true"


def wait_for(page, condition):
    """Polls from here: the page's own policy forbids scripts given as text."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


def wait_for_step(page, least):
    wait_for(page, lambda: step_of(page) >= least)


def color_at(page, selector, x, y):
    """Color of a canvas at a place given in shares of its size."""
    return tuple(
        page.eval_on_selector(
            selector,
            """(canvas, [x, y]) => [...canvas.getContext("2d")
                .getImageData(x * canvas.width, y * canvas.height, 1, 1).data].slice(0, 3)""",
            [x, y],
        )
    )


def rgb(color):
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def test_it_opens_at_the_start_paused(page):
    assert step_of(page) == 0 and not is_playing(page)
    assert page.title() == "An episode"
    assert page.locator("#scrubber").get_attribute("max") == "90"
    assert "4 workers" in page.locator("#subtitle").inner_text()


def test_the_button_plays_and_pauses(page):
    page.get_by_role("button", name="Play", exact=True).click()
    assert is_playing(page)
    wait_for_step(page, 2)
    page.get_by_role("button", name="Pause", exact=True).click()
    stopped = step_of(page)
    page.wait_for_timeout(400)
    assert step_of(page) == stopped and not is_playing(page)


def test_the_keyboard_plays_pauses_and_steps(page):
    page.keyboard.press("Space")
    assert is_playing(page)
    wait_for_step(page, 1)
    page.keyboard.press("Space")
    assert not is_playing(page)
    page.keyboard.press("Home")
    assert step_of(page) == 0
    for key, step in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("Shift+ArrowRight", 11),
        ("Shift+ArrowLeft", 1),
        ("PageDown", 31),
        ("PageDown", 61),
        ("PageUp", 31),
        ("End", 90),
        ("ArrowRight", 90),
        ("Home", 0),
        ("ArrowLeft", 0),
    ):
        page.keyboard.press(key)
        assert step_of(page) == step, key


def test_stepping_by_buttons_pauses(page):
    page.get_by_role("button", name="Play", exact=True).click()
    page.get_by_role("button", name="Step forward").click()
    assert not is_playing(page)
    before = step_of(page)
    page.get_by_role("button", name="Step forward").click()
    page.get_by_role("button", name="Step forward").click()
    page.get_by_role("button", name="Step back").click()
    assert step_of(page) == before + 1


def test_space_on_a_focused_button_presses_it_once(page):
    page.locator("#forward").focus()
    page.keyboard.press("Space")
    assert step_of(page) == 1 and not is_playing(page)


def test_the_mouse_scrubs(page):
    box = page.locator("#scrubber").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=5)
    assert abs(step_of(page) - 45) <= 1
    page.mouse.move(box["x"] + box["width"], middle, steps=5)
    page.mouse.up()
    assert step_of(page) == 90


def test_a_focused_scrubber_takes_the_same_keys(page):
    page.locator("#scrubber").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert step_of(page) == 11
    assert page.locator("#scrubber").input_value() == "11"
    assert (
        page.locator("#scrubber").get_attribute("aria-valuetext") == "Step 11 of 90, year 1, day 11"
    )


def test_a_chart_scrubs_too(page):
    chart = page.locator("#charts canvas").first
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] - 1, "y": 20})
    assert step_of(page) == 90


def test_speed_is_chosen_by_menu_and_keys(page):
    speed = page.locator("#speed")
    assert speed.input_value() == "5"
    page.keyboard.press("ArrowUp")
    assert speed.input_value() == "10"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert speed.input_value() == "2"
    speed.select_option("100")
    page.locator("#play").click()
    wait_for(page, lambda: step_of(page) == 90 and not is_playing(page))
    speed.select_option("1")
    page.locator("#play").click()  # at the end, play starts anew
    assert is_playing(page) and step_of(page) < 90


def test_the_address_opens_a_step(open_page):
    page = open_page(fragment="#42")
    assert step_of(page) == 42
    page.evaluate("location.hash = '#7'")
    wait_for(page, lambda: step_of(page) == 7)


@pytest.mark.parametrize("fragment", ["#-5", "#nonsense", "#<b>"])
def test_an_address_that_means_nothing_opens_the_start(open_page, fragment):
    assert step_of(open_page(fragment=fragment)) == 0


@pytest.mark.parametrize("step", [0, 44, 90])
def test_what_is_written_is_what_was_logged(open_page, episode, step):
    page = open_page(fragment=f"#{step}")
    cells = page.eval_on_selector_all(
        "#workers tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    )
    for worker, (name, coin, stone, wood, houses, labor, utility) in enumerate(cells):
        assert name.split("\n")[-1] == f"worker {worker}"

        def number(text):
            return float(text.split("+")[0].replace(",", ""))

        def escrow(text):
            return float(text.split("+")[1]) if "+" in text else 0.0

        assert number(coin) == pytest.approx(episode.coin[step, worker], abs=0.51)
        assert escrow(coin) == pytest.approx(episode.escrow_coin[step, worker], abs=0.51)
        for kind, text in enumerate((stone, wood)):
            assert number(text) == episode.inventory[step, worker, kind]
            assert escrow(text) == episode.escrow[step, worker, kind]
        assert number(houses) == (episode.house_owner[step] == worker).sum()
        assert number(labor) == pytest.approx(episode.labor[step, worker], abs=0.51)
        assert number(utility) == pytest.approx(episode.utility[step, worker], abs=0.06)
    figures = page.locator("#figures dd").all_inner_texts()
    assert float(figures[0]) == pytest.approx(episode.total_coin[step].sum(), abs=0.51)
    assert int(figures[2]) == (episode.house_owner[step] >= 0).sum()
    assert int(figures[3]) == (episode.trade_step <= step).sum()


def test_the_latest_trades_are_listed_newest_first(open_page, episode):
    step = int(episode.trade_step[-1])
    page = open_page(fragment=f"#{step}")
    lines = page.locator("#trades li").all_inner_texts()
    for trade, line in zip(range(len(episode.trade_step) - 1, 0, -1), lines, strict=False):
        seller, buyer = episode.trade_seller[trade], episode.trade_buyer[trade]
        resource = episode.resource_names[episode.trade_resource[trade]]
        expected = [episode.trade_step[trade], seller, "→", buyer, resource]
        expected += [episode.trade_price[trade], "coin"]
        assert line.split() == [str(word) for word in expected]
    assert page.locator("#trades li.now").count() == min(5, (episode.trade_step == step).sum())


def test_the_map_shows_workers_houses_and_water_where_they_are(open_page, episode):
    page = open_page(fragment="#90")
    height, width = episode.water.shape
    colors = palette.worker_colors(4)
    terrain = palette.TERRAIN["light"]
    for worker, (row, column) in enumerate(episode.location[90]):
        # Beside the number in the middle of its disc.
        seen = color_at(page, "#map", (column + 0.5) / width, (row + 0.5 - 0.3) / height)
        assert seen == rgb(colors[worker])
    taken = {tuple(place) for place in episode.location[90]}
    for row, column in np.argwhere(episode.house_owner[90] >= 0):
        if (row, column) not in taken:
            owner = episode.house_owner[90, row, column]
            seen = color_at(page, "#map", (column + 0.3) / width, (row + 0.6) / height)
            assert seen == rgb(colors[owner])
    row, column = np.argwhere(episode.water)[0]
    seen = color_at(page, "#map", (column + 0.1) / width, (row + 0.1) / height)
    assert seen == rgb(terrain["water"])


def test_the_order_book_says_how_many_orders_are_open(open_page, episode):
    page = open_page(fragment="#50")
    for kind, name in enumerate(("Stone", "Wood")):
        bids, asks = ((episode.order_side[50, kind] == side).sum() for side in (1, 2))
        label = page.locator("#books canvas").nth(kind).get_attribute("aria-label")
        assert label.startswith(f"{name}: {bids} open bids, {asks} open asks, ")


def test_the_schedule_says_the_rates_in_force_and_years_can_be_chosen(page, episode):
    years = page.locator("#years button")
    assert years.count() == 3
    years.nth(1).click()
    assert step_of(page) == 31
    assert years.nth(1).get_attribute("aria-current") == "true"
    assert page.locator("#year").inner_text() == "year 2 of 3"
    label = page.locator("#schedule").get_attribute("aria-label")
    rates = [float(text) / 100 for text in re.findall(r"coin ([\d.]+)%", label)]
    np.testing.assert_allclose(rates, episode.rates[31], atol=1e-3)


def test_a_tax_day_is_announced_on_the_map(open_page, episode):
    page = open_page(fragment="#60")
    collected = episode.year_paid[1].sum()
    banner = page.locator("#banner.shown").inner_text()
    assert banner.startswith(f"Year 2 taxed: {collected:.1f} coin collected, ")
    page.keyboard.press("ArrowRight")
    assert page.locator("#banner.shown").count() == 0


def test_a_worker_can_be_highlighted_by_keyboard(page):
    button = page.get_by_role("button", name="Highlight worker 2")
    button.focus()
    page.keyboard.press("Enter")
    assert page.locator("#workers tr.dimmed").count() == 3
    assert (
        page.get_by_role("button", name="Highlight worker 2").get_attribute("aria-pressed")
        == "true"
    )
    page.get_by_role("button", name="Highlight worker 2").click()
    assert page.locator("#workers tr.dimmed").count() == 0


def test_everything_has_a_name_for_those_who_cannot_see_it(page):
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, canvas[role]")].filter(
            (e) => !(e.ariaLabel || e.innerText || e.labels?.length)).map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    page.keyboard.press("ArrowRight")
    said = page.locator("#announcement").inner_text()
    assert said.startswith("Step 1 of 90, year 1, day 1. Coin: worker 0 ")


@pytest.mark.parametrize("width", [320, 390, 760, 1024, 1440, 2560])
def test_no_width_needs_sideways_scrolling(open_page, width):
    page = open_page(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [box.bounding_box() for box in page.locator("section, #controls > *").all()]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width + 0.5 for box in boxes)


def test_a_phone_plays_and_scrubs_by_touch(open_page):
    page = open_page(**PHONE)
    page.locator("#play").tap()
    wait_for_step(page, 2)
    page.locator("#play").tap()
    assert not is_playing(page)
    box = page.locator("#scrubber").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert abs(step_of(page) - 45) <= 2
    page.locator("#map").tap()
    assert is_playing(page)
    for control in ("#back", "#play", "#forward", "#speed"):
        box = page.locator(control).bounding_box()
        assert min(box["width"], box["height"]) >= 44  # as large as a fingertip
        assert box["y"] + box["height"] <= 844  # in sight without scrolling


@pytest.mark.parametrize("scale", [1, 1.5, 3])
def test_canvases_have_a_pixel_for_each_pixel_of_the_screen(open_page, scale):
    page = open_page(device_scale_factor=scale)
    sizes = page.evaluate(
        """() => [...document.querySelectorAll("canvas")].map(
            (c) => [c.width, c.getBoundingClientRect().width])"""
    )
    assert len(sizes) >= 10
    assert all(abs(pixels - scale * width) <= 0.6 for pixels, width in sizes)


def test_dark_and_light_follow_the_system(open_page, episode):
    page = open_page(color_scheme="dark")
    row, column = np.argwhere(episode.water)[0]
    place = (column + 0.1) / episode.water.shape[1], (row + 0.1) / episode.water.shape[0]
    assert color_at(page, "#map", *place) == rgb(palette.TERRAIN["dark"]["water"])
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(100)
    assert color_at(page, "#map", *place) == rgb(palette.TERRAIN["light"]["water"])


def test_motion_between_states_is_smooth_unless_it_is_not_wanted(open_page, episode):
    step = int(np.argmax((np.diff(episode.location[:, 0], axis=0) != 0).any(1)))
    samples = {}
    for motion in ("no-preference", "reduce"):
        page = open_page(fragment=f"#{step}", reduced_motion=motion)
        page.evaluate("document.querySelector('#speed').value = 1")
        images = "document.querySelector('#map').toDataURL()"
        page.keyboard.press("Space")
        samples[motion] = {page.evaluate(images) for _ in range(8) if step_of(page) == step}
    assert len(samples["no-preference"]) > 2
    assert len(samples["reduce"]) <= 2  # at the most, the flash of a trade ends


def test_hostile_names_are_text(open_page, episode, tmp_path):
    hostile = "</script><img src=x onerror=alert(1)>{{block}}"
    log = dataclasses.replace(
        episode,
        worker_names=np.array([hostile, "b", "c", "d"]),
        config=np.array(json.dumps({"layout": hostile})),
    )
    path = tmp_path / "hostile.html"
    path.write_text(render(log, hostile), encoding="utf-8")
    page = open_page(path)
    assert page.locator("img").count() == 0
    assert page.title() == hostile == page.locator("h1").inner_text()
    assert hostile in page.locator("#subtitle").inner_text()
    assert page.locator("#workers tbody button span").nth(1).inner_text() == hostile
    page.keyboard.press("ArrowRight")
    assert step_of(page) == 1
