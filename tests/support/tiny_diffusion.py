"""The smallest U-Net of one level, for tests of what is built around one."""

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
