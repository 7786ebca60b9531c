"""All tax models on the same seeds, under all welfare functions, beside the exact optimum.

Workers first learn on random schedules (phase 1); then, from there, they adapt to every tax model
on the same budget, and to a planner that learns, one planner for each welfare function (phase 2).
All runs of a stage are lanes of one compiled program. Axes: S seeds, M lanes, W welfare functions,
N workers, B brackets.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.agents.ai_economist.evaluation import play, span_of_gain
from ai_econ_jax.agents.ai_economist.experiment import (
    WELFARE_NAMES,
    ExperimentConfig,
    build_economy,
    fixed_schedules,
    seed_keys,
)
from ai_econ_jax.agents.ai_economist.training import learn
from ai_econ_jax.agents.ai_economist.two_level import RoleState, TwoLevel, TwoLevelState
from ai_econ_jax.envs.one_step_economy import (
    BracketOptimum,
    EconomyParams,
    bracket_optimum,
    equilibrium,
)
from ai_econ_jax.envs.one_step_economy.environment import OneStepEconomy, one_step_params
from ai_econ_jax.workdir import Workdir, write_bytes

# The rows of the comparison; `flat` and `planner` differ from one welfare function to the next.
COMPARED = ("free_market", "us_federal", "flat", "saez", "planner")


@dataclasses.dataclass(frozen=True)
class TaxModelResult:
    """One tax model as the learned workers meet it, for each seed; float64 NumPy arrays.

    Where the model depends on the welfare function, entry ``w`` of the second axis is the model
    made for function ``w``; else all entries are the same.
    """

    rates: np.ndarray  # [S, W, B]
    hours: np.ndarray  # [S, W, N]
    production: np.ndarray  # [S, W, N], before tax
    coin: np.ndarray  # [S, W, N], after tax and rebate
    utility: np.ndarray  # [S, W, N]
    equality: np.ndarray  # [S, W]
    welfare: np.ndarray  # [S, W], function w of the model made for w
    exact_welfare: np.ndarray  # [S, W], the same schedule with exact best responses


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What ``compare`` returns."""

    economy: EconomyParams
    models: Mapping[str, TaxModelResult]
    optimum: BracketOptimum
    exact_free_market: Mapping[str, float]  # welfare of the free market with exact best responses
    # Rows logged by each stage (phase1, planner, fixed), as loop.train gives them. In stage planner
    # lane w * S + s is welfare function w, seed s; in phase1 lane s is seed s.
    rows: Mapping[str, list[dict[str, Any]]]

    def gain(self, name: str, exact_workers: bool = False) -> np.ndarray:
        """Normalised gain ``(W - W_free) / (W_optimum - W_free)``, ``[S, W]``.

        Free market and optimum are exact. NaN where the optimum is the free market. With
        ``exact_workers`` W is what the schedule is worth when workers respond exactly.
        """
        free = np.asarray([self.exact_free_market[w] for w in WELFARE_NAMES])
        best = np.asarray([self.optimum.welfare[w] for w in WELFARE_NAMES])
        model = self.models[name]
        welfare = model.exact_welfare if exact_workers else model.welfare
        return (welfare - free) / span_of_gain(free, best)


def compare(config: ExperimentConfig, workdir: Workdir | None = None) -> Comparison:
    """Run the comparison; with a work directory it resumes where it was killed.

    Raises:
      ValueError: the economy has no exact optimum to compare with (isoelastic utility).
    """
    economy = build_economy(config.economy)
    if economy.utility != "coin_minus_labor_cost":
        raise ValueError(
            f"field economy.utility = {economy.utility!r}: compare needs the exact optimum, which "
            "exists for 'coin_minus_labor_cost'"
        )
    optimum = bracket_optimum(economy, config.rate_step)
    free = equilibrium(economy, jnp.zeros(economy.num_brackets)).welfare
    schedules = fixed_schedules(economy, config.rate_step)
    stages = _Stages(config, economy, workdir)
    workers = stages.learn_workers()
    states: dict[str, Any] = {
        "planner": stages.learn_planners(workers),
        **stages.adapt_to_schedules(workers, schedules),
    }
    models = {}
    for name in COMPARED:
        if name == "flat":
            lanes = [states[f"flat/{w}"] for w in WELFARE_NAMES]
        elif name == "planner":
            lanes = states["planner"]
        elif name in states:
            lanes = [states[name]] * len(WELFARE_NAMES)
        else:
            continue
        models[name] = _evaluate(stages, lanes)
    if workdir is not None and workdir.writes:
        _join_metrics(workdir, stages.rows)
    return Comparison(
        economy=economy,
        models=models,
        optimum=optimum,
        exact_free_market={name: float(value) for name, value in free.items()},
        rows=stages.rows,
    )


