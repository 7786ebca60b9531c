import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_diffusion

from ai_econ_jax.envs.diffusion import pixel_model
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, NoiseEnvironment, Task
from ai_econ_jax.envs.diffusion.pixel_model import PixelModel
from ai_econ_jax.envs.diffusion.rewards import linear_reward
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig, ScheduleConfig

MODEL = PixelModel(
    tiny_diffusion.unet(4),
    ScheduleConfig(clip_sample=True),
)


@pytest.fixture(scope="module")
def weights():
    template = jax.eval_shape(MODEL.init, jax.random.key(0))
    generator = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * generator.standard_normal(leaf.shape), jnp.float32), template
    )


@pytest.fixture
def folder(weights, tmp_path):
    pixel_model.save_folder(tmp_path / "model", MODEL, weights, jnp.float16)
    return tmp_path / "model"


def test_a_folder_gives_the_model_back(folder, weights):
    model, loaded = pixel_model.load_folder(folder)
    assert model == MODEL
    for half, whole in zip(jax.tree.leaves(loaded), jax.tree.leaves(weights), strict=True):
        np.testing.assert_allclose(half, whole, atol=1e-3)
    assert (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").is_file()


def test_images_stay_in_range_and_need_no_prompt(weights):
    environment = NoiseEnvironment(MODEL, SamplerConfig(num_steps=2), linear_reward)
    params = DiffusionParams(weights, Task(MODEL.null_condition(weights), jnp.ones((4, 4, 1))))
    z = 3 * jax.random.normal(jax.random.key(0), (5, 4, 4, 1))
    images, rewards = jax.jit(environment.play)(jax.random.split(jax.random.key(1), 5), z, params)
    assert images.shape == (5, 4, 4, 1) and np.abs(images).max() <= 1
    np.testing.assert_allclose(rewards, images.sum((1, 2, 3)), rtol=1e-4, atol=1e-5)
    assert MODEL.feature(params.task.condition).size == 0


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def damage(folder, what):
    if what == "index":
        (folder / "model_index.json").unlink()
    elif what == "scheduler":
        (folder / "scheduler" / "scheduler_config.json").unlink()
    elif what == "weights":
        next((folder / "unet").glob("*.safetensors")).unlink()
    elif what == "block":
        change(folder / "unet" / "config.json", down_block_types=["AttnDownBlock2D"])
    elif what == "prediction":
        change(folder / "scheduler" / "scheduler_config.json", prediction_type="score")
    elif what == "prompts":
        change(folder / "unet" / "config.json", mid_block_type="UNetMidBlock2DCrossAttn")
    elif what == "width":
        change(folder / "unet" / "config.json", block_out_channels=[16])
    else:
        (folder / "unet" / "config.json").write_text("no json")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("index", "has no model_index.json, so it is no diffusers model"),
        ("scheduler", "scheduler_config.json: is missing"),
        ("weights", "has no diffusion_pytorch_model.safetensors, nor the .fp16 one"),
        ("block", "config.json: field down_block_types = 'AttnDownBlock2D': must be one of Cross"),
        ("prediction", "field prediction_type = 'score': must be one of epsilon, v_prediction"),
        ("prompts", "is a model with prompts or latents, which this cannot load"),
        ("width", r"tensor conv_in.bias has shape \(8,\), expected \(16,\)"),
        ("json", "config.json: is no JSON object"),
    ],
)
def test_a_broken_folder_is_named(folder, what, message):
    damage(folder, what)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pixel_model.load_folder(folder)


def test_models_are_hashable_so_that_equal_ones_compile_once():
    assert hash(MODEL) == hash(dataclasses.replace(MODEL))
