import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scenes

from ai_econ_jax import config as config_lib
from ai_econ_jax.envs.diffusion import weights as weights_lib
from ai_econ_jax.envs.diffusion.unet import UNet, UNetConfig
from ai_econ_jax.envs.diffusion.unet3d import UNet3D, UNet3DConfig, make_network

TINY = UNet3DConfig(
    sample_size=8,
    in_channels=3,
    out_channels=3,
    down_block_types=("DownBlock3D", "CrossAttnDownBlock3D"),
    up_block_types=("CrossAttnUpBlock3D", "UpBlock3D"),
    block_out_channels=(8, 16),
    layers_per_block=1,
    attention_head_dim=4,
    cross_attention_dim=6,
    norm_num_groups=4,
    num_frames=3,
)


def shapes(config):
    inputs = (
        jnp.zeros((1, *config.input_shape)),
        jnp.zeros(1, jnp.int32),
        jnp.zeros((1, 5, config.cross_attention_dim)),
    )
    return jax.eval_shape(make_network(config).init, jax.random.key(0), *inputs)["params"]


def inputs_of(config):
    generator = np.random.default_rng(1)
    x = generator.standard_normal((2, *config.input_shape)).astype(np.float32)
    context = generator.standard_normal((2, 5, config.cross_attention_dim)).astype(np.float32)
    return x, np.array([981, 1]), context


def test_modelscope_has_its_tensors_and_parameters():
    leaves = jax.tree.leaves(shapes(UNet3DConfig()))
    assert (len(leaves), sum(int(np.prod(leaf.shape)) for leaf in leaves)) == (1480, 1_411_233_860)


def test_the_network_is_diffusers():
    # Bar 8 for the network of clips: relative error at most 2e-5.
    torch = pytest.importorskip("torch", reason="extra torch is not installed")
    from diffusers import UNet3DConditionModel

    fields = dataclasses.asdict(TINY)
    del fields["num_frames"]
    official = UNet3DConditionModel(**fields).eval()
    params = tiny_scenes.random_like(shapes(TINY))
    tensors = {
        n: torch.from_numpy(np.array(t)) for n, t in weights_lib.to_diffusers(params).items()
    }
    official.load_state_dict(tensors, strict=True)
    x, timestep, context = inputs_of(TINY)
    with torch.no_grad():
        theirs = official(
            torch.from_numpy(x.transpose(0, 4, 1, 2, 3)),
            torch.from_numpy(timestep),
            torch.from_numpy(context),
        ).sample.numpy()
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(UNet3D(TINY).apply)({"params": params}, x, timestep, context)
    error = np.abs(np.asarray(ours).transpose(0, 4, 1, 2, 3) - theirs).max()
    assert error <= 2e-5 * np.abs(theirs).max()


def test_names_are_diffusers_and_the_file_gives_everything_back():
    params = tiny_scenes.random_like(shapes(TINY))
    tensors = weights_lib.to_diffusers(params)
    convolution = "down_blocks.1.temp_convs.0.conv1.2.weight"
    assert tensors[convolution].shape == (16, 16, 3, 1, 1)
    assert tensors["transformer_in.proj_in.weight"].shape == (32, 8)
    assert "mid_block.temp_attentions.0.transformer_blocks.0.attn2.to_out.0.bias" in tensors
    loaded = weights_lib.from_diffusers(tensors, shapes(TINY), "unet")
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_without_what_looks_along_time_it_is_the_network_of_images():
    # An oracle that needs no torch: zero what stands last in each layer over time.
    params = tiny_scenes.random_like(shapes(TINY))
    last = ("conv4.3", "transformer_in.proj_out", "proj_out")

    def still(name, value):
        over_time = "temp_convs" in name or "temp_attentions" in name or "transformer_in" in name
        return np.zeros_like(value) if over_time and any(p in name for p in last) else value

    tensors = {n: still(n, t) for n, t in weights_lib.to_diffusers(params).items()}
    fields = dataclasses.asdict(TINY)
    del fields["num_frames"]
    for name in ("down_block_types", "up_block_types"):
        fields[name] = tuple(kind.replace("3D", "2D") for kind in fields[name])
    # There the number of heads is one for all levels: those with attention have 16 channels.
    images = UNetConfig(**(fields | {"attention_head_dim": 4, "use_linear_projection": True}))
    own = {n: t for n, t in tensors.items() if "temp_" not in n and "transformer_in" not in n}
    x, timestep, context = inputs_of(TINY)
    loaded = weights_lib.from_diffusers(tensors, shapes(TINY), "clips")
    clip = jax.jit(UNet3D(TINY).apply)({"params": loaded}, x, timestep, context)
    loaded = weights_lib.from_diffusers(own, shapes(images), "images")
    draw = jax.jit(UNet(images).apply)
    for frame in range(TINY.num_frames):
        image = draw({"params": loaded}, x[:, frame], timestep, context)
        np.testing.assert_allclose(clip[:, frame], image, atol=1e-3 * np.abs(image).max())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 0}, "field num_frames = 0: must be"),
        (
            {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock3D")},
            "field down_block_types = 'DownBlock2D': must be one of CrossAttnDownBlock3D, DownBl",
        ),
        ({"attention_head_dim": 3}, "field attention_head_dim = 3: must divide the width 8"),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        config_lib.validate(dataclasses.replace(TINY, **changes))


def test_modelscope_s_config_is_valid_and_conditional():
    assert config_lib.validate(UNet3DConfig()).is_conditional
    assert TINY.input_shape == (3, 8, 8, 3)
