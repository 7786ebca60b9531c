import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scenes

from ai_econ_jax.envs.diffusion import prompt_model
from ai_econ_jax.envs.diffusion.noise_mdp import (
    DiffusionParams,
    NoiseEnvironment,
    Task,
    denoiser,
)
from ai_econ_jax.envs.diffusion.prompts import SPECIAL, PromptError
from ai_econ_jax.envs.diffusion.rewards import linear_reward
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig

MODEL = tiny_scenes.MODEL


@pytest.fixture(scope="module")
def weights():
    return tiny_scenes.random_like(jax.eval_shape(MODEL.init, jax.random.key(0)))


@pytest.fixture
def folder(weights, tmp_path):
    prompt_model.save_folder(tmp_path / "model", MODEL, weights, jnp.float16)
    return tmp_path / "model"


def test_a_folder_gives_the_model_back(folder, weights):
    model, loaded = prompt_model.load_folder(folder)
    assert model == MODEL and hash(model) == hash(MODEL)
    assert jax.tree.structure(loaded) == jax.tree.structure(weights)
    for half, whole in zip(jax.tree.leaves(loaded), jax.tree.leaves(weights), strict=True):
        np.testing.assert_allclose(half, whole, atol=2e-3)
    assert (folder / "text_encoder" / "model.fp16.safetensors").is_file()
    assert json.loads((folder / "tokenizer" / "vocab.json").read_text())["<pad>"] == 0


def test_the_prompt_decides_what_is_drawn_and_guidance_doubles_its_pull(weights):
    z = jax.random.normal(jax.random.key(0), (2, *MODEL.latent_shape))
    at = jnp.full(2, 500, jnp.int32)
    prompts = ("a dog on the grass", "a cat on the grass")
    tokens = jnp.stack([MODEL.tokenizer.encode(prompt) for prompt in prompts])
    dog, cat = jax.jit(MODEL.encode)(weights, tokens)
    np.testing.assert_allclose(dog, MODEL.condition(weights, prompts[0]), atol=1e-6)
    null = MODEL.null_condition(weights)
    assert dog.shape == null.shape == (12, 8) and MODEL.feature(dog).shape == (8,)

    @jax.jit
    def output(condition):
        return MODEL.denoise(weights, jnp.broadcast_to(condition, (2, 12, 8)), z, at)

    assert np.abs(output(dog) - output(cat)).max() > 1e-3
    assert np.abs(output(dog) - output(null)).max() > 1e-3
    task = Task(dog, jnp.ones(MODEL.latent_shape))
    guided = denoiser(MODEL, SamplerConfig(guidance_scale=2.0), DiffusionParams(weights, task))
    expected = output(null) + 2 * (output(dog) - output(null))
    np.testing.assert_allclose(jax.jit(guided)(z, at), expected, atol=1e-4)


def test_images_stay_in_range(weights):
    task = Task(MODEL.condition(weights, "a dog"), jnp.ones(MODEL.latent_shape))
    environment = NoiseEnvironment(
        MODEL, SamplerConfig(num_steps=2, guidance_scale=3.0), linear_reward
    )
    z = 3 * jax.random.normal(jax.random.key(0), (2, *MODEL.latent_shape))
    keys = jax.random.split(jax.random.key(1), 2)
    images, _ = jax.jit(environment.play)(keys, z, DiffusionParams(weights, task))
    assert images.shape == (2, 16, 16, 3) and np.abs(images).max() <= 1


def test_a_prompt_that_it_does_not_know_is_refused(weights):
    with pytest.raises(PromptError, match="unknown word 'unicorn'"):
        MODEL.condition(weights, "a unicorn")


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def damage(folder, what):
    vocabulary = folder / "tokenizer" / "vocab.json"
    if what == "index":
        (folder / "model_index.json").unlink()
    elif what == "width":
        change(folder / "unet" / "config.json", cross_attention_dim=12)
    elif what == "words":
        change(vocabulary, dog=99)
    elif what in SPECIAL:
        vocabulary.write_text(vocabulary.read_text().replace(what, "other"))
    elif what == "class":
        change(folder / "unet" / "config.json", _class_name="UNet1DModel")
    elif what == "channels":
        change(folder / "unet" / "config.json", in_channels=9)
    elif what == "vocabulary":
        vocabulary.unlink()
    elif what == "json":
        vocabulary.write_text("[1, 2]")
    elif what == "text":
        (folder / "text_encoder" / "model.fp16.safetensors").unlink()
    else:
        plain = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
        change(folder / "unet" / "config.json", mid_block_type="UNetMidBlock2D", **plain)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("index", "has no model_index.json, so it is no diffusers model"),
        ("width", "attends to states of width 12, the text encoder's have 8"),
        ("words", "vocab.json: must number its words 0 to 45, the encoder's"),
        ("vocabulary", "vocab.json: is missing"),
        ("json", "vocab.json: is no JSON object of numbers"),
        ("text", "has no model.safetensors, nor the .fp16 one"),
        ("plain", "its U-Net does not attend to prompts"),
        ("class", "_class_name is 'UNet1DModel', must be one of UNet2DConditionModel, UNet3DCond"),
        ("channels", "its U-Net takes 9 channels and gives 3, must give as many"),
        *((token, f"vocab.json: has no token {token}; needs <pad>, <bos>") for token in SPECIAL),
    ],
)
def test_a_broken_folder_is_named(folder, what, message):
    damage(folder, what)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prompt_model.load_folder(folder)


def test_a_model_of_clips_survives_its_folder(tmp_path):
    clips = tiny_scenes.CLIP_MODEL
    kept = tiny_scenes.random_like(jax.eval_shape(clips.init, jax.random.key(0)))
    prompt_model.save_folder(tmp_path, clips, kept, jnp.float32)
    model, loaded = prompt_model.load_folder(tmp_path)
    assert model == clips and model.latent_shape == (8, 16, 16, 3)
    jax.tree.map(np.testing.assert_array_equal, loaded, kept)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet3DConditionModel"]


def test_equal_models_compile_once(folder):
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def encode(model, weights, tokens):
        traced.append(1)
        return model.encode(weights, tokens)

    for _ in range(2):
        model, weights = prompt_model.load_folder(folder)
        encode(model, weights, jnp.asarray(model.tokenizer.null)[None])
    assert len(traced) == 1
