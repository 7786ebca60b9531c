"""The smallest U-Net of one level, for tests of what is built around one."""

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.diffusion import classifier, folders, pixel_model
from ai_econ_jax.envs.diffusion.pixel_model import PixelModel
from ai_econ_jax.envs.diffusion.schedule import ScheduleConfig
from ai_econ_jax.envs.diffusion.unet import UNetConfig


def unet(sample_size: int) -> UNetConfig:
    """One channel, ``sample_size`` x ``sample_size`` cells."""
    return UNetConfig(
        sample_size=sample_size,
        in_channels=1,
        out_channels=1,
        down_block_types=("DownBlock2D",),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D",),
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
    )


def write_digits(folder, side=8):
    """A folder as train_diffusion leaves it, of a model and classifiers of random weights."""
    model = PixelModel(unet(side), ScheduleConfig(clip_sample=True))
    generator = np.random.default_rng(0)

    def random(leaf):
        return jnp.asarray(0.2 * generator.standard_normal(leaf.shape), jnp.float32)

    template = jax.eval_shape(model.init, jax.random.key(0))
    pixel_model.save_folder(folder, model, jax.tree.map(random, template), jnp.float16)
    network = classifier.Classifier(10)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, side, side, 1)))
    for part in ("reward", "judge"):
        folders.save_network(folder / part, jax.tree.map(random, shapes["params"]))
    return folder
