import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scenes

from ai_econ_jax.envs.diffusion.inflate import inflate
from ai_econ_jax.envs.diffusion.worlds import CLIPS, SCENES

MODEL, CLIP_MODEL = tiny_scenes.START_MODEL, tiny_scenes.CLIP_MODEL


def random(model):
    return tiny_scenes.random_like(jax.eval_shape(model.init, jax.random.key(0)))


def test_a_new_model_of_clips_draws_each_frame_as_the_model_of_images_does():
    learned = random(MODEL)
    fresh = jax.jit(CLIP_MODEL.init)(jax.random.key(0))
    weights = inflate(CLIP_MODEL, fresh, MODEL, learned)
    assert jax.tree.map(jnp.shape, weights) == jax.tree.map(jnp.shape, fresh)
    x = jax.random.normal(jax.random.key(1), (2, *CLIP_MODEL.latent_shape))
    states = jax.random.normal(jax.random.key(2), (2, 12, 8))
    at = jnp.array([981, 1])
    clip = jax.jit(CLIP_MODEL.denoise)(weights, states, x, at)
    image = jax.jit(MODEL.denoise)
    for frame in (0, 5):
        expected = image(learned, states, x[:, frame], at)
        np.testing.assert_allclose(clip[:, frame], expected, atol=1e-4 * np.abs(expected).max())


def test_words_that_both_know_keep_their_embeddings():
    learned = random(MODEL)
    fresh = jax.jit(CLIP_MODEL.init)(jax.random.key(0))
    weights = inflate(CLIP_MODEL, fresh, MODEL, learned)
    before, old, new = (
        each["text_encoder"]["embeddings"]["token_embedding"]["embedding"]
        for each in (fresh, learned, weights)
    )
    for word in ("<null>", "dog", "moon"):
        mine, theirs = CLIPS.tokenizer.words.index(word), SCENES.tokenizer.words.index(word)
        np.testing.assert_array_equal(new[mine], old[theirs])
    moving = CLIPS.tokenizer.words.index("moving")
    np.testing.assert_array_equal(new[moving], before[moving])
    places = weights["text_encoder"]["embeddings"]["position_embedding"]["embedding"]
    theirs = learned["text_encoder"]["embeddings"]["position_embedding"]["embedding"]
    assert places.shape == (13, 8)
    np.testing.assert_array_equal(places[:12], theirs)


@pytest.mark.parametrize("model", [MODEL, CLIP_MODEL], ids=["scenes", "clips"])
def test_a_model_of_the_same_kind_goes_on_with_all_of_its_weights(model):
    learned = random(model)
    weights = inflate(model, jax.jit(model.init)(jax.random.key(0)), model, learned)
    jax.tree.map(np.testing.assert_array_equal, weights, learned)


def test_what_the_model_of_images_lacks_is_named():
    more = dataclasses.replace(CLIP_MODEL.unet, layers_per_block=2)
    clips = dataclasses.replace(CLIP_MODEL, unet=more)
    message = "^model to start from: has no unet/.*, which the new one needs$"
    with pytest.raises(ValueError, match=message):
        inflate(clips, random(clips), MODEL, random(MODEL))


def test_a_model_of_another_schedule_is_refused():
    schedule = dataclasses.replace(MODEL.schedule, beta_end=0.03)
    other = dataclasses.replace(MODEL, schedule=schedule)
    message = r"^model to start from: has schedule .*0\.03.*, the new one needs "
    with pytest.raises(ValueError, match=message):
        inflate(CLIP_MODEL, random(CLIP_MODEL), other, random(MODEL))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers_per_block": 2}, "has unet/down_blocks_0/.*, which the new one has not"),
        ({"in_channels": 4}, r"its unet/conv_in/kernel has shape .3, 3, 4, 8., the new one"),
    ],
    ids=["layers", "channels"],
)
def test_a_model_of_other_layers_is_refused(changes, message):
    other = dataclasses.replace(MODEL, unet=dataclasses.replace(MODEL.unet, **changes))
    with pytest.raises(ValueError, match=f"^model to start from: {message}"):
        inflate(CLIP_MODEL, random(CLIP_MODEL), other, random(other))
