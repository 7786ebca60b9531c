import dataclasses
import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import config as config_lib
from ai_econ_jax.envs.diffusion import weights as weights_lib
from ai_econ_jax.envs.diffusion.unet import UNet, UNetConfig, timestep_embedding

PLAIN = UNetConfig(
    sample_size=8,
    in_channels=1,
    out_channels=1,
    down_block_types=("DownBlock2D", "DownBlock2D"),
    mid_block_type="UNetMidBlock2D",
    up_block_types=("UpBlock2D", "UpBlock2D"),
    block_out_channels=(8, 16),
    layers_per_block=1,
    attention_head_dim=4,
    cross_attention_dim=8,
    norm_num_groups=4,
)
ATTENDING = dataclasses.replace(
    PLAIN,
    in_channels=3,
    out_channels=3,
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    mid_block_type="UNetMidBlock2DCrossAttn",
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    block_out_channels=(8, 16, 16),
    layers_per_block=2,
)


def shapes(config):
    side = config.sample_size
    inputs = (
        jnp.zeros((1, side, side, config.in_channels)),
        jnp.zeros(1, jnp.int32),
        jnp.zeros((1, 5, config.cross_attention_dim)),
    )
    return jax.eval_shape(UNet(config).init, jax.random.key(0), *inputs)["params"]


def random_params(config):
    """Everything perturbed, so that layers which begin at zero or one matter too."""
    generator = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: (
            generator.standard_normal(leaf.shape) / max(1, np.prod(leaf.shape[:-1])) ** 0.5
        ).astype(np.float32),
        shapes(config),
    )


def count(config):
    leaves = jax.tree.leaves(shapes(config))
    return len(leaves), sum(int(np.prod(leaf.shape)) for leaf in leaves)


def test_stable_diffusion_has_its_tensors_and_parameters():
    assert count(UNetConfig()) == (686, 859_520_964)


@pytest.mark.parametrize("config", [PLAIN, ATTENDING], ids=["plain", "attending"])
def test_the_network_is_diffusers(config):
    # Bar 8 for the U-Net: relative error at most 2e-5.
    torch = pytest.importorskip("torch", reason="extra torch is not installed")
    from diffusers import UNet2DConditionModel

    official = UNet2DConditionModel(**dataclasses.asdict(config)).eval()
    params = random_params(config)
    tensors = {
        n: torch.from_numpy(np.array(t)) for n, t in weights_lib.to_diffusers(params).items()
    }
    official.load_state_dict(tensors, strict=True)

    generator = np.random.default_rng(1)
    x = generator.standard_normal((2, 8, 8, config.in_channels)).astype(np.float32)
    context = generator.standard_normal((2, 5, config.cross_attention_dim)).astype(np.float32)
    timestep = np.array([981, 1])
    with torch.no_grad():
        theirs = official(
            torch.from_numpy(x.transpose(0, 3, 1, 2)),
            torch.from_numpy(timestep),
            torch.from_numpy(context),
        ).sample.numpy()
    with jax.default_matmul_precision("highest"):
        ours = UNet(config).apply({"params": params}, x, timestep, context)
    error = np.abs(np.asarray(ours).transpose(0, 3, 1, 2) - theirs).max()
    assert error <= 2e-5 * np.abs(theirs).max()


def test_timesteps_are_cosines_then_sines():
    embedding = timestep_embedding(jnp.array([3]), 4)[0]
    expected = [np.cos(3), np.cos(0.03), np.sin(3), np.sin(0.03)]
    np.testing.assert_allclose(embedding, expected, rtol=1e-5)


