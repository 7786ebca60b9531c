"""What a config stands for: the frozen model, its weights, the reward, the judge, real images."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.find import scenes_setting
from ai_econ_jax.agents.find.experiment_config import TRAINS_WEIGHTS, ExperimentConfig
from ai_econ_jax.envs.diffusion import classifier, folders, host_rewards, pixel_model, terrain
from ai_econ_jax.envs.diffusion.gauss import GaussModel, GaussWeights
from ai_econ_jax.envs.diffusion.image_data import DIGIT_WORDS, DIGITS
from ai_econ_jax.envs.diffusion.metrics import FrechetReference
from ai_econ_jax.envs.diffusion.noise_mdp import Model, Reward, Task
from ai_econ_jax.envs.diffusion.rewards import linear_reward
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig

NAMES = ("gauss", "digits8", "mnist28", "scenes16", "clips16", "terrain")
_STEPS = 20  # of a sampler, when the config leaves them open
_GAUSS_DIM = 64
_FILLERS = ("a", "an", "the", "digit")


@dataclasses.dataclass(frozen=True)
class Setting:
    """A model and a task."""

    name: str
    asked: str  # of the model, by its own reward, in words
    model: Model
    weights: Any
    reward: Reward
    task: Task
    sampler: SamplerConfig
    judge: Callable[[NDArray], NDArray] | None  # images [N, ...] -> bool[N], success
    reference: FrechetReference | None  # real images of what was asked for
    # What is told beside success: (name, images [N, ...] -> bool[N]).
    beside: tuple[tuple[str, Callable[[NDArray], NDArray]], ...] = ()


def make_setting(config: ExperimentConfig) -> Setting:
    """Loads what a config names.

    Raises:
      ValueError: A prompt that the model does not understand, a model that is not whole, or a
        reward that cannot be had.
      FileNotFoundError: A folder that is missing, or a file of it.
    """
    setting = _with_own_reward(config)
    if config.reward is None:
        return setting
    task = dataclasses.replace(setting.task, reward=host_rewards.encode_prompt(config.prompt))
    return dataclasses.replace(setting, reward=host_rewards.make(config.reward), task=task)


def for_method(setting: Setting, config: ExperimentConfig) -> Setting:
    """A setting of another method, as a config with the same model, prompt and reward has it.

    Raises:
      ValueError: The model cannot do with the method or its noise.
    """
    if config.model == "terrain":
        _check_terrain(config)
    sampler = dataclasses.replace(setting.sampler, eta=config.sampler_eta)
    return dataclasses.replace(setting, sampler=sampler)


def _with_own_reward(config: ExperimentConfig) -> Setting:
    if config.model == "terrain":
        return _terrain(config)
    steps = _STEPS if config.steps is None else config.steps
    sampler = SamplerConfig(num_steps=steps, eta=config.sampler_eta)
    if config.model == "gauss":
        return _gauss(sampler)
    folder = pathlib.Path(config.model).expanduser()
    if config.model in NAMES:
        folder = folders.MODELS / config.model
    elif not folder.is_dir():
        raise FileNotFoundError(
            f"model {config.model!r}: no such folder, and no model of that name; "
            f"have {', '.join(NAMES)}"
        )
    if (folder / "text_encoder").is_dir():
        guided = dataclasses.replace(sampler, guidance_scale=config.guidance)
        made = scenes_setting.make(folder, config.prompt, guided)
        return Setting(folder.name, repr(config.prompt), *made)
    return _digits(folder, config.prompt, sampler)


def digit_of(prompt: str) -> int:
    """The digit that a prompt names, such as "three" or "a three".

    Raises:
      ValueError: It is empty, has a word that is not known, or does not name one digit.
    """
    words = prompt.lower().split()
    if not words:
        raise ValueError("the prompt is empty; name a digit, such as three")
    known = (*DIGIT_WORDS, *_FILLERS)
    for word in words:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=3, cutoff=0.3)
            hint = f"; nearest: {', '.join(near)}" if near else f"; known: {', '.join(known)}"
            raise ValueError(f"prompt {prompt!r}: unknown word {word!r}{hint}")
    named = [word for word in words if word in DIGIT_WORDS]
    if len(named) != 1:
        raise ValueError(f"prompt {prompt!r}: must name one digit, names {len(named)}")
    return DIGIT_WORDS.index(named[0])


def _gauss(sampler: SamplerConfig) -> Setting:
    """Standard normal data, and a reward along a fixed direction, of deviation 1."""
    model = GaussModel(_GAUSS_DIM)
    direction = np.random.default_rng(0).standard_normal(_GAUSS_DIM)
    direction /= np.linalg.norm(direction)
    return Setting(
        name="gauss",
        asked="a linear reward",
        model=model,
        weights=GaussWeights(jnp.zeros(_GAUSS_DIM), jnp.ones(_GAUSS_DIM)),
        reward=linear_reward,
        task=Task(jnp.zeros(0), jnp.asarray(direction, jnp.float32)),
        sampler=sampler,
        judge=None,
        reference=None,
    )


def _check_terrain(config: ExperimentConfig) -> None:
    """Refuses what needs a gradient of the model, or more than its one step."""
    if config.method in TRAINS_WEIGHTS:
        raise ValueError(
            f"method {config.method} learns the model's weights from the noise of its steps, and "
            "terrain is a black box with one step and no noise; use find, cem or best_of_n"
        )
    if config.method == "reno":
        raise ValueError(
            "method reno follows the gradient of the model, and terrain is a black box without "
            "one; use find, cem or best_of_n"
        )
    config_lib.check(
        config.steps in (None, 1), "steps", config.steps, "terrain has one step, so it must be 1"
    )
    config_lib.check(
        not config.eta, "eta", config.eta, "terrain's one step adds no noise, so it must be 0"
    )


def _terrain(config: ExperimentConfig) -> Setting:
    """A pretrained generator without gradients or steps, which is to put a hill in the middle.

    Raises:
      ValueError: As `_check_terrain`.
      TerrainError: The model is not installed.
    """
    _check_terrain(config)
    model, weights = terrain.load()
    return Setting(
        name="terrain",
        asked=f"a hill in the middle at difficulty {terrain.DIFFICULTY:g}",
        model=model,
        weights=weights,
        reward=terrain.terrain_hill,
        task=Task(jnp.float32(terrain.DIFFICULTY), ()),
        sampler=SamplerConfig(num_steps=1),
        judge=None,
        reference=None,
    )


def _digits(folder: pathlib.Path, prompt: str, sampler: SamplerConfig) -> Setting:
    """A model of digits, whose reward and judge are classifiers that saw other images."""
    digit = digit_of(prompt)
    model, weights = pixel_model.load_folder(folder)
    side = model.unet.sample_size
    if side not in DIGITS:
        raise ValueError(
            f"{folder}: is no model of digits: its images have sides of {side}, must be "
            f"{' or '.join(map(str, DIGITS))}"
        )
    rewarding, judging = (
        classifier.load(folder / part, model.latent_shape) for part in ("reward", "judge")
    )
    data = DIGITS[side]()

    @jax.jit
    def named(images: jax.Array) -> jax.Array:
        return jnp.argmax(classifier.log_probs(judging, images), axis=1)

    return Setting(
        name=folder.name,
        asked=repr(prompt),
        model=model,
        weights=weights,
        reward=classifier.class_reward,
        task=Task(jnp.zeros(0), classifier.ClassTarget(rewarding, jnp.int32(digit))),
        sampler=sampler,
        judge=lambda images: np.asarray(named(jnp.asarray(images))) == digit,
        reference=FrechetReference.of(data.of(digit), data.images),
    )
