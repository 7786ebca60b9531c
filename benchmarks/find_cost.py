"""What FIND's own work costs beside drawing the images, in time and in memory. Spec 6, 18 and 19.

On digits8, preset fast, in one process:

- an update against the same update of an environment that draws nothing: the share that is FIND's;
- memory of an update of FIND, DDPO and DPOK, as their compiled programs plan it, against that of
  drawing and scoring one batch of 16 images;
- all ten prompts vmapped into one program against one prompt;
- a compiled update against one that Python drives step by step of the sampler, each step compiled,
  and against one that Python drives operation by operation.

Times are the least of several repetitions.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ai_econ_jax import devices
from ai_econ_jax.agents.find import experiment
from ai_econ_jax.agents.find.experiment_config import PRESETS
from ai_econ_jax.agents.find.find import Find, hyperparameters_of, structure_of
from ai_econ_jax.agents.find.setting import Setting, make_setting
from ai_econ_jax.envs.diffusion import sampler as sampler_lib
from ai_econ_jax.envs.diffusion.image_data import DIGIT_WORDS
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, NoiseEnvironment, denoiser

_FAST = PRESETS["fast"]
_UPDATES = 20  # of a run: 320 images


@dataclasses.dataclass(frozen=True)
class NothingDrawn(NoiseEnvironment):
    """Takes the noise for the image: what is left of an update is FIND's own."""

    def generate(self, keys: jax.Array, z: jax.Array, params: DiffusionParams) -> jax.Array:
        """The noise f32[B, *D] itself."""
        return z


def _least_seconds(function: Callable[[], Any], repeats: int) -> float:
    jax.block_until_ready(function())
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _learner(setting: Setting, kind: type[NoiseEnvironment] = NoiseEnvironment) -> Find:
    environment = kind(setting.model, setting.sampler, setting.reward)
    return Find(environment, structure_of(_FAST.find))


def _run(find: Find, setting: Setting) -> Callable[..., Any]:
    """A whole run in one program, of a state or of several."""

    @jax.jit
    def whole(states: Any) -> Any:
        def one(state: Any) -> Any:
            def update(state: Any, _: None) -> tuple[Any, Any]:
                return find.update(state, setting.weights)

            return jax.lax.scan(update, state, None, _UPDATES)[0].policy

        return jax.vmap(one)(states)

    return whole


def _states(find: Find, setting: Setting, prompts: int) -> Any:
    """States of runs on the first digits."""

    def begin(key: jax.Array, label: jax.Array) -> Any:
        reward = dataclasses.replace(setting.task.reward, label=label)
        task = dataclasses.replace(setting.task, reward=reward)
        return find.init(key, task, hyperparameters_of(_FAST.find))

    keys = jax.random.split(jax.random.key(0), prompts)
    return jax.vmap(begin)(keys, jnp.arange(prompts))


def update_share(setting: Setting, repeats: int) -> dict[str, float]:
    """Seconds of an update, and of what of it is not drawing and scoring images."""
    seconds = []
    for kind in (NoiseEnvironment, NothingDrawn):
        find = _learner(setting, kind)
        run = functools.partial(_run(find, setting), _states(find, setting, 1))
        seconds.append(_least_seconds(run, repeats))
    # What draws nothing still scores: the share is an upper bound.
    return {
        "update_seconds": seconds[0] / _UPDATES,
        "own_seconds": seconds[1] / _UPDATES,
        "own_share": seconds[1] / seconds[0],
    }


def memory(setting: Setting) -> dict[str, float]:
    """Bytes of programs, see `experiment.update_bytes`."""
    count = _FAST.find.batch_size
    environment = NoiseEnvironment(setting.model, setting.sampler, setting.reward)
    keys = jax.random.split(jax.random.key(0), count)
    z = jnp.zeros((count, *setting.model.latent_shape))
    params = DiffusionParams(setting.weights, setting.task)
    figures: dict[str, float] = {
        "sampling_bytes": experiment.program_bytes(environment.play, keys, z, params)
    }
    for method in ("find", "ddpo", "dpok"):
        config = dataclasses.replace(_FAST, method=method)
        own = make_setting(config)
        needed = experiment.update_bytes(experiment.make_method(config, own), own)
        figures[f"{method}_bytes"] = needed
        figures[f"{method}_to_sampling"] = needed / figures["sampling_bytes"]
    return figures


def prompts(setting: Setting, repeats: int) -> dict[str, float]:
    """Seconds of a run on one prompt and of one on all ten."""
    find = _learner(setting)
    run = _run(find, setting)
    alone, together = (_states(find, setting, count) for count in (1, len(DIGIT_WORDS)))
    one = _least_seconds(lambda: run(alone), repeats)
    ten = _least_seconds(lambda: run(together), repeats)
    return {"one_prompt_seconds": one, "ten_prompts_seconds": ten, "ten_to_one": ten / one}


def python_loops(setting: Setting, repeats: int) -> dict[str, float]:
    """Seconds of an update that Python drives, step by step or operation by operation.

    Step by step: one program a step of the sampler, and one that draws noise, scores it and learns,
    which are the same operations on the same shapes as with the image that the steps end in.
    """
    find, own = _learner(setting), _learner(setting, NothingDrawn)
    params = DiffusionParams(setting.weights, setting.task)
    state = find.init(jax.random.key(0), setting.task, hyperparameters_of(_FAST.find))
    z = jax.random.normal(jax.random.key(1), (_FAST.find.batch_size, *setting.model.latent_shape))

    @jax.jit
    def one_step(x: jax.Array, index: jax.Array) -> jax.Array:
        schedule = setting.model.schedule
        steps = sampler_lib.stack_steps(schedule, setting.sampler)
        step = jax.tree.map(lambda leaf: leaf[index], steps)
        at = jnp.broadcast_to(step.timestep, x.shape[:1])
        output = denoiser(setting.model, setting.sampler, params)(x, at)
        return sampler_lib.step_mean(schedule, step, x, output)

    learn = jax.jit(own.update)

    def step_by_step() -> Any:
        x = z
        for index in range(setting.sampler.num_steps):
            x = one_step(x, jnp.int32(index))
        return x, learn(state, setting.weights)

    def operation_by_operation() -> Any:
        with jax.disable_jit():
            return find.update(state, setting.weights)

    run, states = _run(find, setting), _states(find, setting, 1)
    compiled = _least_seconds(lambda: run(states), repeats) / _UPDATES
    steps = _least_seconds(step_by_step, repeats)
    operations = _least_seconds(operation_by_operation, 1)
    return {
        "compiled_seconds": compiled,
        "step_by_step_seconds": steps,
        "operations_seconds": operations,
        "step_by_step_to_compiled": steps / compiled,
        "operations_to_compiled": operations / compiled,
    }


def main() -> None:
    """Prints all figures, and keeps them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    devices.enable_compilation_cache()
    setting = make_setting(_FAST)
    figures: dict[str, float] = {}
    for measure in (update_share, prompts, python_loops):
        figures |= measure(setting, arguments.repeats)
    figures |= memory(setting)
    for name, value in figures.items():
        print(f"{name:26} {value:.4g}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
