import functools
import io
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.find.experiment import make_method, run
from ai_econ_jax.agents.find.experiment_config import ExperimentConfig
from ai_econ_jax.agents.find.setting import make_setting
from ai_econ_jax.envs.diffusion import host_rewards
from ai_econ_jax.envs.diffusion.host_errors import plain_errors
from ai_econ_jax.envs.diffusion.host_rewards import HostReward, RewardError

PROMPT = host_rewards.encode_prompt("a grüner dog")
IMAGES = jax.random.uniform(jax.random.key(0), (6, 8, 8, 3), minval=-1, maxval=1)


@pytest.fixture
def module(monkeypatch):
    """A module of a user."""
    made = types.ModuleType("users_rewards")
    monkeypatch.setitem(sys.modules, "users_rewards", made)
    return made


@pytest.mark.parametrize(("name", "sign"), [("jpeg", -1), ("neg_jpeg", 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_the_size_of_the_file(name, sign, channels):
    images = IMAGES[..., :channels]
    rewards = jax.jit(host_rewards.make(name))(PROMPT, images)
    levels = np.round((np.asarray(images) + 1) * 127.5).astype(np.uint8)
    for reward, image in zip(rewards, levels, strict=True):
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, format="JPEG", quality=95)
        assert reward == pytest.approx(sign * len(file.getvalue()) / 1000)


def test_a_function_gets_bytes_and_prompts_of_all_seeds(module):
    seen = []

    def brightness(images, prompts):
        seen.append((images.shape, images.dtype, prompts))
        return images.mean((1, 2, 3), dtype=np.float64)

    module.brightness = brightness
    reward = host_rewards.make("users_rewards:brightness")
    other = host_rewards.encode_prompt("a cat")
    rewards = jax.jit(jax.vmap(reward))(jnp.stack([PROMPT, other]), IMAGES.reshape(2, 3, 8, 8, 3))
    shape, dtype, prompts = seen[0]
    assert shape == (6, 8, 8, 3) and dtype == np.uint8
    assert prompts == ["a grüner dog"] * 3 + ["a cat"] * 3
    expected = np.round((np.asarray(IMAGES) + 1) * 127.5).mean((1, 2, 3)).reshape(2, 3)
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)
    # Values beyond [-1, 1] are cut, not wrapped around.
    np.testing.assert_array_equal(reward(PROMPT, jnp.array([[[[9.0]]], [[[-9.0]]]])), [255, 0])


def _raises(images, prompts):
    raise KeyError("no such prompt")


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda i, p: np.zeros((2, 2)), r"returned shape \(2, 2\) for 6 images, must be \(6,\)"),
        (lambda i, p: 1.0, r"returned shape \(\) for 6 images"),
        (lambda i, p: np.arange(6), "returned numbers of type int64, must be floats"),
        (lambda i, p: np.array([0, 0, 0, np.nan, 0, np.inf]), "image 3 of 6 got nan, must be fin"),
        (lambda i, p: np.array([0, 0, 0, 0, 0, -1e39]), r"image 5 of 6 got -1e\+39, must be fin"),
        (_raises, "raised KeyError: 'no such prompt'"),
    ],
    ids=["matrix", "scalar", "integers", "nan", "overflow", "raises"],
)
def test_a_reward_that_is_no_number_for_each_image_is_one_line(score, message):
    with pytest.raises(RewardError, match=f"^reward mine: {message}"), plain_errors():
        jax.block_until_ready(jax.jit(HostReward("mine", score))(PROMPT, IMAGES))


def test_other_errors_of_the_runtime_stay_what_they_are():
    def fail(x):
        raise OSError("disk")

    def call(x):
        return jax.pure_callback(fail, jax.ShapeDtypeStruct((), jnp.float32), x)

    with pytest.raises(jax.errors.JaxRuntimeError, match="disk"), plain_errors():
        jax.block_until_ready(jax.jit(call)(1.0))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("png", "reward 'png': must be jpeg, neg_jpeg or module:function"),
        ("users_rewards:", "reward 'users_rewards:': must be jpeg"),
        ("no_such_module:f", "reward 'no_such_module:f': cannot import no_such_module: Module"),
        (".mine:f", "reward '.mine:f': cannot import .mine: TypeError: the 'package' argument is"),
        ("users_rewards:f", "reward 'users_rewards:f': users_rewards has no function f"),
    ],
)
def test_rewards_that_cannot_be_had_are_refused(name, message, module):
    with pytest.raises(RewardError, match=message):
        host_rewards.make(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:", "SyntaxError: invalid syntax"),
        ("f = g", "NameError: name 'g' is not defined"),
        ("raise OSError('two\\nlines')", "OSError: two lines$"),
    ],
    ids=["syntax", "name", "lines"],
)
def test_a_module_that_cannot_be_imported_is_one_line(text, message, tmp_path, monkeypatch):
    (tmp_path / "broken_rewards.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    expected = f"^reward 'broken_rewards:f': cannot import broken_rewards: {message}"
    with pytest.raises(RewardError, match=expected):
        host_rewards.make("broken_rewards:f")


def test_a_prompt_that_is_too_long_is_refused():
    with pytest.raises(RewardError, match=r"prompt of 1025 bytes: .* at most 1024"):
        host_rewards.encode_prompt("a" * 1025)
    assert host_rewards.decode_prompt(host_rewards.encode_prompt("a" * 1024)) == "a" * 1024


def config_of(reward, method="find", **changes):
    config = ExperimentConfig(model="gauss", reward=reward, method=method, steps=2, eval_images=8)
    return config_lib.replace_fields(config, changes)


def test_find_learns_from_a_function(module):
    module.first = lambda images, prompts: images[:, 0].astype(np.float32) / 255
    config = config_of("users_rewards:first", eval_images=200, num_seeds=2)
    setting = make_setting(config)
    outcome = run(config, setting)
    assert (outcome.after.rewards.mean(1) > outcome.before.rewards.mean(1) + 0.1).all()


def test_a_run_whose_reward_fails_says_which_image(module):
    calls = []

    def third_time(images, prompts):
        calls.append(len(images))
        rewards = np.zeros(len(images), np.float32)
        rewards[2] = np.nan if len(calls) == 3 else 0
        return rewards

    module.third_time = third_time
    config = config_of("users_rewards:third_time")
    with pytest.raises(RewardError, match=r"^reward users_rewards:third_time: image 2 of 16 got n"):
        run(config, make_setting(config))


def test_a_model_without_images_has_no_jpeg():
    config = config_of("jpeg")
    with pytest.raises(RewardError, match=r"needs images of 1 or 3 channels, .* shape \(64,\)"):
        run(config, make_setting(config))


def test_reno_refuses_a_reward_without_gradient():
    config = config_of("jpeg", method="reno")
    with pytest.raises(ValueError, match="reno follows the gradient of the reward, and jpeg has"):
        make_method(config, make_setting(config))


def test_equal_rewards_compile_once():
    assert host_rewards.make("jpeg") == host_rewards.make("jpeg")
    assert hash(host_rewards.make("jpeg")) == hash(host_rewards.make("jpeg"))
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def score(reward, prompt, images):
        traced.append(1)
        return reward(prompt, images)

    score(host_rewards.make("jpeg"), PROMPT, IMAGES)
    score(host_rewards.make("jpeg"), host_rewards.encode_prompt("other"), IMAGES)
    assert len(traced) == 1
