"""The decision problem of S steps: choose every x on the way from noise to image. Spec 2.10.

The state is x and the step's index; the action is the less noisy x that follows; the reward is the
image's, at the end. A policy of it is the denoiser itself, `N(step_mean(x), std^2)`, which is what
DDPO and DPOK train. Black et al. (2023), https://arxiv.org/abs/2305.13301, section 4.2.

The prompt and the weights of the frozen model, the policy's start, are in the parameters. Axes as
in ``noise_mdp``.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax.environment import TimeStep, timestep
from ai_econ_jax.envs.diffusion import sampler as sampler_lib
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, Model, Reward, denoiser
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig
from ai_econ_jax.spaces import Box


@struct.dataclass
class DenoisingState:
    """Where an image is on its way; also what a policy sees."""

    x: jax.Array  # f32[*D]
    index: jax.Array  # i32[], steps done; S at the end


@dataclasses.dataclass(frozen=True)
class DenoisingEnvironment:
    """The problem of S steps. `play` runs a whole batch, and asks for the reward only once."""

    model: Model
    sampler: SamplerConfig
    reward: Reward

    def __post_init__(self) -> None:
        """Refuse a sampler whose steps have no density.

        Raises:
          ValueError: eta is 0.
        """
        if self.sampler.eta == 0:
            raise ValueError(
                "eta 0: every step is deterministic, so none has a log-probability to learn from; "
                "must be above 0"
            )

    def reset(self, key: jax.Array, params: DiffusionParams) -> tuple[DenoisingState, TimeStep]:
        """Begin with fresh noise."""
        state = DenoisingState(jax.random.normal(key, self.model.latent_shape), jnp.int32(0))
        return state, timestep(state, jnp.float32(0.0))

    def step(
        self, key: jax.Array, state: DenoisingState, action: jax.Array, params: DiffusionParams
    ) -> tuple[DenoisingState, TimeStep]:
        """Go to the x that was chosen, f32[*D]; after S steps the image is judged."""
        after = DenoisingState(action, state.index + 1)
        done = after.index == self.sampler.num_steps
        image = self.model.decode(params.weights, action[None])
        reward = jnp.where(done, self.reward(params.task.reward, image)[0], 0.0)
        return after, timestep(after, reward, terminated=done)

    def play(
        self, keys: jax.Array, z: jax.Array, params: DiffusionParams
    ) -> tuple[sampler_lib.Trajectory, jax.Array, jax.Array]:
        """Follows the policy of these weights from initial noises f32[B, *D] with keys key[B].

        Returns:
          The trajectory with the policy's log-probabilities, images f32[B, ...], rewards f32[B].
        """
        denoise = denoiser(self.model, self.sampler, params)
        x, path = sampler_lib.sample_trajectory(denoise, self.model.schedule, self.sampler, z, keys)
        images = self.model.decode(params.weights, x)
        return path, images, self.reward(params.task.reward, images)

    def log_prob(
        self, index: jax.Array, x: jax.Array, x_prev: jax.Array, params: DiffusionParams
    ) -> tuple[jax.Array, jax.Array]:
        """Log-probability of steps under the policy of these weights.

        Args:
          index: i32[B], each sample's own step.
          x: f32[B, *D], where it began.
          x_prev: f32[B, *D], where it went.
          params: Weights and prompt.

        Returns:
          Log-probabilities f32[B], mean over D, and the (guided) outputs of the network f32[B, *D].
        """
        steps = sampler_lib.stack_steps(self.model.schedule, self.sampler)
        step = jax.tree.map(lambda values: values[index], steps)
        output = denoiser(self.model, self.sampler, params)(x, step.timestep)
        mean_of = functools.partial(sampler_lib.step_mean, self.model.schedule)
        mean = jax.vmap(mean_of)(step, x, output)
        return sampler_lib.step_log_prob(x_prev, mean, step.std), output

    def observation_space(self, params: DiffusionParams) -> DenoisingState:
        """A space for each field."""
        # A struct of spaces, as the observation is a struct of arrays.
        return DenoisingState(self._latents(), Box(0, self.sampler.num_steps, ()))  # type: ignore[arg-type]

    def action_space(self, params: DiffusionParams) -> Box:
        """All of R^D."""
        return self._latents()

    def _latents(self) -> Box:
        return Box(-jnp.inf, jnp.inf, self.model.latent_shape)
