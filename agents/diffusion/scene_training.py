"""What is trained beside a model of scenes: its reward and its judge; and the model's base rates.

Axes: N scenes.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from ai_econ_jax.agents.diffusion.config import TrainConfig
from ai_econ_jax.agents.diffusion.minimise import minimise
from ai_econ_jax.envs.diffusion import (
    clip_reward,
    folders,
    prompt_model,
    prompts,
    scene_judge,
    scenes,
)
from ai_econ_jax.envs.diffusion.image_data import ImageData
from ai_econ_jax.envs.diffusion.noise_mdp import draw_images
from ai_econ_jax.envs.diffusion.prompt_model import PromptModel
from ai_econ_jax.envs.diffusion.scene_judge import Found, SceneJudge
from ai_econ_jax.envs.diffusion.scenes import UNIFORM, Prior, Scene, Stamps
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig
from ai_econ_jax.workdir import Workdir

_CLIP_BATCH, _CLIP_RATE = 64, 1e-3
_SPECIES_BATCH, _SPECIES_RATE = 256, 2e-3
_SPECIES_SCENES = 40_000  # drawn for the judge's network
_LAST = 99  # sorted behind every species and colour
_HELD_OUT = 2_000  # true renders on which reward and judge are measured
_GUIDED = SamplerConfig(num_steps=20, guidance_scale=5.0)
_BASE_IMAGES = 64  # of each evaluation prompt


def finish_scenes(
    keys: jax.Array,
    config: TrainConfig,
    model: PromptModel,
    weights: Any,
    data: ImageData,
    workdir: Workdir,
) -> dict[str, float]:
    """Saves a model of scenes, trains its reward and its judge beside it, and judges its images.

    Args:
      keys: key[4].
      config: Of the training.
      model: What was trained.
      weights: Of it.
      data: All silhouettes.
      workdir: Its folder ``model`` is written. A reward or judge that is there already, from a
        start that was killed, is kept.

    Returns:
      The judge's accuracies on true scenes of silhouettes that it has not seen; how often the
      reward finds the right caption of 10; and the share of the model's images, guided, that show
      what each evaluation prompt asks for.
    """
    folder = workdir.path / "model"
    size = model.unet.sample_size
    if workdir.writes:
        prompt_model.save_folder(folder, model, weights, jnp.float16)
        for key, part, learn in (
            (keys[0], "reward", train_clip),
            (keys[1], "judge", train_judge),
        ):
            if not folders.has_network(folder / part):
                stamps = scenes.make_stamps(data.part(part), size)
                params = learn(key, stamps, size, config.classifier_steps)
                folders.save_network(folder / part, params)
    judge = scene_judge.load(folder / "judge", size)
    towers = clip_reward.load(folder / "reward", model.latent_shape)
    unseen = scenes.make_stamps(data.part("generator"), size)
    drawn = draw_scenes(keys[2], _HELD_OUT, UNIFORM, unseen, size)
    figures = {f"judge_{name}": value for name, value in judge_accuracy(judge, *drawn[:2]).items()}
    figures["reward_finds_caption_of_10"] = retrieval(towers, *drawn[1:])
    # What is judged is what was written, in half precision.
    model, kept = prompt_model.load_folder(folder)
    for prompt, rate in base_success(keys[3], model, kept, judge).items():
        figures[f"base/{prompt}"] = rate
    return figures


@functools.partial(jax.jit, static_argnums=(1, 2, 4))
def draw_scenes(
    key: jax.Array, count: int, prior: Prior, stamps: Stamps, size: int
) -> tuple[Scene, jax.Array, jax.Array]:
    """As `scenes.draw_batch`, compiled."""
    return scenes.draw_batch(key, count, prior, stamps, size)


def train_clip(key: jax.Array, stamps: Stamps, size: int, steps: int) -> Any:
    """Parameters of the two towers, trained on scenes of the uniform prior."""
    init_key, steps_key = jax.random.split(key)

    def loss(params: Any, key: jax.Array) -> jax.Array:
        _, images, captions = scenes.draw_batch(key, _CLIP_BATCH, UNIFORM, stamps, size)
        return clip_reward.contrastive_loss(params, images, captions)

    return minimise(loss, clip_reward.init(init_key, (size, size, 3)), _CLIP_RATE, steps, steps_key)


def train_judge(key: jax.Array, stamps: Stamps, size: int, steps: int) -> Any:
    """Parameters of the judge's network, trained on animals that the judge itself cut out."""
    scene_key, init_key, steps_key = jax.random.split(key, 3)
    drawn, images, _ = draw_scenes(scene_key, _SPECIES_SCENES, UNIFORM, stamps, size)
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


def judge_accuracy(judge: SceneJudge, drawn: Scene, images: jax.Array) -> dict[str, float]:
    """Share of true scenes [N] of which the judge names the place and the number rightly.

    Colours and species: share of the animals in scenes whose number is right. They are compared in
    sorted order, so one error may count twice.
    """
    seen = judge.describe(images)
    count = np.asarray(drawn.count)
    right = seen.count == count
    there = np.arange(prompts.MAX_ANIMALS) < count[:, None]

    def sorted_ones(values: NDArray) -> NDArray:
        return np.sort(np.where(there, values, _LAST)[right], axis=1)

    colours = sorted_ones(seen.colour) == sorted_ones(np.asarray(drawn.colour))
    kinds = sorted_ones(seen.species) == sorted_ones(np.asarray(drawn.species))
    return {
        "place": float((seen.place == np.asarray(drawn.place)).mean()),
        "count": float(right.mean()),
        "colour": float(colours[there[right]].mean()),
        "species": float(kinds[there[right]].mean()),
    }


def retrieval(towers: Any, images: jax.Array, captions: jax.Array) -> float:
    """Share of images [N] whose own caption earns more than those of the 9 images after it."""
    left = clip_reward.embed_images(towers["image"], images)
    right = clip_reward.embed_captions(towers["text"], captions)
    products = jnp.stack([(left * jnp.roll(right, -i, axis=0)).sum(1) for i in range(10)])
    others = jnp.stack([(captions == jnp.roll(captions, -i, 0)).all(1) for i in range(1, 10)])
    rivals = jnp.where(others, -jnp.inf, products[1:])
    return float((products[0] > rivals.max(0)).mean())


def base_success(
    key: jax.Array, model: PromptModel, weights: Any, judge: SceneJudge
) -> dict[str, float]:
    """Share of the model's own images of each evaluation prompt that the judge calls right."""
    rates = {}
    for prompt in (p for some in prompts.EVALUATION_PROMPTS.values() for p in some):
        condition = model.condition(weights, prompt)
        images = draw_images(model, _GUIDED, _BASE_IMAGES, key, weights, condition)
        rates[prompt] = float(judge.success(images, prompts.parse(prompt)).mean())
    return rates
