"""What is trained beside a model of a world: its reward and its judge; and the model's base rates.

Axes: N scenes or clips.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from ai_econ_jax.agents.diffusion.config import TrainConfig
from ai_econ_jax.agents.diffusion.minimise import minimise
from ai_econ_jax.envs.diffusion import clip_reward, folders, prompt_model, scene_judge, scenes
from ai_econ_jax.envs.diffusion.image_data import ImageData
from ai_econ_jax.envs.diffusion.noise_mdp import draw_images
from ai_econ_jax.envs.diffusion.prompt_model import PromptModel
from ai_econ_jax.envs.diffusion.scene_judge import Found
from ai_econ_jax.envs.diffusion.scenes import UNIFORM, Scene, Stamps
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig
from ai_econ_jax.envs.diffusion.worlds import GROUP, SCENES, World
from ai_econ_jax.workdir import Workdir

_CLIP_BATCH, _CLIP_RATE = 128, 1e-3
_NOISE = 0.2  # largest deviation of the noise that the reward's pictures, in [-1, 1], get
_SPECIES_BATCH, _SPECIES_RATE = 256, 2e-3
_SPECIES_SCENES = 40_000  # drawn for the judge's network
_HELD_OUT = 2_000  # true scenes, or clips, on which reward and judge are measured
_GUIDED = SamplerConfig(num_steps=20, guidance_scale=2.0)
_RIVALS = 800  # pictures in groups of 8
_BASE_IMAGES = 64  # of each evaluation prompt


def finish_world(
    keys: jax.Array,
    config: TrainConfig,
    world: World,
    model: PromptModel,
    weights: Any,
    data: ImageData,
    workdir: Workdir,
) -> dict[str, float]:
    """Saves a model of a world, trains its reward and its judge beside it, and judges its images.

    Args:
      keys: key[4].
      config: Of the training.
      world: That the model learned.
      model: What was trained.
      weights: Of it.
      data: All silhouettes.
      workdir: Its folder ``model`` is written. A reward or judge that is there already, from a
        start that was killed, is kept.

    Returns:
      The judge's accuracies on true pictures of silhouettes that it has not seen; how often the
      reward finds the right caption of 10, and of 8 that differ in what is hard to tell; and the
      share of the model's images, guided, that show what each evaluation prompt asks for.
    """
    folder = workdir.path / "model"
    shape, size = model.latent_shape, model.unet.sample_size

    def reward(key: jax.Array, stamps: Stamps) -> Any:
        return train_clip(key, world, stamps, shape, config.reward_steps)

    def judge_network(key: jax.Array, stamps: Stamps) -> Any:
        return train_judge(key, stamps, size, config.classifier_steps)

    if workdir.writes:
        prompt_model.save_folder(folder, model, weights, jnp.float16)
        for key, part, learn in zip(
            keys, ("reward", "judge"), (reward, judge_network), strict=False
        ):
            if not folders.has_network(folder / part):
                params = learn(key, scenes.make_stamps(data.part(part), size))
                folders.save_network(folder / part, params)
    judge = world.load_judge(folder / "judge", size)
    towers = clip_reward.load(folder / "reward", shape, world.tokenizer)
    unseen = scenes.make_stamps(data.part("generator"), size)
    figures = held_out(keys[2], world, judge, towers, unseen, size)
    rivals_key = jax.random.fold_in(keys[2], 1)
    found = among_rivals(rivals_key, world, towers, unseen, size)
    figures["reward_finds_caption_of_8_rivals"] = found
    # What is judged is what was written, in half precision.
    model, kept = prompt_model.load_folder(folder)
    return figures | base_success(keys[3], world, model, kept, judge)


def held_out(
    key: jax.Array, world: World, judge: Any, towers: Any, stamps: Stamps, size: int
) -> dict[str, float]:
    """The judge's accuracies on true pictures, and how often the reward finds a caption of 10.

    Means over as many parts as a picture has frames, so that every world needs the same memory.
    """
    parts = math.prod(world.frames)
    part_keys = key[None] if parts == 1 else jax.random.split(key, parts)
    rows = []
    for part_key in part_keys:
        drawn, pictures, captions = draw_world(
            world, part_key, _HELD_OUT // parts, world.uniform, stamps, size
        )
        told = world.accuracy(judge, drawn, pictures)
        row = {f"judge_{name}": value for name, value in told.items()}
        rows.append(row | {"reward_finds_caption_of_10": retrieval(towers, pictures, captions)})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@functools.partial(jax.jit, static_argnums=(0, 2, 3, 5))
def draw_world(
    world: World, key: jax.Array, count: int, prior: Any, stamps: Stamps, size: int
) -> tuple[Any, jax.Array, jax.Array]:
    """As `world.draw`, compiled."""
    return world.draw(key, count, prior, stamps, size)


def train_clip(
    key: jax.Array, world: World, stamps: Stamps, shape: tuple[int, ...], steps: int
) -> Any:
    """Parameters of the two towers, trained on pictures of the uniform prior, of a shape.

    Pictures come in groups of rivals, so that the animal counts (see `World.draw_rivals`), and with
    noise of any level up to 0.2, or a method would find that noise raises the reward.
    """
    init_key, steps_key = jax.random.split(key)

    def loss(params: Any, key: jax.Array) -> jax.Array:
        draw_key, level_key, noise_key = jax.random.split(key, 3)
        images, captions = world.draw_rivals(
            draw_key, _CLIP_BATCH, world.uniform, stamps, shape[-2]
        )
        level = _NOISE * jax.random.uniform(level_key, (_CLIP_BATCH, *(1,) * len(shape)))
        noisy = images + level * jax.random.normal(noise_key, images.shape)
        return clip_reward.contrastive_loss(params, noisy, captions)

    params = clip_reward.init(init_key, shape, world.tokenizer)
    return minimise(loss, params, _CLIP_RATE, steps, steps_key)


def train_judge(key: jax.Array, stamps: Stamps, size: int, steps: int) -> Any:
    """Parameters of the judge's network, trained on animals that the judge cut out of scenes.

    Frames of clips are scenes with one animal, so it is the same network for both.
    """
    scene_key, init_key, steps_key = jax.random.split(key, 3)
    drawn, images, _ = draw_world(SCENES, scene_key, _SPECIES_SCENES, UNIFORM, stamps, size)
    found = scene_judge.find_animals(images)
    rows, labels = matched(drawn, found)
    crops, names = jnp.asarray(found.crop[rows]), jnp.asarray(labels)

    def loss(params: Any, key: jax.Array) -> jax.Array:
        row_key, flip_key = jax.random.split(key)
        chosen = jax.random.randint(row_key, (_SPECIES_BATCH,), 0, len(crops))
        flips = jax.random.bernoulli(flip_key, 0.5, (_SPECIES_BATCH, 1, 1, 1))
        batch = jnp.where(flips, crops[chosen, :, ::-1], crops[chosen])
        logits = scene_judge.species_logits(params, batch)
        return optax.softmax_cross_entropy_with_integer_labels(logits, names[chosen]).mean()

    return minimise(loss, scene_judge.init(init_key, size), _SPECIES_RATE, steps, steps_key)


def matched(drawn: Scene, found: Found) -> tuple[NDArray, NDArray]:
    """Which animals of true scenes were found, as rows of `found`, and their species.

    Of scenes in which the right number was found; of two kinds, the first drawn stands left.
    """
    right = found.counts == np.asarray(drawn.count)
    rows = np.flatnonzero(right[found.image])
    return rows, np.asarray(drawn.species)[found.image[rows], found.numbers[rows]]


def retrieval(towers: Any, images: jax.Array, captions: jax.Array) -> float:
    """Share of images [N] whose own caption earns more than those of the 9 images after it."""
    left = clip_reward.embed_images(towers["image"], images)
    right = clip_reward.embed_captions(towers["text"], captions)
    products = jnp.stack([(left * jnp.roll(right, -i, axis=0)).sum(1) for i in range(10)])
    others = jnp.stack([(captions == jnp.roll(captions, -i, 0)).all(1) for i in range(1, 10)])
    rivals = jnp.where(others, -jnp.inf, products[1:])
    return float((products[0] > rivals.max(0)).mean())


def among_rivals(key: jax.Array, world: World, towers: Any, stamps: Stamps, size: int) -> float:
    """Share of true pictures whose own caption earns most of the 8 of their group of rivals."""
    images, captions = jax.jit(world.draw_rivals, static_argnums=(1, 2, 4))(
        key, _RIVALS, world.uniform, stamps, size
    )
    left = clip_reward.embed_images(towers["image"], images)
    right = clip_reward.embed_captions(towers["text"], captions)
    left, right = (each.reshape(-1, GROUP, each.shape[-1]) for each in (left, right))
    named = (left @ right.mT).argmax(-1)
    return float((named == jnp.arange(GROUP)).mean())


def base_success(
    key: jax.Array, world: World, model: PromptModel, weights: Any, judge: Any
) -> dict[str, float]:
    """Share of the model's own images of each evaluation prompt that the judge calls right.

    Under ``base/<prompt>``; of clips, those that move as asked under ``base_motion/<prompt>``.
    """
    rates = {}
    for prompt in world.evaluation_prompts:
        condition = model.condition(weights, prompt)
        drawn = draw_images(model, _GUIDED, _BASE_IMAGES, key, weights, condition)
        images, asked = np.asarray(drawn), world.parse(prompt)
        rates[f"base/{prompt}"] = float(judge.success(images, asked).mean())
        for name, holds in world.beside:
            rates[f"base_{name}/{prompt}"] = float(holds(images, asked).mean())
    return rates
