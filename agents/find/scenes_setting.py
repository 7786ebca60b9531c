"""What a config with a model of scenes or clips stands for. Spec 3.2, 3.3, 3.6."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ai_econ_jax.envs.diffusion import clip_reward, prompt_model, scenes
from ai_econ_jax.envs.diffusion.metrics import FrechetReference
from ai_econ_jax.envs.diffusion.noise_mdp import Task, draw_images
from ai_econ_jax.envs.diffusion.prompt_model import PromptModel
from ai_econ_jax.envs.diffusion.scenes import Stamps
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig
from ai_econ_jax.envs.diffusion.silhouettes import load_silhouettes
from ai_econ_jax.envs.diffusion.worlds import WORLDS, World

_BASE_IMAGES = 256  # of the frozen model, to which a reward is normalised
_TRUE_IMAGES = 1000  # of the prompt, and as many of the world, for the Fréchet distance


class SceneSetting(NamedTuple):
    """The fields of a `Setting` behind its `name` and `asked`, in their order."""

    model: PromptModel
    weights: Any
    reward: Callable[[Any, jax.Array], jax.Array]
    task: Task
    sampler: SamplerConfig
    judge: Callable[[NDArray], NDArray]
    reference: FrechetReference
    beside: tuple[tuple[str, Callable[[NDArray], NDArray]], ...]


def make(folder: pathlib.Path, prompt: str, sampler: SamplerConfig) -> SceneSetting:
    """Loads a model of scenes or clips for a prompt.

    Raises:
      ValueError: A prompt that the model does not understand, or a model that is not whole, or
        of neither.
      FileNotFoundError: A file that is missing.
    """
    model, weights = prompt_model.load_folder(folder)
    world = _world_of(folder, model)
    wanted = world.parse(prompt)
    size = model.unet.sample_size
    towers = clip_reward.load(folder / "reward", model.latent_shape, world.tokenizer)
    judge = world.load_judge(folder / "judge", size)
    condition = model.condition(weights, prompt)
    # The same images for every method and eta.
    plain = dataclasses.replace(sampler, eta=0.0)
    base = draw_images(model, plain, _BASE_IMAGES, jax.random.key(0), weights, condition)
    target = clip_reward.make_target(towers, jnp.asarray(model.tokenizer.encode(prompt)), base)
    stamps = scenes.make_stamps(load_silhouettes().part("generator"), size)
    drawn = _true_images(world, jax.random.key(0), _TRUE_IMAGES, wanted, stamps, size)
    asked, others = (np.asarray(images) for images in drawn)
    return SceneSetting(
        model=model,
        weights=weights,
        reward=clip_reward.clip_reward,
        task=Task(condition, target),
        sampler=sampler,
        judge=functools.partial(judge.success, wanted=wanted),
        reference=FrechetReference.of(asked, np.concatenate([asked, others])),
        beside=tuple(
            (name, functools.partial(_as_asked, holds, wanted)) for name, holds in world.beside
        ),
    )


def _as_asked(holds: Callable[[NDArray, Any], NDArray], wanted: Any, images: NDArray) -> NDArray:
    """What `World.beside` tells of images."""
    return holds(images, wanted)


def _world_of(folder: pathlib.Path, model: PromptModel) -> World:
    """The world whose words and shape of pictures a model has."""
    size = model.unet.sample_size
    for world in WORLDS:
        if model.tokenizer == world.tokenizer:
            break
    else:
        known = " or ".join(
            f"the {len(world.tokenizer.words)} and {world.tokenizer.length} of {world.name}"
            for world in WORLDS
        )
        raise ValueError(
            f"{folder}: is no model of scenes or clips: its tokenizer has other words, or room for "
            f"another number of them, than {known}"
        )
    if size not in scenes.SIDES:
        raise ValueError(
            f"{folder}: is no model of {world.name}: its images have sides of {size}, must be "
            f"{' or '.join(map(str, scenes.SIDES))}"
        )
    shape = world.shape(size)
    if model.latent_shape != shape:
        raise ValueError(
            f"{folder}: is no model of {world.name}: it draws arrays of shape "
            f"{model.latent_shape}, must be {shape}"
        )
    return world


@functools.partial(jax.jit, static_argnums=(0, 2, 5))
def _true_images(
    world: World, key: jax.Array, count: int, wanted: Any, stamps: Stamps, size: int
) -> tuple[jax.Array, jax.Array]:
    """Images [count, *D] of what a prompt asks for, and as many of the model's world."""
    asked_key, world_key = jax.random.split(key)
    asked = world.renders(asked_key, count, wanted, stamps, size)
    return asked, world.draw(world_key, count, world.skewed, stamps, size)[1]
