"""A training run: the denoiser, resumable; then its two classifiers; then the model's folder."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax import checkpoint, loop
from ai_econ_jax.agents.diffusion.config import RECIPES, TrainConfig
from ai_econ_jax.agents.diffusion.denoiser import DenoiserTraining
from ai_econ_jax.agents.diffusion.minimise import minimise
from ai_econ_jax.agents.diffusion.world_training import finish_world
from ai_econ_jax.envs.diffusion import classifier, folders, pixel_model, prompt_model, sampler
from ai_econ_jax.envs.diffusion.image_data import ImageData
from ai_econ_jax.envs.diffusion.inflate import inflate
from ai_econ_jax.envs.diffusion.metrics import FrechetReference
from ai_econ_jax.envs.diffusion.pixel_model import PixelModel
from ai_econ_jax.envs.diffusion.prompt_model import PromptModel
from ai_econ_jax.envs.diffusion.scenes import make_stamps
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig
from ai_econ_jax.workdir import Workdir

_CLASSIFIER_BATCH, _CLASSIFIER_RATE = 64, 3e-3
_BLUR = 0.2  # standard deviation of noise on a classifier's images, in units of their range / 2
_SAMPLES = 512  # drawn to judge the model
_SAMPLER = SamplerConfig(num_steps=20)


def train(config: TrainConfig, workdir: Workdir) -> dict[str, float]:
    """Trains a model and leaves its folder, ``model``, in the work directory.

    Returns:
      Figures of the model and of the networks beside it: see `finish_images` and
      `finish_world`.
    """
    recipe = RECIPES[config.model]
    data = recipe.load()
    part = data.part("generator")
    model = recipe.model
    learner = DenoiserTraining(model, recipe.draw, config)
    constants: Any = jnp.asarray(part.images)
    if recipe.world is not None:
        constants = make_stamps(part, model.unet.sample_size)
    keys = jax.random.split(jax.random.key(config.seed), 5)
    state = learner.init(keys[0])
    # Of a run that goes on, nothing depends on where it once began.
    if config.start_from is not None and not checkpoint.steps(workdir.checkpoints):
        assert isinstance(model, PromptModel)
        images, learned = prompt_model.load_folder(pathlib.Path(config.start_from).expanduser())
        weights = inflate(model, state.weights, images, learned)
        state = dataclasses.replace(state, weights=weights, average=weights)
    state = loop.train(
        learner,
        state,
        constants=(constants,),
        num_updates=config.steps,
        updates_per_segment=config.steps_per_segment,
        log_every=config.log_every,
        keep_checkpoints=1,
        workdir=workdir,
        progress_metric="loss",
    )
    if isinstance(model, PromptModel):
        assert recipe.world is not None
        return finish_world(keys[1:], config, recipe.world, model, state.average, data, workdir)
    return finish_images(keys[1:4], config, model, state.average, data, workdir)


def finish_images(
    keys: jax.Array,
    config: TrainConfig,
    model: PixelModel,
    weights: Any,
    data: ImageData,
    workdir: Workdir,
) -> dict[str, float]:
    """Saves a model without prompts, trains its two classifiers beside it, judges its images.

    Args:
      keys: key[3].
      config: Of the training.
      model: What was trained.
      weights: Of it.
      data: All images.
      workdir: Its folder ``model`` is written.

    Returns:
      The classifiers' accuracies on images that they have not seen; the Fréchet distance of
      the model's images, and of real ones that it has not seen, to those it learned from; and of
      the model's images the share of each class, as the judge names them, and how sure it is of
      them and of real ones: see `shares`.
    """
    folder = workdir.path / "model"
    figures: dict[str, float] = {}
    if workdir.writes:
        pixel_model.save_folder(folder, model, weights, jnp.float16)
        for key, part in zip(keys[:2], ("reward", "judge"), strict=True):
            params = train_classifier(key, data.part(part), config.classifier_steps)
            folders.save_network(folder / part, params)
            others = [data.part(name) for name in ("generator", "reward", "judge") if name != part]
            figures[f"{part}_accuracy"] = accuracy(params, others)
    # What is judged is what was written, in half precision.
    model, kept = pixel_model.load_folder(folder)
    z = jax.random.normal(keys[2], (_SAMPLES, *model.latent_shape))

    @jax.jit
    def draw(z: jax.Array) -> jax.Array:
        condition = jnp.zeros((_SAMPLES, 0))
        denoise = functools.partial(model.denoise, kept, condition)
        unused = jax.random.split(keys[2], _SAMPLES)
        return model.decode(kept, sampler.sample(denoise, model.schedule, _SAMPLER, z, unused))

    reference = FrechetReference.of(data.part("generator").images)
    unseen = np.concatenate([data.part(name).images for name in ("reward", "judge")])
    drawn = draw(z)
    figures["frechet"] = reference.distance(np.asarray(drawn))
    figures["frechet_of_unseen_images"] = reference.distance(unseen)
    judge = classifier.load(folder / "judge", model.latent_shape)
    shown, figures["judge_confidence"] = shares(judge, drawn)
    real = jnp.asarray(data.part("generator").images)
    figures["judge_confidence_in_real_images"] = shares(judge, real)[1]
    figures |= {f"base/{word}": shown[i] for i, word in enumerate(data.label_names)}
    return figures


def shares(params: Any, images: jax.Array) -> tuple[list[float], float]:
    """Share of images of each class, and the mean probability of the class that is named."""
    probabilities = np.exp(np.asarray(classifier.log_probs(params, images)))
    named = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    return (named / len(probabilities)).tolist(), float(probabilities.max(1).mean())


def train_classifier(key: jax.Array, data: ImageData, steps: int) -> Any:
    """Parameters of a classifier of a set of images."""
    images, labels = jnp.asarray(data.images), jnp.asarray(data.labels)
    init_key, steps_key = jax.random.split(key)

    def loss(params: Any, key: jax.Array) -> jax.Array:
        row_key, noise_key = jax.random.split(key)
        rows = jax.random.randint(row_key, (_CLASSIFIER_BATCH,), 0, len(images))
        noisy = images[rows] + _BLUR * jax.random.normal(noise_key, images[rows].shape)
        chosen = jnp.take_along_axis(
            classifier.log_probs(params, noisy), labels[rows][:, None], axis=1
        )
        return -chosen.mean()

    params = classifier.Classifier(len(data.label_names)).init(init_key, images[:1])["params"]
    return minimise(loss, params, _CLASSIFIER_RATE, steps, steps_key)


def accuracy(params: Any, parts: list[ImageData]) -> float:
    """Share of images that a classifier names rightly."""
    right = [
        np.asarray(classifier.log_probs(params, jnp.asarray(part.images))).argmax(1) == part.labels
        for part in parts
    ]
    return float(np.concatenate(right).mean())
