import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scenes

from ai_econ_jax import loop
from ai_econ_jax.agents.diffusion import training, world_training
from ai_econ_jax.agents.diffusion.config import Recipe, TrainConfig, WorldDraw
from ai_econ_jax.agents.diffusion.denoiser import DenoiserTraining
from ai_econ_jax.envs.diffusion import clip_reward, prompt_model, scene_judge
from ai_econ_jax.envs.diffusion.inflate import inflate
from ai_econ_jax.envs.diffusion.worlds import CLIPS
from ai_econ_jax.workdir import Workdir

MODEL, START = tiny_scenes.CLIP_MODEL, tiny_scenes.START_MODEL
CONFIG = TrainConfig(
    model="tiny",
    steps=2,
    batch_size=2,
    classifier_steps=1,
    reward_steps=1,
    steps_per_segment=1,
    log_every=1,
)


@pytest.mark.slow
def test_a_model_of_clips_begins_with_one_of_scenes_and_is_finished(tmp_path, monkeypatch):
    def silhouettes():
        return tiny_scenes.silhouettes(20)

    recipe = Recipe(MODEL, silhouettes, WorldDraw(CLIPS), CLIPS)
    monkeypatch.setitem(training.RECIPES, "tiny", recipe)
    # What is the same for scenes is not trained again.
    judge = jax.eval_shape(lambda key: scene_judge.init(key, 16), jax.random.key(0))
    monkeypatch.setattr(
        world_training, "train_judge", lambda *unused: tiny_scenes.random_like(judge)
    )
    monkeypatch.setattr(world_training, "base_success", lambda *unused: {})
    monkeypatch.setattr(world_training, "_HELD_OUT", 24)
    monkeypatch.setattr(world_training, "_RIVALS", 8)
    seen, whole = [], loop.train

    def train(learner, state, **settings):
        seen.append(state)
        seen.append(whole(learner, state, **settings))
        return seen[-1]

    monkeypatch.setattr(training.loop, "train", train)
    scenes = tmp_path / "scenes"
    random = tiny_scenes.random_like(jax.eval_shape(START.init, jax.random.key(0)))
    prompt_model.save_folder(scenes, START, random, jnp.float16)
    config = dataclasses.replace(CONFIG, start_from=str(scenes))
    figures = training.train(config, Workdir(tmp_path / "run"))

    before, after = seen
    fresh = DenoiserTraining(MODEL, recipe.draw, config).init(
        jax.random.split(jax.random.key(config.seed), 5)[0]
    )
    expected = inflate(MODEL, fresh.weights, *prompt_model.load_folder(scenes))
    for begun in (before.weights, before.average):
        jax.tree.map(np.testing.assert_array_equal, begun, expected)
    moved = jax.tree.map(lambda old, new: bool((old != new).any()), before.weights, after.weights)
    assert after.step == 2 and np.mean(jax.tree.leaves(moved)) > 0.9
    folder = tmp_path / "run" / "model"
    model, kept = prompt_model.load_folder(folder)
    assert model == MODEL
    jax.tree.map(
        lambda mine, theirs: np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-6),
        kept,
        after.average,
    )
    clip_reward.load(folder / "reward", MODEL.latent_shape, CLIPS.tokenizer)
    assert {"judge_motion", "reward_finds_caption_of_10"} <= figures.keys()
    assert np.isfinite(list(figures.values())).all()
