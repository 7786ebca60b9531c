import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scenes

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.find import scenes_setting
from ai_econ_jax.agents.find.experiment_config import ExperimentConfig
from ai_econ_jax.agents.find.setting import make_setting
from ai_econ_jax.envs.diffusion import (
    clip_reward,
    folders,
    prompt_model,
    prompts,
    scene_judge,
    scenes,
)
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, NoiseEnvironment
from ai_econ_jax.envs.diffusion.worlds import CLIPS, SCENES

MODEL, CLIP_MODEL = tiny_scenes.MODEL, tiny_scenes.CLIP_MODEL
PROMPT = "a green dog on the grass"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of scenes that knows nothing, as train_diffusion leaves it."""
    return save(MODEL, tmp_path_factory.mktemp("models") / "scenes")


def save(model, folder):
    key = jax.random.key(0)

    def random(init):
        return tiny_scenes.random_like(jax.eval_shape(init, key))

    prompt_model.save_folder(folder, model, random(model.init), jnp.float16)
    towers = random(lambda key: clip_reward.init(key, model.latent_shape, model.tokenizer))
    folders.save_network(folder / "reward", towers)
    folders.save_network(folder / "judge", random(lambda key: scene_judge.init(key, 16)))
    return folder


def test_a_prompt_gets_its_reward_its_judge_and_true_scenes(folder, monkeypatch):
    monkeypatch.setattr(scenes_setting, "load_silhouettes", lambda: tiny_scenes.silhouettes(60))
    monkeypatch.setattr(scenes_setting, "_TRUE_IMAGES", 300)
    config = ExperimentConfig(model=str(folder), prompt=PROMPT, steps=1, guidance=3.0, eta=1.0)
    setting = make_setting(config)
    assert setting.name == "scenes" and setting.sampler.guidance_scale == 3.0
    assert setting.sampler.eta == 1.0 and setting.sampler.forwards_per_image == 2
    # In deviations of the frozen model's images without noise on the way, whatever eta is.
    still = NoiseEnvironment(
        MODEL, scenes_setting.SamplerConfig(num_steps=1, guidance_scale=3.0), setting.reward
    )
    keys = jax.random.split(jax.random.key(5), 256)
    z = jax.random.normal(jax.random.key(6), (256, *MODEL.latent_shape))
    _, rewards = jax.jit(still.play)(keys, z, DiffusionParams(setting.weights, setting.task))
    assert abs(rewards.mean()) < 0.3 and 0.8 < rewards.std() < 1.2
    # True scenes of the prompt are near, others are not.
    stamps = scenes.make_stamps(tiny_scenes.silhouettes(60).part("generator"), 16)

    @jax.jit
    def draw(key, wanted):
        return SCENES.renders(key, 200, wanted, stamps, 16)

    asked, other = (
        np.asarray(draw(jax.random.key(7), prompts.parse(prompt)))
        for prompt in (PROMPT, "a black cow on the snow")
    )
    distance = setting.reference.distance
    assert distance(asked) < 0.05 * distance(other)
    assert setting.judge(asked).shape == (200,) and setting.judge(asked).dtype == bool
    compiled = scenes_setting._true_images._cache_size()
    wanted = prompts.parse("two cats")  # another prompt, no other program
    scenes_setting._true_images(SCENES, jax.random.key(0), 300, wanted, stamps, 16)
    assert scenes_setting._true_images._cache_size() == compiled


def test_a_prompt_of_a_clip_gets_its_reward_its_judge_and_true_clips(tmp_path, monkeypatch):
    folder = save(CLIP_MODEL, tmp_path / "clips")
    monkeypatch.setattr(scenes_setting, "load_silhouettes", lambda: tiny_scenes.silhouettes(60))
    monkeypatch.setattr(scenes_setting, "_TRUE_IMAGES", 60)
    monkeypatch.setattr(scenes_setting, "_BASE_IMAGES", 16)
    prompt = "a green dog moving from left to right on the grass"
    setting = make_setting(ExperimentConfig(model=str(folder), prompt=prompt, steps=1))
    environment = NoiseEnvironment(CLIP_MODEL, setting.sampler, setting.reward)
    z = jax.random.normal(jax.random.key(6), (3, *CLIP_MODEL.latent_shape))
    play = jax.jit(environment.play)
    clips, rewards = play(
        jax.random.split(jax.random.key(5), 3), z, DiffusionParams(setting.weights, setting.task)
    )
    assert clips.shape == (3, 8, 16, 16, 3) and np.isfinite(rewards).all()
    assert setting.judge(np.asarray(clips)).tolist() == [False] * 3
    ((name, holds),) = setting.beside
    still = np.broadcast_to(np.asarray(clips)[:, :1], clips.shape)
    assert name == "motion" and not holds(still).any()  # it is to move from left to right
    stamps = scenes.make_stamps(tiny_scenes.silhouettes(60).part("generator"), 16)

    @jax.jit
    def draw(key, wanted):
        return CLIPS.renders(key, 40, wanted, stamps, 16)

    asked, other = (
        np.asarray(draw(jax.random.key(7), CLIPS.parse(told)))
        for told in (prompt, "a green dog moving from right to left on the grass")
    )
    distance = setting.reference.distance
    assert distance(asked) < 0.2 * distance(other)


def test_a_prompt_that_is_not_understood_is_refused(folder):
    with pytest.raises(ValueError, match="unknown word 'gren'; nearest: green"):
        make_setting(ExperimentConfig(model=str(folder), prompt="a gren dog"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "words",
            "or clips: its tokenizer has other words, .* the 46 and 12 of scenes or the 42 and 13",
        ),
        ("side", ": its images have sides of 8, must be 16 or 32"),
        ("channels", ": it draws arrays of shape .16, 16, 4., must be .16, 16, 3."),
    ],
)
def test_a_model_of_something_else_is_refused(what, message, folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    if what == "words":
        path = other / "tokenizer" / "vocab.json"
        path.write_text(path.read_text().replace('"dog"', '"dragon"'))
    elif what == "side":
        path = other / "unet" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_size": 8}))
    else:
        unet = dataclasses.replace(MODEL.unet, in_channels=4, out_channels=4)
        save(dataclasses.replace(MODEL, unet=unet), other)
    with pytest.raises(ValueError, match=f"^{other}: is no model of scenes ?{message}"):
        make_setting(ExperimentConfig(model=str(other), prompt=PROMPT))


def test_guidance_out_of_range_is_refused():
    with pytest.raises(config_lib.ConfigError, match=r"field guidance = -1.0: must be"):
        config_lib.validate(ExperimentConfig(guidance=-1.0))
