import dataclasses
import itertools

import numpy as np
import pytest
from PIL import Image, ImageColor

from ai_econ_jax.envs.gather_trade_build.replay import palette, save_film, save_still


def colors_in(image):
    return {color for _, color in image.convert("RGB").getcolors(1 << 24)}


def test_a_still_has_its_size_and_shows_workers_and_houses(episode, tmp_path):
    save_still(episode, tmp_path / "new" / "step.png", 60, dpi=60)
    image = Image.open(tmp_path / "new" / "step.png")
    assert image.size == (600, 336)
    shown = colors_in(image)
    for color in palette.worker_colors(4):
        assert ImageColor.getrgb(color) in shown
    assert ImageColor.getrgb(palette.TERRAIN["light"]["water"]) in shown


def test_stills_of_two_states_differ_and_of_one_do_not(episode, tmp_path):
    first, again, later = (tmp_path / f"{name}.png" for name in "abc")
    save_still(episode, first, 10, dpi=40)
    save_still(episode, again, 10, dpi=40)
    save_still(episode, later, 50, dpi=40)
    assert first.read_bytes() == again.read_bytes() != later.read_bytes()


@pytest.mark.parametrize("state", [-1, 91])
def test_a_still_of_no_state_is_refused(episode, tmp_path, state):
    with pytest.raises(ValueError, match=f"step {state} is not in the episode, must be in 0 to 90"):
        save_still(episode, tmp_path / "step.png", state)


def test_a_film_has_a_frame_for_every_so_many_steps_and_the_last(episode, tmp_path):
    save_film(episode, tmp_path / "film.gif", every=20, frame_rate=10, dpi=40)
    film = Image.open(tmp_path / "film.gif")
    assert (film.n_frames, film.size, film.info["duration"]) == (6, (400, 224), 100)
    assert film.info["loop"] == 0
    frames = []
    for frame in range(film.n_frames):
        film.seek(frame)
        frames.append(np.asarray(film.convert("RGB"), int))
    assert all(np.abs(a - b).max() > 50 for a, b in itertools.pairwise(frames))


@pytest.mark.parametrize("name", ["every", "frame_rate"])
def test_a_film_that_stands_still_is_refused(episode, tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} is 0, must be positive"):
        save_film(episode, tmp_path / "film.gif", **{name: 0})


def test_episodes_without_trades_or_taxes_are_drawn(episode, tmp_path):
    nothing = {
        field.name: getattr(episode, field.name)[:0]
        for field in dataclasses.fields(episode)
        if field.name.startswith(("trade_", "year_"))
    }
    save_still(dataclasses.replace(episode, **nothing), tmp_path / "step.png", 5, dpi=40)
    assert Image.open(tmp_path / "step.png").size == (400, 224)


def test_every_worker_has_a_color_of_its_own():
    for theme in ("light", "dark"):
        colors = palette.worker_colors(100, theme)
        assert len(set(colors)) == 100
        assert colors[:4] == palette.worker_colors(4, theme)
        shades = np.array([ImageColor.getrgb(color) for color in colors[:10]], float)
        apart = np.linalg.norm(shades[:, None] - shades, axis=-1)[~np.eye(10, dtype=bool)]
        assert apart.min() > 60
