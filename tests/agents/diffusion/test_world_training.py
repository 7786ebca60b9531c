import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scenes

from ai_econ_jax.agents.diffusion import world_training
from ai_econ_jax.agents.diffusion.config import TrainConfig, WorldDraw
from ai_econ_jax.envs.diffusion import clip_reward, prompts, scene_judge, scenes
from ai_econ_jax.envs.diffusion.scene_judge import Seen
from ai_econ_jax.envs.diffusion.scenes import UNIFORM, Scene
from ai_econ_jax.envs.diffusion.worlds import CLIPS, SCENES
from ai_econ_jax.workdir import Workdir

STAMPS = scenes.make_stamps(tiny_scenes.silhouettes(), 16)


def test_every_tenth_scene_comes_without_its_caption():
    draw = jax.jit(WorldDraw(SCENES), static_argnums=1)
    images, captions = draw(jax.random.key(0), 3000, STAMPS)
    assert images.shape == (3000, 16, 16, 3)
    dropped = (np.asarray(captions) == prompts.Tokenizer().null).all(1)
    assert abs(dropped.mean() - 0.1) < 4 * (0.09 / 3000) ** 0.5


class Says:
    """A judge that says what it is told to."""

    def __init__(self, seen):
        self.seen = seen

    def describe(self, images):
        return self.seen


def test_accuracies_are_counted_over_scenes_and_animals():
    drawn = Scene(
        place=jnp.array([0, 1]),
        count=jnp.array([2, 1]),
        species=jnp.array([[3, 4, 3, 3], [5, 5, 5, 5]]),
        colour=jnp.array([[1, 2, 7, 7], [6, 0, 0, 0]]),
    )
    right = Seen(
        np.array([0, 1]),
        np.array([2, 1]),
        np.array([[4, 3, -1, -1], [5, -1, -1, -1]]),
        np.array([[2, 1, -1, -1], [6, -1, -1, -1]]),
    )
    accuracy = functools.partial(scene_judge.accuracy, drawn=drawn, images=None)
    assert accuracy(Says(right)) == dict.fromkeys(("place", "count", "colour", "species"), 1.0)
    wrong = dataclasses.replace(
        right, place=np.array([0, 2]), species=np.array([[4, 9, -1, -1], [5, -1, -1, -1]])
    )
    assert accuracy(Says(wrong))["place"] == 0.5
    assert accuracy(Says(wrong))["species"] == pytest.approx(1 / 3)  # sorted: 3, 4 against 4, 9
    missed = dataclasses.replace(right, count=np.array([1, 1]))
    assert accuracy(Says(missed)) == {"place": 1.0, "count": 0.5, "colour": 1.0, "species": 1.0}


def test_the_judge_s_network_learns_from_animals_with_their_own_names():
    drawn, images, _ = world_training.draw_world(
        SCENES, jax.random.key(1), 200, UNIFORM, STAMPS, 16
    )
    found = scene_judge.find_animals(images)
    rows, labels = world_training.matched(drawn, found)
    assert len(rows) > 0.95 * np.asarray(drawn.count).sum()
    colours = {}
    number = dict.fromkeys(range(200), 0)
    for row, label in zip(rows, labels, strict=True):
        image = found.image[row]
        place = number[image]
        number[image] += 1
        assert label == drawn.species[image, place]
        if drawn.species[image, 0] != drawn.species[image, 1]:
            colours[row] = found.colour[row] == drawn.colour[image, place]
    assert np.mean(list(colours.values())) > 0.95


@pytest.mark.parametrize(
    ("world", "model"),
    [(SCENES, tiny_scenes.MODEL), (CLIPS, tiny_scenes.CLIP_MODEL)],
    ids=["scenes", "clips"],
)
def test_what_a_killed_start_left_is_kept_and_the_rest_is_made(world, model, tmp_path, monkeypatch):
    trained = []

    def random_towers(*arguments):
        trained.append(("reward", arguments[-1]))
        init = functools.partial(
            clip_reward.init, image_shape=model.latent_shape, tokenizer=world.tokenizer
        )
        return tiny_scenes.random_like(jax.eval_shape(init, jax.random.key(0)))

    def random_judge(*arguments):
        trained.append(("judge", arguments[-1]))
        init = functools.partial(scene_judge.init, size=16)
        return tiny_scenes.random_like(jax.eval_shape(init, jax.random.key(0)))

    monkeypatch.setattr(world_training, "train_clip", random_towers)
    monkeypatch.setattr(world_training, "train_judge", random_judge)
    monkeypatch.setattr(world_training, "_HELD_OUT", 24)
    monkeypatch.setattr(world_training, "_RIVALS", 8)
    monkeypatch.setattr(world_training, "base_success", lambda *unused: {"base/a dog": 0.5})
    finish = functools.partial(
        world_training.finish_world,
        jax.random.split(jax.random.key(0), 4),
        TrainConfig(reward_steps=7, classifier_steps=5),
        world,
        model,
        tiny_scenes.random_like(jax.eval_shape(model.init, jax.random.key(0))),
        tiny_scenes.silhouettes(20),
        Workdir(tmp_path),
    )
    # Killed between the folder and the file in it.
    (tmp_path / "model" / "reward").mkdir(parents=True)
    figures = finish()
    assert trained == [("reward", 7), ("judge", 5)] and figures["base/a dog"] == 0.5
    (tmp_path / "model" / "judge" / "model.safetensors").unlink()
    assert finish().keys() == figures.keys() and trained[2:] == [("judge", 5)]


class Counts:
    """Keeps what a judge is shown; its accuracy is the number of the call."""

    def __init__(self):
        self.shown = []

    def accuracy(self, judge, drawn, pictures):
        self.shown.append(np.asarray(pictures))
        return {"place": float(len(self.shown))}


