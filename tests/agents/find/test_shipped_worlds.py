"""The models of scenes and clips that the library brings."""

import jax
import numpy as np
import pytest

from ai_econ_jax.agents.diffusion import world_training
from ai_econ_jax.agents.diffusion.config import RECIPES
from ai_econ_jax.agents.find.setting import NAMES
from ai_econ_jax.envs.diffusion import clip_reward, folders, prompt_model, scenes
from ai_econ_jax.envs.diffusion.noise_mdp import draw_images
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig
from ai_econ_jax.envs.diffusion.silhouettes import SilhouettesError, load_silhouettes

SHIPPED = ("scenes16", "clips16")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_whole_small_and_as_its_recipe_says(name):
    assert name in NAMES
    folder, world = folders.MODELS / name, RECIPES[name].world
    model, _ = prompt_model.load_folder(folder)
    assert model == RECIPES[name].model
    world.load_judge(folder / "judge", model.unet.sample_size)
    clip_reward.load(folder / "reward", model.latent_shape, world.tokenizer)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 8e6


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_draws_the_place_that_it_is_told(name):
    folder, world = folders.MODELS / name, RECIPES[name].world
    model, weights = prompt_model.load_folder(folder)
    judge = world.load_judge(folder / "judge", model.unet.sample_size)
    sampler = SamplerConfig(num_steps=10, guidance_scale=2.0)
    for prompt in ("a dog on the grass", "a cow on the snow"):
        condition = model.condition(weights, prompt)
        drawn = np.asarray(draw_images(model, sampler, 8, jax.random.key(0), weights, condition))
        frames = drawn.reshape(-1, *drawn.shape[-3:])
        judge_of_frames = getattr(judge, "frames", judge)  # of the judge of clips
        asked = world.parse(prompt)
        place = getattr(asked, "scene", asked).place
        assert (judge_of_frames.describe(frames).place == place).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_reward_tells_animals_apart(name):
    folder, world = folders.MODELS / name, RECIPES[name].world
    towers = clip_reward.load(folder / "reward", RECIPES[name].model.latent_shape, world.tokenizer)
    try:
        stamps = scenes.make_stamps(load_silhouettes().part("generator"), 16)
    except SilhouettesError as error:
        pytest.skip(str(error))
    # By chance 0.125; colours and places are the same in every group.
    assert world_training.among_rivals(jax.random.key(0), world, towers, stamps, 16) > 0.4
