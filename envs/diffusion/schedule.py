"""Noise schedules of diffusion models, and the timesteps that a sampler visits.

A schedule is described by the fields of diffusers' ``scheduler_config.json``, under the same names.
Everything here is computed once, on the host, in float64. Spec 2.9. Axes: T training timesteps,
S steps of a sampler.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ai_econ_jax import config as config_lib

BETA_SCHEDULES = ("scaled_linear", "linear", "squaredcos_cap_v2")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
_MAX_BETA = 0.999  # of the cosine schedule, which would end at 1


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How a model was trained to denoise; the defaults are Stable Diffusion's."""

    num_train_timesteps: int = 1000  # T
    beta_schedule: str = "scaled_linear"
    beta_start: float = 0.00085  # variance added at the first timestep; not of the cosine schedule
    beta_end: float = 0.012  # and at the last
    prediction_type: str = "epsilon"  # what the network puts out
    steps_offset: int = 1  # first timestep that a sampler visits
    set_alpha_to_one: bool = False  # the last step ends at no noise, not at timestep 0
    clip_sample: bool = False  # clip the predicted image at every step
    clip_sample_range: float = 1.0

    def validate(self) -> None:
        """Check names and ranges."""
        config_lib.check_range("num_train_timesteps", self.num_train_timesteps, 2, 1_000_000)
        config_lib.check_one_of("beta_schedule", self.beta_schedule, BETA_SCHEDULES)
        config_lib.check_range("beta_start", self.beta_start, 0.0, 1.0, exclude_low=True)
        config_lib.check_range("beta_end", self.beta_end, self.beta_start, 1.0, exclude_high=True)
        config_lib.check_one_of("prediction_type", self.prediction_type, PREDICTION_TYPES)
        config_lib.check_range("steps_offset", self.steps_offset, 0, self.num_train_timesteps - 1)
        config_lib.check_positive("clip_sample_range", self.clip_sample_range)


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """How images are drawn from a model."""

    num_steps: int = 50  # S
    eta: float = 0.0  # share of DDPM's noise that each step adds; 0 is deterministic
    guidance_scale: float = 1.0  # w of classifier-free guidance; none up to 1

    def validate(self) -> None:
        """Check ranges."""
        config_lib.check_range("num_steps", self.num_steps, 1, 1_000_000)
        config_lib.check_range("eta", self.eta, 0.0, 1.0)
        config_lib.check_range("guidance_scale", self.guidance_scale, 0.0, 1000.0)

    @property
    def forwards_per_image(self) -> int:
        """Forward passes of the network for one image; a doubled batch counts as two."""
        return self.num_steps * (2 if self.guidance_scale > 1 else 1)


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of a sampler, from pure noise to the image."""

    timestep: NDArray  # i32[S], falling
    alpha_bar: NDArray  # f64[S], share of the image's variance at the step's start
    alpha_bar_prev: NDArray  # f64[S], at its end, which is the less noisy
    std: NDArray  # f64[S], of the noise that the step adds


def alphas_cumprod(config: ScheduleConfig) -> NDArray:
    """Share of the image's variance that is left at each timestep, f64[T], falling."""
    count = config.num_train_timesteps
    if config.beta_schedule == "linear":
        betas = np.linspace(config.beta_start, config.beta_end, count)
    elif config.beta_schedule == "scaled_linear":
        betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, count) ** 2
    else:  # Nichol and Dhariwal (2021), https://arxiv.org/abs/2102.09672, equation 17
        time = np.arange(count + 1) / count
        left = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - left[1:] / left[:-1], _MAX_BETA)
    return np.cumprod(1 - betas)


def make_steps(schedule: ScheduleConfig, sampler: SamplerConfig) -> Steps:
    """The steps of DDIM with "leading" spacing; with eta 1 and S = T they are DDPM's.

    `t_i = i (T // S) + offset`, reversed; with `a` for alpha_bar, the noise of a step is
    `s = eta sqrt((1 - a_prev) / (1 - a) (1 - a / a_prev))`.
    Song et al. (2021), https://arxiv.org/abs/2010.02502, equations 12 and 16.

    Raises:
      ConfigError: More steps than timesteps, or an offset that passes the last one.
    """
    count, total = sampler.num_steps, schedule.num_train_timesteps
    config_lib.check(
        count <= total, "num_steps", count, f"must be at most the model's {total} timesteps"
    )
    stride = total // count
    timestep = np.arange(count)[::-1] * stride + schedule.steps_offset
    config_lib.check(
        int(timestep[0]) < total,
        "num_steps",
        count,
        f"with steps_offset {schedule.steps_offset} begins at timestep {timestep[0]}, but the last "
        f"is {total - 1}",
    )
    table = alphas_cumprod(schedule)
    final = 1.0 if schedule.set_alpha_to_one else table[0]
    previous = timestep - stride
    alpha_bar = table[timestep]
    alpha_bar_prev = np.where(previous >= 0, table[np.maximum(previous, 0)], final)
    share = (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)
    return Steps(
        timestep=timestep.astype(np.int32),
        alpha_bar=alpha_bar,
        alpha_bar_prev=alpha_bar_prev,
        # At the very last step alpha_bar_prev may equal alpha_bar[0]: no noise, not minus epsilon.
        std=sampler.eta * np.sqrt(np.maximum(share, 0.0)),
    )
