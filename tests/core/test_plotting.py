import os
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from ai_econ_jax import plotting, statistics


def curves(seeds, points=30):
    rng = np.random.default_rng(0)
    return np.linspace(0, 1, points) + 0.1 * rng.normal(size=(seeds, points))


def test_band_over_seeds_is_the_confidence_interval():
    y = curves(4)
    with plotting.figure() as (_, panels):
        plotting.learning_curve(panels[0, 0], np.arange(30), y, label="worker")
    axes = panels[0, 0]
    mean, half_width = statistics.mean_interval(y)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), mean)
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx((mean + half_width).max())
    assert band[:, 1].min() == pytest.approx((mean - half_width).min())


@pytest.mark.parametrize("y", [curves(1), curves(1)[0]])
def test_single_seed_has_a_line_and_no_band(y):
    with plotting.figure() as (_, panels):
        plotting.learning_curve(panels[0, 0], np.arange(30), y)
    assert len(panels[0, 0].lines) == 1
    assert not panels[0, 0].collections


def test_figure_is_a_png_with_something_on_it(tmp_path):
    path = tmp_path / "figures" / "curve.png"
    with plotting.figure(path, columns=2) as (_, panels):
        assert panels.shape == (1, 2)
        plotting.learning_curve(panels[0, 0], np.arange(30), curves(4), label="worker")
        assert not panels[0, 0].legend().get_frame_on()
    image = matplotlib.image.imread(path)
    assert image.shape[1] > image.shape[0] > 100
    assert (image[..., :3] < 0.9).any()
    assert [p.name for p in path.parent.iterdir()] == ["curve.png"]


def test_figure_that_fails_half_way_is_not_written(tmp_path):
    with pytest.raises(RuntimeError), plotting.figure(tmp_path / "a.png"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_style_does_not_leak_into_the_users_matplotlib():
    before = dict(matplotlib.rcParams)
    with plotting.figure():
        assert dict(matplotlib.rcParams) != before
    assert dict(matplotlib.rcParams) == before


def test_figures_need_neither_pyplot_nor_a_display(tmp_path):
    code = (
        "import sys; from ai_econ_jax import plotting\n"
        "with plotting.figure(sys.argv[1]) as (_, panels):\n"
        "    plotting.learning_curve(panels[0, 0], [0, 1], [[1, 2], [2, 3]])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {**os.environ, "MPLBACKEND": "tkagg"}
    environment.pop("DISPLAY", None)
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    subprocess.run(command, check=True, env=environment)
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_end_labels_stay_inside_and_apart_on_a_logarithmic_axis(recwarn):
    ends = {"zero": 0.0, "one": 1.0, "near": 1.1, "far": 100.0, "beyond": 1e6}
    with plotting.figure() as (drawn, panels):
        axes = panels[0, 0]
        axes.plot([1, 2], [1, 100])
        axes.set_yscale("log")
        axes.set_ylim(1, 100)
        plotting.end_labels(axes, 2, ends, {n: n for n in ends}, dict.fromkeys(ends, "black"))
        drawn.canvas.draw()
    heights = {text.get_text(): text.xyann[1] for text in axes.texts}
    assert sorted(heights, key=heights.get) == ["zero", "one", "near", "far", "beyond"]
    assert 0 <= min(heights.values())
    assert max(heights.values()) <= 1
    assert np.diff(sorted(heights.values())).min() > 0.05
    assert not [w for w in recwarn if "constrained_layout" in str(w.message)]
