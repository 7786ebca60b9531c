"""What the launcher's modes do: compute, print, write files, return the figures of the last line.

Each takes the config and an opened work directory, or None to write nothing.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from ai_econ_jax.agents.ai_economist import figures, report, shortcuts, training
from ai_econ_jax.agents.ai_economist.compare import compare
from ai_econ_jax.agents.ai_economist.evaluation import Play, evaluate, regret, span_of_gain
from ai_econ_jax.agents.ai_economist.exact import exact_comparison
from ai_econ_jax.agents.ai_economist.experiment import (
    WELFARE_NAMES,
    ExperimentConfig,
    build_economy,
    schedule_of,
)
from ai_econ_jax.agents.ai_economist.tables import WELFARE_TITLES
from ai_econ_jax.agents.ai_economist.training import Trained
from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.one_step_economy import EconomyParams, bracket_optimum, equilibrium
from ai_econ_jax.envs.one_step_economy.optimum import check_searchable
from ai_econ_jax.statistics import mean_interval
from ai_econ_jax.workdir import Workdir, write_summary

Summary = dict[str, Any]
Run = Callable[[ExperimentConfig, Workdir | None], Summary]

_MAX_WORKERS_SHOWN = 20


def plan(
    config: ExperimentConfig, mode: str, restored: pathlib.Path | None
) -> tuple[ExperimentConfig, Run]:
    """The config with short flags applied, and what to run, both checked.

    Args:
      config: As ``--config.…`` and ``--preset`` made it.
      mode: train, compare, optimum or eval.
      restored: With mode eval, the work directory of a training run.

    Raises:
      ValueError: Flags that contradict each other, or see ``check``.
      FileNotFoundError: No such file or run.
    """
    if (mode == "eval") != (restored is not None):
        raise ValueError("--restore is required by --mode=eval and read by no other mode")
    runs: dict[str, Run] = {"train": run_train, "compare": run_compare, "optimum": run_optimum}
    if restored is None:
        config, run = shortcuts.apply(config), runs[mode]
    else:
        trained_config, config = shortcuts.apply_to_restored(training.read_config(restored), config)
        run = functools.partial(run_eval, trained_config=trained_config, restored=restored)
    check(config, mode)
    return config, run


def check(config: ExperimentConfig, mode: str) -> None:
    """Checks what the config's own rules cannot see, before anything is written or compiled.

    Raises:
      ValueError: An economy that cannot be, rates that do not fit it, or no exact optimum to find.
      FileNotFoundError: The skills file does not exist.
    """
    economy = build_economy(config.economy)
    if config.tax == "fixed":
        brackets.validate_rates(config.rates, economy.num_brackets)
    if mode in ("compare", "optimum"):
        check_searchable(economy, config.rate_step)


def run_compare(config: ExperimentConfig, workdir: Workdir | None) -> Summary:
    """All tax models, learned and exact: tables, CSV files, figures."""
    comparison = compare(config, workdir)
    workers = config.learning.worker_kind
    print(report.report(comparison, workers))
    if workdir is not None:
        report.write_tables(comparison, workdir, workers)
        figures.write_figures(comparison, workdir)
        write_summary(workdir, report.summary(comparison))
    return report.headline(comparison)


def run_optimum(config: ExperimentConfig, workdir: Workdir | None) -> Summary:
    """The exact side alone: every tax model but the planner, and the optimal rates."""
    comparison = exact_comparison(config)
    print(report.report(comparison, "exact"))
    print("\nOptimal rates, lowest bracket first (of rates without effect, the lowest stands)")
    for name, rates in comparison.optimum.rates.items():
        print(f"  {WELFARE_TITLES[name]:20}", " ".join(f"{rate:.2f}" for rate in rates))
    if workdir is not None:
        report.write_tables(comparison, workdir, "exact")
        figures.write_figures(comparison, workdir)
        best = {f"optimum_rates/{w}": rates for w, rates in comparison.optimum.rates.items()}
        write_summary(workdir, report.summary(comparison) | best)
    return {f"optimum/{name}": value for name, value in comparison.optimum.welfare.items()}


def run_train(config: ExperimentConfig, workdir: Workdir | None) -> Summary:
    """One two-level training, judged by greedy play and by regret."""
    trained = training.train(config, workdir)
    summary = _judge(config, trained, evaluate(trained.learner, trained.economy, trained.states))
    if workdir is not None:
        write_summary(workdir, summary)
        if workdir.writes:
            phase1 = config.learning.phase1_updates
            path = workdir.figures / "training_curves.png"
            figures.training_curves(trained.rows, phase1, config.welfare, path)
    return _headline(config, summary)


def run_eval(
    config: ExperimentConfig,
    workdir: Workdir | None,
    *,
    trained_config: ExperimentConfig,
    restored: pathlib.Path,
) -> Summary:
    """A trained run under ``config.tax``: greedy play and regret; nothing learns.

    Args:
      config: What to play.
      workdir: Where to write the summary.
      trained_config: How the run was trained, with the economy to play in.
      restored: Work directory of the training run.
    """
    if config.tax == "planner" != trained_config.tax:
        raise ValueError(
            f"tax = 'planner': the run in {restored} has no planner, it was trained under "
            f"{trained_config.tax}"
        )
    trained = training.restore(restored, trained_config)
    rates = schedule_of(config, trained.economy)
    played = evaluate(trained.learner, trained.economy, trained.states, rates)
    summary = _judge(config, trained, played)
    if workdir is not None:
        write_summary(workdir, summary)
    return _headline(config, summary)


def _judge(config: ExperimentConfig, trained: Trained, played: Play) -> Summary:
    """Prints what happened and returns the flat summary of a trained run."""
    summary = _summary(config, trained, played)
    print(_worker_table(trained.economy, played))
    print(f"\n{'welfare':20} {report.TAX_MODEL_TITLES[config.tax]:>18} {'exact workers':>14}")
    for name in WELFARE_NAMES:
        key = f"{name}/{config.tax}/mean"
        mean, exact = summary[f"welfare/{key}"], summary[f"exact_welfare/{key}"]
        half_width = summary[f"welfare/{name}/{config.tax}/ci95"]
        spread = "" if np.isnan(half_width) else f" ± {half_width:.2f}"
        title = WELFARE_TITLES[name]
        print(f"{title:20} {f'{mean:.2f}{spread}':>18} {exact:14.2f}")
    print(f"\nrates, mean over seeds: {' '.join(f'{rate:.2f}' for rate in summary['rates'])}")
    loss, worst = summary["regret/mean"], summary["regret/max"]
    print(
        f"regret of workers on random schedules: {loss:.2%} of utility, {worst:.2%} at most over "
        "seeds"
    )
    return summary


def _summary(config: ExperimentConfig, trained: Trained, played: Play) -> Summary:
    economy, goal, tax = trained.economy, config.welfare, config.tax
    optimum = _optimum(economy, config.rate_step)
    free = equilibrium(economy, jnp.zeros(economy.num_brackets)).welfare
    losses = regret(trained.learner, economy, trained.states)
    summary: Summary = {}
    for name in WELFARE_NAMES:
        mean, half_width = mean_interval(played.learned.welfare[name])
        summary |= {
            f"welfare/{name}/{tax}/mean": float(mean),
            f"welfare/{name}/{tax}/ci95": float(half_width),
            f"exact_welfare/{name}/{tax}/mean": float(played.exact.welfare[name].mean()),
            f"exact_welfare/{name}/free_market/mean": float(free[name]),
            f"optimum/{name}": optimum.get(name, np.nan),
        }
    span = span_of_gain(float(free[goal]), summary[f"optimum/{goal}"])
    gain = (played.learned.welfare[goal] - float(free[goal])) / span
    return summary | {
        f"gain/{goal}/{tax}": float(np.median(gain)),
        f"gain_min/{goal}/{tax}": float(gain.min()),
        "regret/mean": float(losses.mean()),
        "regret/max": float(losses.max()),
        "rates": np.round(np.mean(played.rates, axis=0, dtype=np.float64), 6),
    }


def _headline(config: ExperimentConfig, summary: Summary) -> Summary:
    goal = f"{config.welfare}/{config.tax}"
    keys = [f"welfare/{goal}/mean", f"gain/{goal}", "regret/mean"]
    return {key: summary[key] for key in keys}


def _optimum(economy: EconomyParams, rate_step: float) -> dict[str, float]:
    """Welfare of the exact optimum; empty where it cannot be computed, which a line then says."""
    try:
        return bracket_optimum(economy, rate_step).welfare
    except ValueError as error:
        print(f"no exact optimum, hence no gain: {error}")
        return {}


def _worker_table(economy: EconomyParams, played: Play) -> str:
    """Hours, incomes and utilities by worker, means over seeds."""
    skills = np.asarray(economy.skills)
    order = np.argsort(skills)
    if len(order) > _MAX_WORKERS_SHOWN:
        order = order[np.linspace(0, len(order) - 1, _MAX_WORKERS_SHOWN).round().astype(int)]
    columns = {
        "skill": skills,
        "hours": np.mean(played.learned.hours, axis=0),
        "best hours": np.mean(played.exact.hours, axis=0),
        "income": np.mean(played.learned.production, axis=0),
        "tax": np.mean(played.learned.tax, axis=0),
        "coin": np.mean(played.learned.coin, axis=0),
        "utility": np.mean(played.learned.utility, axis=0),
    }
    shown = f", {len(order)} of {len(skills)} shown" if len(order) < len(skills) else ""
    lines = [f"Workers by skill, means over seeds{shown}", "".join(f"{c:>12}" for c in columns)]
    return "\n".join(
        lines + ["".join(f"{values[i]:12.2f}" for values in columns.values()) for i in order]
    )