class _Stages:
    """The three runs of a comparison; each is a work directory of its own below the main one."""

    def __init__(self, config: ExperimentConfig, economy: EconomyParams, workdir: Workdir | None):
        self.config = config
        self.economy = economy
        self.workdir = workdir
        self.environment = OneStepEconomy(config.rate_step)
        learning = config.learning
        self.exact = learning.worker_kind == "exact"
        phase1 = dataclasses.replace(learning, phase2_updates=0)
        phase2 = dataclasses.replace(learning, phase1_updates=0)
        self.worker_learner = TwoLevel(phase1, self.environment, economy, has_planner=False)
        trained = learning.phase1_updates > 0
        self.planner_learner = TwoLevel(
            phase2, self.environment, economy, workers_are_trained=trained
        )
        self.adapting_learner = TwoLevel(
            phase2, self.environment, economy, has_planner=False, workers_are_trained=trained
        )
        self.rows: dict[str, list[dict[str, Any]]] = {}

    def learn_workers(self) -> RoleState | None:
        """Phase 1: what workers learned on random schedules, leaves ``[S, ...]``."""
        if self.exact or self.config.learning.phase1_updates == 0:
            return None
        params = one_step_params(self.economy)
        init = jax.jit(jax.vmap(self.worker_learner.init, (0, None)))
        state = init(self._keys(0), params)
        return self._train("phase1", self.worker_learner, state, "utility").workers

    def learn_planners(self, workers: RoleState | None) -> list[TwoLevelState]:
        """Phase 2 with a planner that learns: the final state ``[S, ...]`` per welfare function."""
        params = [one_step_params(self.economy, name) for name in WELFARE_NAMES]
        return self._phase2("planner", self.planner_learner, params, workers, "welfare")

    def adapt_to_schedules(
        self, workers: RoleState | None, schedules: Mapping[str, np.ndarray]
    ) -> dict[str, TwoLevelState]:
        """Phase 2 under fixed schedules: name to the final state ``[S, ...]``."""
        rates = np.stack(list(schedules.values()))
        distinct, lane_of = np.unique(rates, axis=0, return_inverse=True)
        params = [one_step_params(self.economy, fixed_rates=row) for row in distinct]
        lanes = self._phase2("fixed", self.adapting_learner, params, workers, "utility")
        return {name: lanes[i] for name, i in zip(schedules, lane_of.reshape(-1), strict=True)}

    def _keys(self, phase: int) -> jax.Array:
        """One key per seed; phases draw from streams of their own."""
        return jax.vmap(jax.random.fold_in, (0, None))(seed_keys(self.config), phase)

    def _phase2(
        self,
        stage: str,
        learner: TwoLevel,
        params: list[Any],
        workers: RoleState | None,
        progress_metric: str,
    ) -> list[TwoLevelState]:
        keys = self._keys(1)
        over_seeds = jax.vmap(learner.init, (0, None, None if workers is None else 0))
        over_lanes = jax.jit(jax.vmap(over_seeds, (None, 0, None)))
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
        state = over_lanes(keys, stacked, workers)
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), state)
        nothing_learns = self.exact and not learner.has_planner
        if not nothing_learns and learner.num_updates > 0:
            flat = self._train(stage, learner, flat, progress_metric)
        num_seeds = self.config.num_seeds
        return [
            jax.tree.map(lambda leaf, lane=lane: leaf[lane * num_seeds :][:num_seeds], flat)
            for lane in range(len(params))
        ]

    def _train(
        self, stage: str, learner: TwoLevel, state: TwoLevelState, progress_metric: str
    ) -> TwoLevelState:
        workdir = None
        if self.workdir is not None:
            workdir = dataclasses.replace(self.workdir, path=self.workdir.path / stage)
            if workdir.writes:
                pathlib.Path(workdir.path).mkdir(exist_ok=True)
        print(f"{stage}: {state.num_updates.size} runs x {learner.num_updates} updates", flush=True)
        state, self.rows[stage] = learn(
            learner, state, self.config.updates_per_segment, workdir, progress_metric
        )
        return state


def _join_metrics(workdir: Workdir, rows: Mapping[str, list[dict[str, Any]]]) -> None:
    """The main directory's metrics are those of its stages, one after the other."""
    lines = [json.dumps({"stage": stage, **row}) for stage in rows for row in rows[stage]]
    write_bytes(workdir.metrics, "".join(f"{line}\n" for line in lines).encode())


def _evaluate(stages: _Stages, lanes: list[TwoLevelState]) -> TaxModelResult:
    """Play greedily in each lane; ``lanes[w]`` is the model made for welfare function w."""
    one_seed = functools.partial(play, stages.planner_learner, stages.economy)
    in_lane = jax.jit(jax.vmap(one_seed))
    results = [jax.device_get(in_lane(lane)) for lane in lanes]
    outcomes = [result.learned for result in results]

    def stack(values: list[Any]) -> np.ndarray:
        return np.stack(values, axis=1).astype(np.float64)

    return TaxModelResult(
        rates=stack([result.rates for result in results]),
        hours=stack([outcome.hours for outcome in outcomes]),
        production=stack([outcome.production for outcome in outcomes]),
        coin=stack([outcome.coin for outcome in outcomes]),
        utility=stack([outcome.utility for outcome in outcomes]),
        equality=stack([outcome.equality for outcome in outcomes]),
        welfare=stack([o.welfare[w] for o, w in zip(outcomes, WELFARE_NAMES, strict=True)]),
        exact_welfare=stack(
            [r.exact.welfare[w] for r, w in zip(results, WELFARE_NAMES, strict=True)]
        ),
    )