def test_weights_survive_the_file(tmp_path):
    params = random_params(PLAIN)
    path = tmp_path / "unet.safetensors"
    tensors = weights_lib.to_diffusers(params)
    assert tensors["down_blocks.0.resnets.0.conv1.weight"].shape == (8, 8, 3, 3)
    weights_lib.write_safetensors(path, tensors, {"model": "test"})
    read, metadata = weights_lib.read_safetensors(path)
    assert metadata == {"model": "test"}
    shuffled = dict(reversed(read.items()))
    loaded = weights_lib.from_diffusers(shuffled, shapes(PLAIN), "unet.safetensors")
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_half_precision_files_become_float32(tmp_path):
    params = random_params(PLAIN)
    halves = {n: t.astype(np.float16) for n, t in weights_lib.to_diffusers(params).items()}
    weights_lib.write_safetensors(tmp_path / "half.safetensors", halves)
    read, _ = weights_lib.read_safetensors(tmp_path / "half.safetensors")
    loaded = weights_lib.from_diffusers(read, shapes(PLAIN), "half")
    for half, whole in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert half.dtype == jnp.float32
        np.testing.assert_allclose(half, whole, atol=2e-3)


def test_files_are_those_of_the_safetensors_package(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="extra torch is not installed")
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(3, np.float16)}
    weights_lib.write_safetensors(tmp_path / "ours.safetensors", arrays)
    theirs = safetensors.load_file(tmp_path / "ours.safetensors")
    safetensors.save_file(arrays, tmp_path / "theirs.safetensors")
    ours, _ = weights_lib.read_safetensors(tmp_path / "theirs.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(theirs[name], array)
        np.testing.assert_array_equal(ours[name], array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("conv_in.bias"), "unet: lacks tensor conv_in.bias .1 missing, 0 unexp"),
        (lambda t: t.update(extra=np.ones(1)), "unet: has unexpected extra .0 missing, 1 unexp"),
        (
            lambda t: t.update({"conv_in.weight": np.ones((8, 1, 3, 1))}),
            r"conv_in.weight has shape \(8, 1, 3, 1\), expected \(8, 1, 3, 3\)",
        ),
        (
            lambda t: t.update({"conv_in.bias": np.full(8, np.nan)}),
            "tensor conv_in.bias holds numbers that are not finite",
        ),
    ],
    ids=["missing", "unexpected", "shape", "nan"],
)
def test_tensors_that_do_not_fit_are_named(change, message):
    tensors = weights_lib.to_diffusers(random_params(PLAIN))
    change(tensors)
    with pytest.raises(weights_lib.WeightsError, match=message):
        weights_lib.from_diffusers(tensors, shapes(PLAIN), "unet")


def file_with(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK", "is no whole safetensors file"),
        (file_with({}, length=10**9), "is no whole safetensors file"),
        (file_with(b"not json"), "is no whole safetensors file"),
        (file_with({"a": {"dtype": "F8", "shape": [1], "data_offsets": [0, 1]}}, b"x"), "F8"),
        (
            file_with({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
            r"place 0 to 4 does not fit shape \(2,\)",
        ),
        (file_with({}, b"1234"), "holds 4 bytes of numbers, its header says 0"),
    ],
    ids=["short", "length", "json", "type", "place", "rest"],
)
def test_damaged_files_are_refused(tmp_path, data, message):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(weights_lib.WeightsError, match=message):
        weights_lib.read_safetensors(path)


def test_pickles_are_refused_unread(tmp_path):
    with pytest.raises(weights_lib.WeightsError, match=r"model.bin: may run code .* refused"):
        weights_lib.read_safetensors(tmp_path / "model.bin")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_size": 7}, "field sample_size = 7: must be divisible by 2, for 2 levels"),
        ({"norm_num_groups": 3}, "field norm_num_groups = 3: must divide the width 8"),
        ({"mid_block_type": "None"}, "field mid_block_type = 'None': must be one of UNetMid"),
        (
            {"down_block_types": ("AttnDownBlock2D", "DownBlock2D")},
            "field down_block_types = 'AttnDownBlock2D': must be one of CrossAttnDown",
        ),
        ({"up_block_types": ("UpBlock2D",)}, "must have 2 items, one per level"),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        config_lib.validate(dataclasses.replace(PLAIN, **changes))


def test_stable_diffusion_s_config_is_valid_and_conditional():
    assert config_lib.validate(UNetConfig()).is_conditional
    assert not PLAIN.is_conditional
