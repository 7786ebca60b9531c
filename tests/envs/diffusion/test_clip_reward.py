import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scenes

from ai_econ_jax.envs.diffusion import clip_prompts, clip_reward, folders
from ai_econ_jax.envs.diffusion.prompts import Tokenizer

SHAPE = (16, 16, 3)
embed_images = jax.jit(clip_reward.embed_images)
embed_captions = jax.jit(clip_reward.embed_captions)
make_target = jax.jit(clip_reward.make_target)
clip = jax.jit(clip_reward.clip_reward)
loss_of = jax.jit(clip_reward.contrastive_loss)
PROMPTS = np.stack([Tokenizer().encode(f"a {name}") for name in ("dog", "cat", "dog")])


@pytest.fixture(scope="module")
def towers():
    template = jax.eval_shape(
        lambda key: clip_reward.init(key, SHAPE, Tokenizer()), jax.random.key(0)
    )
    return tiny_scenes.random_like(template)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (3, *SHAPE)), jnp.float32)


def test_the_reward_is_in_deviations_of_the_model_s_own_images(towers, images):
    target = make_target(towers, jnp.asarray(PROMPTS[0]), images)
    rewards = clip(target, images)
    assert rewards.shape == (3,)
    np.testing.assert_allclose(rewards.mean(), 0, atol=1e-3)
    np.testing.assert_allclose(rewards.std(), 1, rtol=1e-3)
    left = np.asarray(embed_images(towers["image"], images))
    right = np.asarray(embed_captions(towers["text"], PROMPTS[:1]))[0]
    np.testing.assert_allclose(np.linalg.norm(left, axis=1), 1, rtol=1e-5)
    values = 100 * left @ right
    np.testing.assert_allclose(rewards, (values - values.mean()) / values.std(), atol=1e-2)


def test_equal_images_give_a_reward_that_is_finite(towers, images):
    same = jnp.repeat(images[:1], 4, axis=0)
    target = make_target(towers, jnp.asarray(PROMPTS[0]), same)
    assert np.isfinite(clip(target, images)).all()


def test_the_loss_is_cross_entropy_and_equal_captions_are_all_right(towers, images):
    left = np.asarray(embed_images(towers["image"], images), np.float64)
    right = np.asarray(embed_captions(towers["text"], PROMPTS), np.float64)
    scale = np.exp(min(float(towers["log_scale"]["bias"][0]), np.log(100)))
    logits = scale * left @ right.T
    wanted = np.array([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])

    def cross_entropy(logits):
        shifted = logits - logits.max(1, keepdims=True)
        log_prob = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        return -(wanted * log_prob).sum(1).mean()

    expected = (cross_entropy(logits) + cross_entropy(logits.T)) / 2
    loss = loss_of(towers, images, jnp.asarray(PROMPTS))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_the_scale_is_clipped_at_a_hundred(towers, images):
    captions = jnp.asarray(PROMPTS)

    def loss(log_scale):
        changed = towers | {"log_scale": {"bias": jnp.full(1, log_scale)}}
        return loss_of(changed, images, captions)

    assert loss(np.log(100.0)) == loss(9.0) != loss(1.0)


def test_the_towers_survive_their_file(towers, tmp_path):
    folders.save_network(tmp_path / "reward", towers)
    loaded = clip_reward.load(tmp_path / "reward", SHAPE, Tokenizer())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), loaded, towers)


def test_the_reward_of_a_clip_reads_its_frames_in_their_order():
    shape = (4, 16, 16, 3)
    init = functools.partial(clip_reward.init, image_shape=shape, tokenizer=clip_prompts.TOKENIZER)
    towers = tiny_scenes.random_like(jax.eval_shape(init, jax.random.key(0)))
    clips = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (2, *shape)), jnp.float32)
    vectors = embed_images(towers["image"], clips)
    assert vectors.shape == (2, 128)
    assert np.abs(vectors - embed_images(towers["image"], clips[:, ::-1])).max() > 1e-3
    tokens = jnp.asarray(clip_prompts.TOKENIZER.encode("a dog moving up"))
    assert embed_captions(towers["text"], tokens[None]).shape == (1, 128)
