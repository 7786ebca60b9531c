import json
import shutil

import numpy as np
import pytest

from ai_econ_jax import config as config_lib
from ai_econ_jax import workdir
from ai_econ_jax.agents.diffusion import training
from ai_econ_jax.agents.diffusion.config import PRESETS
from ai_econ_jax.envs.diffusion import pixel_model
from ai_econ_jax.envs.diffusion.image_data import DIGIT_WORDS
from ai_econ_jax.envs.diffusion.weights import read_safetensors


@pytest.mark.slow
def test_a_killed_training_goes_on_and_leaves_the_same_model(tmp_path, monkeypatch):
    config = config_lib.validate(PRESETS["smoke"])

    def run(name):
        with workdir.open_workdir(tmp_path / name, config) as place:
            return training.train(config, place)

    figures = run("whole")
    assert set(figures) == {
        "reward_accuracy",
        "judge_accuracy",
        "frechet",
        "frechet_of_unseen_images",
        "judge_confidence",
        "judge_confidence_in_real_images",
        *(f"base/{word}" for word in DIGIT_WORDS),
    }
    assert sum(figures[f"base/{word}"] for word in DIGIT_WORDS) == pytest.approx(1)
    assert all(np.isfinite(value) for value in figures.values())
    model, _ = pixel_model.load_folder(tmp_path / "whole" / "model")
    assert model.latent_shape == (8, 8, 1)

    # As after a kill in the second segment: only the first checkpoint is there.
    save = training.pixel_model.save_folder

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.pixel_model, "save_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        run("killed")
    monkeypatch.setattr(training.pixel_model, "save_folder", save)
    for stale in (tmp_path / "killed" / "checkpoints").glob("4"):
        shutil.rmtree(stale)
    assert run("killed") == figures
    name = "model/unet/diffusion_pytorch_model.fp16.safetensors"
    whole, resumed = (read_safetensors(tmp_path / run / name)[0] for run in ("whole", "killed"))
    for tensor in whole:
        np.testing.assert_array_equal(whole[tensor], resumed[tensor])
    rows = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["update"] for row in rows] == [1, 2, 3, 4]
