import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import config as config_lib
from ai_econ_jax.envs.diffusion import text_encoder
from ai_econ_jax.envs.diffusion.text_encoder import TextConfig, TextEncoder
from ai_econ_jax.envs.diffusion.weights import WeightsError

TINY = TextConfig(
    vocab_size=11,
    hidden_size=8,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=6,
)
TOKENS = np.array([[1, 5, 7, 3, 10, 0], [1, 10, 0, 0, 0, 0]], np.int32)


def shapes(config):
    return jax.eval_shape(lambda key: text_encoder.init(key, config), jax.random.key(0))


def random_params(config):
    """Everything perturbed, so that norms that begin at one matter too."""
    generator = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: (0.4 * generator.standard_normal(leaf.shape)).astype(np.float32),
        shapes(config),
    )


def states(params, tokens=TOKENS, config=TINY):
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(TextEncoder(config).apply)({"params": params}, tokens))


def test_stable_diffusion_has_its_tensors_and_parameters():
    leaves = jax.tree.leaves(shapes(TextConfig()))
    count = sum(int(np.prod(leaf.shape)) for leaf in leaves)
    assert (len(leaves), count) == (196, 123_060_480)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_network_is_transformers(activation):
    # Bar 8 for the text encoder: relative error at most 2e-5.
    torch = pytest.importorskip("torch", reason="extra torch is not installed")
    transformers = pytest.importorskip("transformers", reason="extra torch is not installed")
    config = dataclasses.replace(TINY, hidden_act=activation)
    official = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            **dataclasses.asdict(config), bos_token_id=1, eos_token_id=10, pad_token_id=0
        )
    ).eval()
    params = random_params(config)
    tensors = {n: torch.from_numpy(np.array(t)) for n, t in text_encoder.to_file(params).items()}
    expected = official.state_dict()
    if not any(name.startswith("text_model.") for name in expected):
        tensors = {name.removeprefix("text_model."): t for name, t in tensors.items()}
    missing, unexpected = official.load_state_dict(tensors, strict=False)
    assert not unexpected and all("position_ids" in name for name in missing)
    with torch.no_grad():
        theirs = official(torch.from_numpy(TOKENS).long()).last_hidden_state.numpy()
    error = np.abs(states(params, config=config) - theirs).max()
    assert error <= 2e-5 * np.abs(theirs).max()


def test_a_token_sees_itself_and_those_before_it():
    params = random_params(TINY)
    changed = TOKENS.copy()
    changed[:, 3] = 9
    before, after = states(params), states(params, changed)
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (np.abs(before - after)[:, 3:].max(-1) > 1e-3).all()


def test_quick_gelu_is_its_formula():
    x = jnp.array([-2.0, 0.0, 0.5])
    expected = [v / (1 + np.exp(-1.702 * v)) for v in (-2.0, 0.0, 0.5)]
    np.testing.assert_allclose(text_encoder.quick_gelu(x), expected, rtol=1e-6)


@pytest.mark.parametrize("prefix", ["text_model.", ""])
def test_files_may_name_the_model_or_not(prefix):
    params = random_params(TINY)
    tensors = {
        prefix + name.removeprefix("text_model."): value
        for name, value in text_encoder.to_file(params).items()
    }
    tensors[f"{prefix}embeddings.position_ids"] = np.arange(6)[None]
    assert f"{prefix}encoder.layers.1.self_attn.q_proj.weight" in tensors
    loaded = text_encoder.from_file(tensors, TINY, "text")
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_a_missing_tensor_is_named():
    tensors = text_encoder.to_file(random_params(TINY))
    del tensors["text_model.final_layer_norm.bias"]
    with pytest.raises(WeightsError, match=r"text: lacks tensor final_layer_norm.bias"):
        text_encoder.from_file(tensors, TINY, "text")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 3}, "field num_attention_heads = 3: must divide hidden_size, 8"),
        ({"hidden_act": "relu"}, "field hidden_act = 'relu': must be one of quick_gelu, gelu"),
        ({"num_hidden_layers": 0}, "field num_hidden_layers = 0: must be"),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        config_lib.validate(dataclasses.replace(TINY, **changes))
