"""What a comparison is about: the problem, its baseline, and what every episode must be worth.

Constants are exact, by dynamic programming in float64. Spec sections 1, 2.1 and 2.6.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
from typing import Any

import jax
import numpy as np
from absl import logging

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.stepmix import offline
from ai_econ_jax.agents.stepmix.config import ProblemConfig, RunConfig, StepMixConfig
from ai_econ_jax.envs.tabular import dynamic_programming, files, suite, toy_text
from ai_econ_jax.envs.tabular.baselines import make_baseline
from ai_econ_jax.envs.tabular.mdp import Problem
from ai_econ_jax.envs.tabular.problem import ProblemError
from ai_econ_jax.envs.tabular.trajectories import load_trajectories

_GYM_HORIZON = 20
_GYM_BASELINE = "boltzmann"
_LARGEST_COUNT = 2**24  # that float32 holds exactly


@dataclasses.dataclass(frozen=True)
class Setting:
    """A problem with its constraint, exactly. Values are in rewards of [0, 1].

    Attributes:
      problem: Arrays in float64 on the host; its baseline is the one that algorithms are given.
      gamma: What every episode must be worth.
      optimal_value: V*.
      baseline_value: V(baseline), above gamma.
      run: How to run, with the delta that is left for learning online.
      learned: The baseline learned from offline data, or None.
      initial_transitions: f[H or 1, X, S, A], counts to begin with, or None.
    """

    problem: Problem
    gamma: float
    optimal_value: float
    baseline_value: float
    run: RunConfig
    learned: offline.OfflineBaseline | None = None
    initial_transitions: np.ndarray | None = None

    @property
    def fingerprint(self) -> str:
        """Digest of arrays, gamma and units: files may change under an unchanged name."""
        scale = self.problem.reward_min, self.problem.reward_max
        digest = hashlib.sha256(repr((self.problem.mdp.shape, self.gamma, scale)).encode())
        arrays = [*jax.tree.leaves(self.problem.mdp), self.problem.baseline]
        if self.initial_transitions is not None:
            arrays.append(self.initial_transitions)
        for array in arrays:
            digest.update(np.ascontiguousarray(array, np.float64).tobytes())
        return digest.hexdigest()[:16]


def make_setting(config: StepMixConfig) -> Setting:
    """Builds what a config describes, and checks what its own rules cannot see.

    A gamma below the least possible return is allowed, with a warning.

    Raises:
      ProblemError: The problem cannot be, kappa is not positive, or it is too large.
      ConfigError: A field does not go with the problem.
      BaselineNotCertified: Offline data do not prove the baseline worth gamma.
      FileNotFoundError: A file does not exist.
    """
    with jax.enable_x64(True):
        problem = _load(config.problem)
        _check_size(config, problem)
        reference = problem.baseline
        optimal = _start_value(problem, dynamic_programming.optimal(problem.mdp)[0])
        gamma = _gamma(config.problem, problem, reference)
        learned, run_config, transitions = None, config.run, None
        if config.problem.offline_data:
            learned, run_config = _learn(config, problem, gamma)
            problem = dataclasses.replace(problem, baseline=learned.policy)
            if config.problem.warm_start:
                transitions = learned.transitions
        assert problem.baseline is not None  # else there is no gamma
        value = float(dynamic_programming.value(problem.mdp, problem.baseline))
    _check_gamma(problem, gamma, value)
    _check_counts(config, problem, transitions)
    mdp, baseline = jax.tree.map(np.asarray, (problem.mdp, problem.baseline))
    problem = dataclasses.replace(problem, mdp=mdp, baseline=baseline)
    return Setting(problem, gamma, optimal, value, run_config, learned, transitions)


def _load(config: ProblemConfig) -> Problem:
    """The problem with a baseline, its own or the one asked for; None where it has neither."""
    if config.env_file:
        problem = files.load_problem(
            config.env_file, horizon=config.horizon, rescale=config.rescale
        )
        name = config.baseline
    else:
        options = _parse_options(config.options)
        try:
            if config.env:
                return suite.load(config.env, baseline=config.baseline, eta=config.eta, **options)
            problem = toy_text.load_gym(config.gym_env, config.horizon or _GYM_HORIZON, **options)
        except (TypeError, KeyError) as error:  # an option that does not fit
            raise ProblemError(f"options = {config.options!r}: {error}") from error
        name = config.baseline or (None if config.offline_data else _GYM_BASELINE)
    if name is None:
        return problem
    return dataclasses.replace(problem, baseline=make_baseline(problem.mdp, name, config.eta))


def _parse_options(text: str) -> dict[str, Any]:
    """Reads ``num_states=4,left=0.1``; what is no Python literal is a string."""
    options = {}
    for item in filter(None, text.split(",")):
        name, equals, value = item.partition("=")
        if not equals or not name.strip().isidentifier():
            raise ProblemError(f"options = {text!r}: {item!r} must be name=value")
        try:
            options[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            options[name.strip()] = value.strip()
    return options


def _gamma(config: ProblemConfig, problem: Problem, reference: jax.Array | None) -> float:
    """Gamma in rewards of [0, 1]."""
    if reference is None and not config.offline_data:
        raise ProblemError(
            "baseline is missing: put one into the file, name one "
            "(--baseline=boltzmann or rank2), or learn one (--offline_data)"
        )
    if config.gamma is not None:
        scale = problem.reward_max - problem.reward_min
        return (config.gamma - problem.mdp.horizon * problem.reward_min) / scale
    if reference is None:
        raise ProblemError(
            "gamma is missing: the problem has no baseline of its own to take a share of, so "
            "--offline_data needs --gamma"
        )
    return config.gamma_frac * float(dynamic_programming.value(problem.mdp, reference))


def _learn(
    config: StepMixConfig, problem: Problem, gamma: float
) -> tuple[offline.OfflineBaseline, RunConfig]:
    """The baseline from the offline data, and how to run with the delta that is left."""
    asked, how = config.problem, config.run
    data = load_trajectories(asked.offline_data, problem.mdp)
    before, after = offline.split_delta(how.delta, asked.warm_start)
    learned = offline.learn_baseline(
        data,
        problem.mdp,
        gamma,
        delta=before,
        bonus=how.bonus,
        bonus_scale=how.bonus_scale,
        stationary=how.stationary,
        allow_uncertified=True,
    )
    if not (learned.certified or asked.allow_uncertified):
        units = problem.value_in_original_units
        raise offline.BaselineNotCertified(
            units(learned.certificate), units(gamma), len(data.actions)
        )
    return learned, dataclasses.replace(how, delta=after)


def _start_value(problem: Problem, values: jax.Array) -> float:
    return float((problem.mdp.initial * values[0]).sum())


def _check_size(config: StepMixConfig, problem: Problem) -> None:
    horizon, states, actions = problem.mdp.shape
    per_seed = states * actions * states * horizon
    if per_seed * config.num_seeds > config.max_cells:
        fits = config.max_cells // per_seed
        advice = f"at most {fits} seeds fit" if fits else "not even one seed fits"
        raise ProblemError(
            f"S A S H seeds = {states} x {actions} x {states} x {horizon} x {config.num_seeds} = "
            f"{per_seed * config.num_seeds:.3g} cells exceed max_cells = {config.max_cells}: "
            f"{advice}"
        )


def _check_gamma(problem: Problem, gamma: float, baseline_value: float) -> None:
    units = problem.value_in_original_units
    kappa = units(baseline_value) - units(gamma)
    if baseline_value <= gamma:
        raise ProblemError(
            f"kappa = {kappa:.6g}: baseline does not satisfy gamma; V(baseline) = "
            f"{units(baseline_value):.6g}, gamma = {units(gamma):.6g}"
        )
    if gamma < 0:
        logging.warning(
            "gamma = %.6g is below %.6g, the least that any policy can be worth: no constraint",
            units(gamma),
            units(0.0),
        )


def _check_counts(config: StepMixConfig, problem: Problem, transitions: np.ndarray | None) -> None:
    """Checks that no count can exceed what float32 holds: one visit per episode and step."""
    pooled, horizon = config.run.stationary, problem.mdp.horizon
    if pooled and not problem.stationary:
        raise config_lib.ConfigError(
            "run.stationary", True, f"transitions of {problem.name} depend on the step"
        )
    visits = config.run.episodes * horizon
    visits += 0 if transitions is None else int(transitions.sum(dtype=np.float64))
    most = visits if pooled else visits // horizon
    if most > _LARGEST_COUNT:
        raise config_lib.ConfigError(
            "run.episodes",
            config.run.episodes,
            f"{'with pooled counts, ' if pooled else 'with the offline data, '}{most} visits "
            f"exceed {_LARGEST_COUNT}, beyond which float32 loses count",
        )
