import numpy as np
import pytest
import tiny_diffusion

from ai_econ_jax.agents.find import setting as setting_lib
from ai_econ_jax.agents.find.experiment_config import ExperimentConfig
from ai_econ_jax.envs.diffusion.image_data import DIGIT_WORDS, ImageData
from ai_econ_jax.envs.diffusion.metrics import FrechetReference


def config_of(folder, prompt="three"):
    return ExperimentConfig(model=str(folder), prompt=prompt, steps=1)


@pytest.mark.parametrize("side", [8, 28])
def test_a_model_is_held_against_the_digits_of_its_size(tmp_path, monkeypatch, side):
    generator = np.random.default_rng(side)
    images = generator.standard_normal((40, side, side, 1)).astype(np.float32)
    data = ImageData(images, np.arange(40) % 10, DIGIT_WORDS)
    monkeypatch.setitem(setting_lib.DIGITS, side, lambda: data)
    setting = setting_lib.make_setting(
        config_of(tiny_diffusion.write_digits(tmp_path / "digits", side))
    )
    assert setting.model.latent_shape == (side, side, 1)
    assert int(setting.task.reward.label) == 3
    expected = FrechetReference.of(images[3::10], images)
    np.testing.assert_array_equal(setting.reference.mean, expected.mean)
    assert setting.judge(images).shape == (40,)


def test_digits_of_a_size_that_nobody_wrote_are_refused(tmp_path):
    folder = tiny_diffusion.write_digits(tmp_path / "digits", 12)
    message = "digits: is no model of digits: its images have sides of 12, must be 8 or 28"
    with pytest.raises(ValueError, match=message):
        setting_lib.make_setting(config_of(folder))


@pytest.mark.parametrize("name", ["digits8", "mnist28"])
def test_the_networks_of_a_shipped_model_name_digits_that_they_have_not_seen(name):
    setting = setting_lib.make_setting(config_of(name))
    data = setting_lib.DIGITS[setting.model.latent_shape[0]]().part("generator")
    threes = data.images[data.labels == 3]
    assert setting.judge(threes).mean() > 0.9
    assert np.exp(setting.reward(setting.task.reward, threes)).mean() > 0.9
    others = data.images[data.labels != 3]
    assert setting.judge(others).mean() < 0.02
    assert np.exp(setting.reward(setting.task.reward, others)).mean() < 0.02
