import numpy as np

from ai_econ_jax.agents.find import figures


def test_images_are_tiled_row_by_row():
    images = np.linspace(-1, 1, 6)[:, None, None, None] * np.ones((6, 2, 3, 1))
    sheet = figures.tiles(images, rows=2, columns=3)
    assert sheet.shape == (6, 12, 1)
    np.testing.assert_allclose(sheet[::3, ::4, 0].ravel(), (np.linspace(-1, 1, 6) + 1) / 2)


def test_a_clip_is_a_row_of_its_frames():
    frames = np.linspace(-1, 1, 15).reshape(3, 5, 1, 1, 1) * np.ones((3, 5, 2, 2, 3))
    sheet = figures.tiles(frames, rows=2, columns=8)
    assert sheet.shape == (6, 15, 3)
    expected = (frames[:2, :, 0, 0, 0] + 1) / 2
    np.testing.assert_allclose(sheet[::3, ::3, 0], expected)
