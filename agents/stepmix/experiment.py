"""A comparison: every algorithm on the same problem and the same seeds.

What it returns is in units of the original rewards, wherever rewards were mapped to [0, 1] for the
learners. Spec sections 1 and 5.

Axes: H steps, S states, A actions, T points of the curves, B seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ai_econ_jax import npz
from ai_econ_jax import workdir as workdir_lib
from ai_econ_jax.agents.stepmix import constrained, select
from ai_econ_jax.agents.stepmix.config import StepMixConfig
from ai_econ_jax.agents.stepmix.constrained_run import run_constrained
from ai_econ_jax.agents.stepmix.run import CURVES, Trace, run
from ai_econ_jax.agents.stepmix.setting import Setting
from ai_econ_jax.agents.stepmix.tabular_ppo import run_ppo
from ai_econ_jax.envs.tabular.constrained import from_value_constraint
from ai_econ_jax.envs.tabular.mdp import Problem
from ai_econ_jax.progress import progress
from ai_econ_jax.workdir import Workdir

# Fields of a trace that are one number per seed: differences of values, and counts of episodes.
_DIFFERENCES = ("regret", "second_half_regret", "last_gap", "shortfall")
_COUNTS = ("violations", "drawn_violations", "broken_certificates", "leave", "full")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Results, in units of the original rewards.

    Attributes:
      config: What was asked for.
      name: The problem's.
      shape: (H, S, A).
      optimal_value: V*.
      baseline_value: V(baseline).
      gamma: What every episode must be worth.
      certificate: What offline data prove the baseline to be worth; None without such data.
      traces: Algorithm to its runs.
    """

    config: StepMixConfig
    name: str
    shape: tuple[int, int, int]
    optimal_value: float
    baseline_value: float
    gamma: float
    certificate: float | None
    traces: Mapping[str, Trace]

    @property
    def kappa(self) -> float:
        """V(baseline) - gamma, the slack."""
        return self.baseline_value - self.gamma


def compare(config: StepMixConfig, setting: Setting, workdir: Workdir | None = None) -> Comparison:
    """Runs all algorithms of a config on the same seeds.

    Args:
      config: What to run.
      setting: Of this config, from `make_setting`.
      workdir: Where ``metrics.npz`` is kept, written whole after each algorithm; those in it are
        not run again. None writes nothing.
    """
    path = None if workdir is None else workdir.path / "metrics.npz"
    traces = _read_traces(path) if path is not None and path.exists() else {}
    for name in config.algos:
        if name not in traces:
            with progress(config.run.episodes, "episode", title=name) as show:
                tell = functools.partial(show, metrics={})
                traces[name] = run_algorithm(name, setting, config, on_progress=tell)
            if workdir is not None and workdir.writes:
                _write_traces(workdir.path / "metrics.npz", traces)
    return comparison_of(config, setting, {name: traces[name] for name in config.algos})


def comparison_of(
    config: StepMixConfig, setting: Setting, traces: Mapping[str, Trace]
) -> Comparison:
    """Puts traces, already in original units, beside the setting's constants."""
    units = setting.problem.value_in_original_units
    return Comparison(
        config=config,
        name=setting.problem.name,
        shape=setting.problem.mdp.shape,
        optimal_value=units(setting.optimal_value),
        baseline_value=units(setting.baseline_value),
        gamma=units(setting.gamma),
        certificate=None if setting.learned is None else units(setting.learned.certificate),
        traces=traces,
    )


def run_algorithm(
    name: str,
    setting: Setting,
    config: StepMixConfig,
    on_progress: Callable[[int], None] | None = None,
) -> Trace:
    """Runs one algorithm, a name of `config.ALGORITHMS`, on all seeds.

    Args:
      name: Which.
      setting: On what.
      config: Only the seeds, ``lp_every`` and ``true_support`` are read; how to run is in the
        setting.
      on_progress: Called with the number of episodes played.

    Returns:
      Its trace, in units of the original rewards.
    """
    mdp, baseline, gamma = setting.problem.mdp, setting.problem.baseline, setting.gamma
    assert baseline is not None
    keys = jax.vmap(jax.random.key)(np.arange(config.seed, config.seed + config.num_seeds))
    if name in select.ALGORITHMS:
        trace = run(
            name,
            mdp,
            baseline,
            gamma,
            keys,
            setting.run,
            initial_transitions=setting.initial_transitions,
            on_progress=on_progress,
        )
    elif name in constrained.LEARNERS:
        trace = run_constrained(
            name,
            from_value_constraint(mdp, gamma),
            baseline,
            keys,
            setting.run,
            lp_every=config.lp_every,
            true_support=config.true_support,
            initial_transitions=setting.initial_transitions,
            on_progress=on_progress,
        )
    else:
        trace = run_ppo(mdp, gamma, keys, setting.run.episodes)
        if on_progress is not None:
            on_progress(setting.run.episodes)
    return _in_original_units(trace, setting.problem)


def _in_original_units(trace: Trace, problem: Problem) -> Trace:
    scale, units = problem.reward_max - problem.reward_min, problem.value_in_original_units
    curves = {
        "regret": scale * trace.curves["regret"],
        "gap": scale * trace.curves["gap"],
        "upper": units(trace.curves["upper"]),
        "guaranteed": units(trace.curves["guaranteed"]),
    }
    totals = {field: scale * getattr(trace, field) for field in _DIFFERENCES}
    return dataclasses.replace(trace, curves=dict(trace.curves) | curves, **totals)


def _write_traces(path: pathlib.Path, traces: Mapping[str, Trace]) -> None:
    arrays: dict[str, Any] = {}
    for name, trace in traces.items():
        for field in ("episode", "seconds", *_DIFFERENCES, *_COUNTS):
            arrays[f"{name}/{field}"] = getattr(trace, field)
        for curve, values in trace.curves.items():
            arrays[f"{name}/curves/{curve}"] = np.asarray(values, np.float32)
    npz.write(path, arrays)


def _read_traces(path: pathlib.Path) -> dict[str, Trace]:
    try:
        arrays = npz.read(path)
    except npz.NpzError as error:
        raise workdir_lib.WorkdirError(
            f"{path}: is damaged; delete it, and its algorithms run again: {error}"
        ) from error
    fields = ("episode", *_DIFFERENCES, *_COUNTS)
    return {
        name: Trace(
            **{field: arrays[f"{name}/{field}"] for field in fields},
            curves={curve: arrays[f"{name}/curves/{curve}"] for curve in CURVES},
            seconds=float(arrays[f"{name}/seconds"]),
            transitions=None,
        )
        for name in dict.fromkeys(key.split("/")[0] for key in arrays)
    }
