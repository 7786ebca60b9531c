"""A model of pixels that listens to prompts: text encoder, and a U-Net that attends to its states.

Of images or of clips, as the U-Net's config says.

::

    model_index.json
    text_encoder/config.json      text_encoder/model[.fp16].safetensors
    tokenizer/vocab.json          words and their numbers
    unet/ scheduler/              as in ``pixel_model``

Spec 3.2, 3.5, 3.6. Axes: B images, H and W sides, C channels, L tokens, F width of a token; ``*D``
stands for (H, W, C) of images and (frames, H, W, C) of clips.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.diffusion import folders, text_encoder
from ai_econ_jax.envs.diffusion import weights as weights_lib
from ai_econ_jax.envs.diffusion.prompts import SPECIAL, Tokenizer
from ai_econ_jax.envs.diffusion.schedule import ScheduleConfig
from ai_econ_jax.envs.diffusion.text_encoder import TextConfig, TextEncoder
from ai_econ_jax.envs.diffusion.unet import NetworkConfig
from ai_econ_jax.envs.diffusion.unet3d import make_network

_INDEX = {
    "_class_name": "DiffusionPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
}
_TEXT_FILES = ("model.safetensors", "model.fp16.safetensors")


@dataclasses.dataclass(frozen=True)
class PromptModel:
    """A conditional model whose latents are images or clips.

    Its weights are ``{"text_encoder": ..., "unet": ...}``, its condition the states f32[L, F] of
    the prompt's tokens.
    """

    unet: NetworkConfig
    text: TextConfig
    schedule: ScheduleConfig
    tokenizer: Tokenizer = Tokenizer()

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """D."""
        return self.unet.input_shape

    def encode(self, weights: Any, tokens: jax.Array) -> jax.Array:
        """Conditions f32[B, L, F] of prompts i32[B, L]."""
        states = TextEncoder(self.text).apply({"params": weights["text_encoder"]}, tokens)
        assert isinstance(states, jax.Array)
        return states

    def condition(self, weights: Any, prompt: str) -> jax.Array:
        """The condition f32[L, F] of one prompt; raises PromptError as the tokenizer does."""
        return self.encode(weights, jnp.asarray(self.tokenizer.encode(prompt))[None])[0]

    def denoise(
        self, weights: Any, condition: jax.Array, x: jax.Array, timestep: jax.Array
    ) -> jax.Array:
        """The U-Net's output, f32[B, *D]."""
        output = make_network(self.unet).apply({"params": weights["unet"]}, x, timestep, condition)
        assert isinstance(output, jax.Array)
        return output

    def null_condition(self, weights: Any) -> jax.Array:
        """The condition f32[L, F] of the empty prompt."""
        return self.encode(weights, jnp.asarray(self.tokenizer.null)[None])[0]

    def feature(self, condition: jax.Array) -> jax.Array:
        """The mean state f32[F] of a prompt's tokens."""
        return condition.mean(axis=-2)

    def decode(self, weights: Any, x: jax.Array) -> jax.Array:
        """Images or clips f32[B, *D] in [-1, 1]."""
        return jnp.clip(x, -1.0, 1.0)

    def init(self, key: jax.Array) -> Any:
        """Fresh weights."""
        text_key, unet_key = jax.random.split(key)
        states = jnp.zeros((1, self.tokenizer.length, self.text.hidden_size))
        inputs = (jnp.zeros((1, *self.latent_shape)), jnp.zeros(1, jnp.int32), states)
        return {
            "text_encoder": text_encoder.init(text_key, self.text),
            "unet": make_network(self.unet).init(unet_key, *inputs)["params"],
        }


def save_folder(folder: pathlib.Path, model: PromptModel, weights: Any, dtype: Any) -> None:
    """Writes a model in diffusers' layout, numbers of a type such as float16."""
    index = _INDEX | {"unet": ["diffusers", folders.class_name(model.unet)]}
    folders.write_json(folder / "model_index.json", index)
    folders.save_unet(folder, model.unet, model.schedule, weights["unet"], dtype)
    config = dataclasses.asdict(model.text) | {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
    }
    folders.write_json(folder / "text_encoder" / "config.json", config)
    tensors = text_encoder.to_file(weights["text_encoder"])
    folders.write_tensors(folder / "text_encoder", _TEXT_FILES, tensors, dtype)
    vocabulary = {word: number for number, word in enumerate(model.tokenizer.words)}
    folders.write_json(folder / "tokenizer" / "vocab.json", vocabulary)


def load_folder(folder: pathlib.Path) -> tuple[PromptModel, Any]:
    """Reads a model and its weights, as float32.

    Raises:
      FileNotFoundError: The folder, or a file of it, is missing; which is named.
      ValueError: A config asks for what is not supported, or the vocabulary does not fit.
      WeightsError: Tensors do not fit the config.
    """
    folders.check_index(folder)
    unet, schedule = folders.read_configs(folder)
    text = folders.read_config(folder / "text_encoder" / "config.json", TextConfig)
    if not unet.is_conditional:
        raise ValueError(f"{folder}: its U-Net does not attend to prompts")
    if unet.in_channels != unet.out_channels:
        raise ValueError(
            f"{folder}: its U-Net takes {unet.in_channels} channels and gives {unet.out_channels}, "
            "must give as many as it takes"
        )
    if unet.cross_attention_dim != text.hidden_size:
        raise ValueError(
            f"{folder}: the U-Net attends to states of width {unet.cross_attention_dim}, the text "
            f"encoder's have {text.hidden_size}"
        )
    words = _read_words(folder / "tokenizer" / "vocab.json", text.vocab_size)
    model = PromptModel(unet, text, schedule, Tokenizer(words, text.max_position_embeddings))
    template = jax.eval_shape(model.init, jax.random.key(0))
    where, tensors = folders.read_tensors(folder / "text_encoder", _TEXT_FILES)
    encoder = text_encoder.from_file(tensors, text, where)
    where, tensors = folders.read_tensors(folder / "unet", folders.UNET_FILES)
    network = weights_lib.from_diffusers(tensors, template["unet"], where)
    return model, {"text_encoder": encoder, "unet": network}


def _read_words(path: pathlib.Path, count: int) -> tuple[str, ...]:
    """The words of a vocabulary by their numbers, which must be 0 to count - 1."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is missing")
    try:
        numbers = dict(json.loads(path.read_text()).items())
        words = tuple(sorted(numbers, key=lambda word: numbers[word]))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is no JSON object of numbers ({error})") from None
    if [numbers[word] for word in words] != list(range(count)):
        raise ValueError(f"{path}: must number its words 0 to {count - 1}, the encoder's")
    for token in SPECIAL:
        if token not in numbers:
            raise ValueError(f"{path}: has no token {token}; needs {', '.join(SPECIAL)}")
    return words
