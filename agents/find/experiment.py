"""One run: images before, the method on all seeds side by side, images after, and their figures.

Axes: R seeds, N images of an evaluation.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ai_econ_jax import config as config_lib
from ai_econ_jax import devices, loop
from ai_econ_jax.agents.find import noise_policy
from ai_econ_jax.agents.find.ddpo import Ddpo
from ai_econ_jax.agents.find.dpok import Dpok
from ai_econ_jax.agents.find.experiment_config import TRAINS_WEIGHTS, ExperimentConfig
from ai_econ_jax.agents.find.find import Find, hyperparameters_of, structure_of
from ai_econ_jax.agents.find.noise_policy import PixelBasis
from ai_econ_jax.agents.find.search import BestOfN, Cem, Reno
from ai_econ_jax.agents.find.setting import Setting
from ai_econ_jax.envs.diffusion.denoising_mdp import DenoisingEnvironment
from ai_econ_jax.envs.diffusion.host_errors import plain_errors
from ai_econ_jax.envs.diffusion.host_rewards import HostReward
from ai_econ_jax.envs.diffusion.metrics import pixel_diversity
from ai_econ_jax.envs.diffusion.noise_mdp import (
    DiffusionParams,
    NoiseEnvironment,
    Task,
    generate_many,
)
from ai_econ_jax.workdir import Workdir, read_rows

_MOST_UPDATES_PER_SEGMENT = 20


@dataclasses.dataclass(frozen=True)
class Method:
    """A learner, ready to run.

    Attributes:
      learner: With ``update(state, weights) -> (state, metrics)``.
      init: Key to state.
      num_updates: Of the whole run.
      images: Drawn and scored by the whole run.
      forward_equivalents: Passes of the network by the whole run, a backward one counted twice.
    """

    learner: Any
    init: Callable[[jax.Array], Any]
    num_updates: int
    images: int
    forward_equivalents: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Fresh images of a distribution, for each seed."""

    images: NDArray  # f32[R, N, ...]
    rewards: NDArray  # f32[R, N]
    success: NDArray | None  # bool[R, N], by the judge; None where the model has none
    frechet: NDArray | None  # f64[R], to real images of what was asked for
    diversity: NDArray  # f64[R]
    norm_ratio: NDArray  # f64[R], |z|^2 / D
    # bool[R, N] of each thing that is told beside success
    beside: dict[str, NDArray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run leaves."""

    method: Method
    state: Any  # with a leading axis R
    before: Evaluation
    after: Evaluation
    seconds: float  # of the method alone, compilation included
    peak_bytes: int  # of the whole process, or of its accelerator


@dataclasses.dataclass(frozen=True)
class _OverSeeds:
    """A learner's update for all seeds; equal ones share a compiled program."""

    learner: Any

    def __call__(self, state: Any, weights: Any) -> tuple[Any, Mapping[str, jax.Array]]:
        return jax.vmap(self.learner.update, (0, None))(state, weights)


def make_method(config: ExperimentConfig, setting: Setting) -> Method:
    """The learner that a config names.

    Raises:
      ValueError: Settings that do not fit the model.
    """
    settings: Any = config.settings
    forwards = setting.sampler.forwards_per_image
    images = settings.images
    still = NoiseEnvironment(setting.model, setting.sampler, setting.reward)
    updates = images // settings.batch_size
    if config.method == "find":
        find = Find(still, structure_of(settings))
        noise_policy.make_basis(settings.basis, setting.model.latent_shape)  # refuses early

        def init_find(key: jax.Array) -> Any:
            return find.init(key, setting.task, hyperparameters_of(settings))

        return Method(find, init_find, updates, images, images * forwards)
    if config.method in TRAINS_WEIGHTS:
        moving = DenoisingEnvironment(setting.model, setting.sampler, setting.reward)
        trainer: Any = (Ddpo if config.method == "ddpo" else Dpok)(moving, settings)

        def init_weights(key: jax.Array) -> Any:
            return trainer.init(key, setting.task, setting.weights)

        if config.method == "ddpo":
            spent = 4 * images * forwards  # every step once forward, once forward and backward
        else:
            per_step = forwards // setting.sampler.num_steps
            again = settings.policy_steps * settings.transitions * per_step
            spent = images * forwards + 4 * updates * again  # the frozen model looks too
        return Method(trainer, init_weights, updates, images, spent)
    searches: dict[str, Any] = {"cem": Cem, "best_of_n": BestOfN, "reno": Reno}
    search = searches[config.method](still, settings)
    if config.method == "reno" and isinstance(setting.reward, HostReward):
        raise ValueError(
            f"method reno follows the gradient of the reward, and {setting.reward.name} has none"
        )
    passes = 3 if config.method == "reno" else 1

    def init_search(key: jax.Array) -> Any:
        return search.init(key, setting.task)

    return Method(search, init_search, updates, images, passes * images * forwards)


def with_images(config: ExperimentConfig, images: int) -> ExperimentConfig:
    """The same method with so many images, or fewer: whole batches."""
    whole = images // config.settings.batch_size * config.settings.batch_size
    return config_lib.replace_fields(config, {f"{config.method}.images": whole})


def images_of(config: ExperimentConfig, setting: Setting, forwards: int) -> int:
    """The most images, of whole updates and one at least, that cost no more forward passes."""
    batch = config.settings.batch_size
    cost = make_method(with_images(config, batch), setting).forward_equivalents
    return max(1, forwards // cost) * batch


def run(
    config: ExperimentConfig,
    setting: Setting,
    workdir: Workdir | None = None,
    before: Evaluation | None = None,
) -> Outcome:
    """Runs a method on all seeds.

    Args:
      config: What to run.
      setting: Of this config, from `make_setting`.
      workdir: Where rows and checkpoints go, and where a run that was killed goes on.
      before: Of an earlier run with this model, prompt, sampler and these seeds; made when None.

    Raises:
      HostError: A reward of the host failed or is no number, or a model of the host failed.
      NonFiniteError: The run diverged.
    """
    with plain_errors():
        return _run(config, setting, workdir, before)


def _run(
    config: ExperimentConfig,
    setting: Setting,
    workdir: Workdir | None,
    before: Evaluation | None,
) -> Outcome:
    method = make_method(config, setting)
    run_keys, eval_keys = _keys(config)
    if before is None:
        before = evaluate_frozen(config, setting)
    started = time.perf_counter()
    state = loop.train(
        _OverSeeds(method.learner),
        jax.vmap(method.init)(run_keys),
        constants=(setting.weights,),
        num_updates=method.num_updates,
        updates_per_segment=updates_per_segment(method.num_updates),
        keep_checkpoints=1,
        workdir=workdir,
        progress_metric="reward",
    )
    jax.block_until_ready(jax.tree.leaves(state))
    seconds = time.perf_counter() - started
    if workdir is not None:  # of all starts of the run, not of the last alone
        rows = read_rows(workdir.timing)
        seconds = sum(row["segment_seconds"] + row["host_seconds"] for row in rows)
    after = evaluate(config, setting, method.learner, state, eval_keys)
    return Outcome(method, state, before, after, seconds, devices.peak_bytes())


def updates_per_segment(num_updates: int) -> int:
    """At most a quarter of a run, so that not all of its time is the first segment's compilation.

    A divisor, so that no shorter last segment is compiled too.
    """
    most = min(_MOST_UPDATES_PER_SEGMENT, max(1, num_updates // 4))
    return max(size for size in range(1, most + 1) if num_updates % size == 0)


def _keys(config: ExperimentConfig) -> tuple[jax.Array, jax.Array]:
    """Keys key[R] of the runs and of their evaluations."""
    seeds = jnp.arange(config.seed, config.seed + config.num_seeds)
    split = jax.vmap(jax.random.split)(jax.vmap(jax.random.key)(seeds))
    return split[:, 0], split[:, 1]


def update_bytes(method: Method, setting: Setting) -> int:
    """Memory of one update of one seed, as its compiled program plans it.

    Inputs, results and everything in between, a buffer that is used twice counted once; the
    weights of the model are among the inputs. Depends on the program and the kind of device, not
    on what else the process has done.
    """
    state = jax.eval_shape(method.init, jax.random.key(0))
    return program_bytes(method.learner.update, state, setting.weights)


def program_bytes(function: Callable, *arguments: Any) -> int:
    """As `update_bytes`, of any function of arrays, or of their shapes and types."""
    planned = jax.jit(function).lower(*arguments).compile().memory_analysis()
    assert planned is not None
    return (
        planned.argument_size_in_bytes
        + planned.output_size_in_bytes
        + planned.temp_size_in_bytes
        - planned.alias_size_in_bytes
    )


def evaluate_frozen(config: ExperimentConfig, setting: Setting) -> Evaluation:
    """What `run` has as images before."""
    return evaluate(config, setting, None, None, _keys(config)[1])


def evaluate(
    config: ExperimentConfig, setting: Setting, learner: Any, state: Any, keys: jax.Array
) -> Evaluation:
    """Draws fresh images of each seed, key[R], and judges them.

    The same keys give the same standard normal numbers to every distribution, so that images
    before and after can be compared one by one. Without a learner: the frozen model's own.
    """
    environment = NoiseEnvironment(setting.model, setting.sampler, setting.reward)
    kind = None if learner is None else config.method
    drawn = _draw(
        environment, learner, kind, config.eval_images, setting.weights, setting.task, state, keys
    )
    images, rewards, norms = jax.tree.map(np.asarray, drawn)
    judge, reference = setting.judge, setting.reference
    return Evaluation(
        images=images,
        rewards=rewards,
        success=None if judge is None else np.stack([judge(some) for some in images]),
        frechet=None
        if reference is None
        else np.array([reference.distance(some) for some in images]),
        diversity=np.array([pixel_diversity(some) for some in images]),
        norm_ratio=norms,
        beside={name: np.stack([holds(some) for some in images]) for name, holds in setting.beside},
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _draw(
    environment: NoiseEnvironment,
    learner: Any,
    kind: str | None,
    count: int,
    weights: Any,
    task: Task,
    states: Any,
    keys: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Images [R, N, ...], rewards [R, N] and `|z|^2 / D` [R] of each seed's distribution."""
    basis = PixelBasis(environment.model.latent_shape)

    def draw(inputs: tuple[Any, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        state, key = inputs
        noise_key, sampler_key = jax.random.split(key)
        noise_keys = jax.random.split(noise_key, count)
        if kind is None or kind in TRAINS_WEIGHTS:
            _, z = noise_policy.sample(noise_policy.standard(basis), basis, noise_keys)
        else:
            z = learner.sample(state, noise_keys)
        own = state.weights if kind in TRAINS_WEIGHTS else weights
        images = generate_many(
            environment.model,
            environment.sampler,
            jax.random.split(sampler_key, count),
            z,
            DiffusionParams(own, task),
        )
        return images, environment.reward(task.reward, images), jnp.mean(jnp.square(z))

    # One seed after the other: an evaluation may be large.
    return jax.lax.map(draw, (states, keys))
