import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_diffusion

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.diffusion import training
from ai_econ_jax.agents.diffusion.config import PRESETS, RECIPES, TrainConfig, draw_images
from ai_econ_jax.agents.diffusion.denoiser import DenoiserTraining, denoising_loss
from ai_econ_jax.envs.diffusion.image_data import DIGITS, ImageData
from ai_econ_jax.envs.diffusion.pixel_model import PixelModel
from ai_econ_jax.envs.diffusion.sampler import predict
from ai_econ_jax.envs.diffusion.schedule import (
    SamplerConfig,
    ScheduleConfig,
    alphas_cumprod,
    make_steps,
)

UNET = tiny_diffusion.unet(4)


class Echo(PixelModel):
    """A network that puts out its weights."""

    def denoise(self, weights, condition, x, timestep):
        return weights


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_best_prediction_is_what_the_sampler_takes_it_for(kind):
    model = Echo(UNET, ScheduleConfig(prediction_type=kind))
    x0, noise = np.random.default_rng(0).standard_normal((2, 3, 4, 4, 1)).astype(np.float32)
    timestep = jnp.array([0, 500, 999])
    found, captions = jnp.zeros_like(x0), jnp.zeros((3, 0), jnp.int32)

    def loss(output):
        return denoising_loss(model, output, x0, captions, timestep, noise)

    # The loss is a square, so its minimum is one step of its gradient away.
    gradient = jax.grad(loss)(found)
    best = -gradient * x0.size / 2
    assert loss(best) < 1e-9
    alpha_bar = jnp.asarray(alphas_cumprod(model.schedule), jnp.float32)[timestep]
    alpha_bar = alpha_bar[:, None, None, None]
    noisy = jnp.sqrt(alpha_bar) * x0 + jnp.sqrt(1 - alpha_bar) * noise
    image, rest = predict(model.schedule, best, noisy, alpha_bar)
    np.testing.assert_allclose(image, x0, atol=2e-3)
    np.testing.assert_allclose(rest, noise, atol=2e-3)


class Scale(PixelModel):
    """A network of one number, by which its input is multiplied."""

    def init(self, key):
        return {"scale": jnp.zeros(())}

    def denoise(self, weights, condition, x, timestep):
        return weights["scale"] * x


def test_the_loss_of_clips_is_the_mean_over_their_frames():
    # As many clips as frames, so that numbers of clips would fit frames, too.
    model = Scale(UNET, ScheduleConfig(prediction_type="v_prediction"))
    x0, noise = np.random.default_rng(0).standard_normal((2, 3, 3, 4, 4, 1)).astype(np.float32)
    timestep, weights = jnp.array([1, 400, 999]), {"scale": jnp.float32(0.7)}
    captions = jnp.zeros((3, 0), jnp.int32)
    frames = [
        denoising_loss(model, weights, x0[:, f], captions, timestep, noise[:, f]) for f in range(3)
    ]
    loss = denoising_loss(model, weights, x0, captions, timestep, noise)
    assert float(loss) == pytest.approx(np.mean(frames), rel=1e-5)


def test_training_lowers_the_loss_and_keeps_an_average():
    # Of black images nothing is left but noise, E = scale * level * noise: the best scale is the
    # mean of the noise's level over that of its square.
    config = TrainConfig(steps=300, batch_size=64, learning_rate=0.03, ema_decay=0.9)
    model = Scale(UNET, ScheduleConfig())
    learner = DenoiserTraining(model, draw_images, config)
    images = jnp.zeros((4, 4, 4, 1))
    after, metrics = jax.jit(lambda s: jax.lax.scan(lambda s, _: learner(s, images), s, None, 300))(
        learner.init(jax.random.key(0))
    )
    level = np.sqrt(1 - alphas_cumprod(model.schedule))
    best = level.mean() / np.square(level).mean()
    assert float(after.weights["scale"]) == pytest.approx(best, abs=0.03)
    assert metrics["loss"][0] > 0.9 and metrics["loss"][-20:].mean() < 0.15
    assert float(after.average["scale"]) == pytest.approx(best, abs=0.03)
    assert after.average["scale"] != after.weights["scale"]
    assert learner == DenoiserTraining(Scale(UNET, ScheduleConfig()), draw_images, config)


@pytest.mark.slow
def test_a_classifier_learns_to_tell_images_apart():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = 0.3 * generator.standard_normal((60, 4, 4, 1)).astype(np.float32)
    images[np.arange(60), labels] += 1
    data = ImageData(images, labels, ("a", "b", "c"))
    params = training.train_classifier(jax.random.key(0), data, 60)
    assert training.accuracy(params, [data]) > 0.95


def test_shares_are_of_the_classes_that_a_classifier_names(monkeypatch):
    probabilities = np.array([[0.7, 0.2, 0.1], [0.9, 0.1, 0.0], [0.0, 0.5, 0.5], [0.2, 0.3, 0.5]])
    monkeypatch.setattr(training.classifier, "log_probs", lambda params, images: np.log(images))
    with np.errstate(divide="ignore"):
        named, confidence = training.shares(None, probabilities)
    assert named == [0.5, 0.25, 0.25]
    assert confidence == pytest.approx((0.7 + 0.9 + 0.5 + 0.5) / 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "imagenet"}, "field model = 'imagenet': must be one of digits8"),
        ({"log_every": 7}, "field log_every = 7: must divide steps_per_segment, 200"),
        ({"ema_decay": 1.0}, r"field ema_decay = 1.0: must be in \[0.0, 1.0\)"),
        ({"start_from": "x"}, "field start_from = 'x': must not be set: digits8 is no model with"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        config_lib.validate(dataclasses.replace(TrainConfig(), **changes))


def test_a_recipe_of_digits_has_the_size_that_its_data_have():
    for side, load in DIGITS.items():
        (recipe,) = (recipe for recipe in RECIPES.values() if recipe.load is load)
        assert recipe.model.latent_shape == (side, side, 1)


@pytest.mark.parametrize("name", ["digits8", "mnist28"])
def test_samples_start_where_even_black_images_are_noise(name):
    # In units of the deviation of the noise, along the mean over pixels, where they differ most.
    model = RECIPES[name].model
    signal = np.sqrt(make_steps(model.schedule, SamplerConfig(num_steps=20)).alpha_bar[0])
    assert signal * np.sqrt(np.prod(model.latent_shape)) < 1


def test_presets_and_recipes_are_valid():
    for name, preset in PRESETS.items():
        config_lib.validate(preset)
        assert preset.model == name or name == "smoke"
    for recipe in RECIPES.values():
        config_lib.validate(recipe.model.unet)
        config_lib.validate(recipe.model.schedule)