@pytest.mark.parametrize(("world", "parts"), [(SCENES, 1), (CLIPS, 8)], ids=["scenes", "clips"])
def test_reward_and_judge_are_measured_on_as_many_clips_as_scenes(world, parts, monkeypatch):
    monkeypatch.setattr(world_training, "_HELD_OUT", 16)
    monkeypatch.setattr(world_training, "retrieval", lambda towers, *drawn: len(drawn[1]))
    judge = Counts()
    counted = dataclasses.replace(world, accuracy=judge.accuracy)
    key = jax.random.key(0)
    figures = world_training.held_out(key, counted, None, None, STAMPS, 16)
    assert figures == {
        "judge_place": (parts + 1) / 2,  # the mean over all parts
        "reward_finds_caption_of_10": 16 / parts,
    }
    pictures = np.concatenate(judge.shown)
    assert pictures.shape == (16, *world.shape(16)) and len(judge.shown) == parts
    assert len(np.unique(pictures.reshape(16, -1), axis=0)) == 16  # no part is drawn twice
    if world is SCENES:
        _, same, _ = world_training.draw_world(SCENES, key, 16, UNIFORM, STAMPS, 16)
        np.testing.assert_array_equal(pictures, same)


@pytest.mark.parametrize("world", [SCENES, CLIPS], ids=["scenes", "clips"])
def test_who_knows_captions_by_heart_finds_them_among_rivals(world, monkeypatch):
    rng = np.random.default_rng(0)
    keys = rng.standard_normal((64, 128))
    told = []

    def captions_by_heart(params, captions):
        assert params == "words"
        told.append(np.asarray(captions))
        return jnp.asarray(keys)

    monkeypatch.setattr(world_training, "_RIVALS", 64)
    monkeypatch.setattr(world_training.clip_reward, "embed_captions", captions_by_heart)
    # A picture's caption is sought, not a caption's picture: its length changes nothing.
    length = 10.0 ** rng.permuted(np.tile(np.arange(8.0), (8, 1)), axis=1).reshape(64, 1)
    swapped = keys.reshape(8, 8, 128).copy()
    swapped[:4, :2] = swapped[:4, 1::-1]  # two of eight, in half of the groups
    for images, share in ((keys, 1.0), (swapped.reshape(64, 128), 1 - 8 / 64)):

        def embed_images(params, seen, vectors=length * images):
            assert params == "pixels" and seen.shape == (64, *world.shape(16))
            return jnp.asarray(vectors)

        monkeypatch.setattr(world_training.clip_reward, "embed_images", embed_images)
        towers = {"image": "pixels", "text": "words"}
        key = jax.random.key(0)
        assert world_training.among_rivals(key, world, towers, STAMPS, 16) == share
    assert len(np.unique(told[0][:8], axis=0)) == 8


def test_the_reward_learns_from_rivals_with_noise(monkeypatch):
    def loss_once(loss, params, rate, steps, key):
        return jax.jit(loss)(None, key)

    monkeypatch.setattr(world_training, "minimise", loss_once)
    monkeypatch.setattr(
        world_training.clip_reward, "contrastive_loss", lambda params, *batch: batch
    )
    monkeypatch.setattr(world_training.clip_reward, "init", lambda *unused: None)
    key = jax.random.key(0)
    noisy, captions = world_training.train_clip(key, SCENES, STAMPS, (16, 16, 3), 1)
    drawn = jax.random.split(jax.random.split(key)[1], 3)[0]
    images, same = jax.jit(SCENES.draw_rivals, static_argnums=(1, 2, 4))(
        drawn, len(noisy), UNIFORM, STAMPS, 16
    )
    np.testing.assert_array_equal(captions, same)
    levels = np.asarray(noisy - images).std((1, 2, 3))
    assert 0 < levels.min() < 0.02 and 0.18 < levels.max() < 0.22


class Nods:
    """A judge to whom the first half of all images is right."""

    def success(self, images, wanted):
        return np.arange(len(images)) < len(images) // 2


def test_base_rates_are_of_success_and_of_clips_also_of_motion(monkeypatch):
    clip, frames, _ = world_training.draw_world(
        CLIPS, jax.random.key(0), 40, CLIPS.uniform, STAMPS, 16
    )
    monkeypatch.setattr(world_training, "draw_images", lambda *unused: frames)
    model = types.SimpleNamespace(condition=lambda weights, prompt: None)
    rates = world_training.base_success(jax.random.key(0), CLIPS, model, None, Nods())
    assert len(rates) == 2 * len(CLIPS.evaluation_prompts)
    assert rates["base/a dog on the moon"] == 0.5
    assert rates["base_motion/a dog on the moon"] == 1.0
    told = rates["base_motion/a dog moving from left to right on the grass"]
    assert told == pytest.approx(np.mean(clip.motion == 0)) and 0 < told < 0.5


@pytest.mark.slow
def test_reward_and_judge_learn_made_up_animals():
    towers = world_training.train_clip(jax.random.key(0), SCENES, STAMPS, (16, 16, 3), 150)
    drawn, images, captions = world_training.draw_world(
        SCENES, jax.random.key(2), 200, UNIFORM, STAMPS, 16
    )
    assert world_training.retrieval(towers, images, captions) > 0.3  # by chance: 0.1
    judge = scene_judge.SceneJudge(world_training.train_judge(jax.random.key(1), STAMPS, 16, 150))
    # By chance 0.1; 150 steps reach 0.69 and 600 0.72, for made-up animals of few pixels are alike.
    assert scene_judge.accuracy(judge, drawn, images)["species"] > 0.6
