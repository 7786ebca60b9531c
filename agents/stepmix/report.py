"""What a comparison says in words and numbers: the opening lines, the table, CSV, the summary.

Values are in units of the original rewards. Axes: B seeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ai_econ_jax.agents.stepmix.confidence import RIGOROUS
from ai_econ_jax.agents.stepmix.config import ALGORITHMS, RunConfig, StepMixConfig
from ai_econ_jax.agents.stepmix.experiment import Comparison, comparison_of
from ai_econ_jax.agents.stepmix.run import Trace
from ai_econ_jax.agents.stepmix.setting import Setting
from ai_econ_jax.tables import csv_text, markdown
from ai_econ_jax.workdir import Workdir, write_bytes, write_summary

TITLES = {
    "stepmix": "StepMix",
    "epsmix": "EpsMix",
    "ucbvi": "UCBVI",
    "switch": "Switch",
    "budget": "Budget",
    "baseline": "Baseline",
    "allstep": "AllStep",
    "greedy_stepmix": "greedy StepMix",
    "ucbvi_simple": "UCBVI, simple bonus",
    "dope": "DOPE",
    "optpess_lp": "OptPess-LP",
    "ppo_tabular": "tabular PPO",
}
# Whose bounds the configured preset does not decide.
_OWN_BOUNDS = ("baseline", "greedy_stepmix", "ucbvi_simple", "dope", "optpess_lp", "ppo_tabular")
_DRAWS = "epsmix"  # whose guarantee is on the mixture, not on the policy drawn

_COLUMNS = (
    "algorithm",
    "regret",
    "2nd half",
    "violating episodes",
    "runs violating",
    "worst shortfall",
    "leaves baseline",
    "fully optimistic",
    "last gap",
    "episodes/s",
)


def algorithms() -> str:
    """All names of algorithms, a line each."""
    width = max(map(len, ALGORITHMS))
    return "\n".join(f"{name:{width}}  {about}" for name, about in ALGORITHMS.items())


def opening(setting: Setting, config: StepMixConfig) -> str:
    """What is known before anything runs: the problem, its exact values, the constraint."""
    known = comparison_of(config, setting, {})
    horizon, states, actions = known.shape
    how = setting.run
    blocks = f", replanning every {how.replan_every}" if how.replan_every > 1 else ""
    lines = [
        f"{known.name}: S = {states} states, A = {actions} actions, H = {horizon} steps",
        f"V* = {known.optimal_value:.10g}, V(baseline) = {known.baseline_value:.10g}, "
        f"gamma = {known.gamma:.10g}, kappa = V(baseline) - gamma = {known.kappa:.6g}",
        f"{config.num_seeds} seeds x {how.episodes} episodes{blocks}; bonus {how.bonus}, "
        f"delta {how.delta:g}",
    ]
    if setting.learned is not None:
        verdict = "certified" if setting.learned.certified else "NOT certified"
        lines.append(
            f"baseline learned from {config.problem.offline_data}: {verdict}, worth at least "
            f"{known.certificate:.6g}"
        )
    if is_heuristic(how):
        scale = f" at scale {how.bonus_scale:g}" if how.bonus_scale < 1 else ""
        lines.append(
            f"heuristic interval: the bonus {how.bonus}{scale} is no confidence set at all times "
            "for all value functions, so nothing is guaranteed"
        )
    return "\n".join(lines)


def is_heuristic(how: RunConfig) -> bool:
    """Whether the confidence set is not rigorous."""
    return how.bonus not in RIGOROUS or how.bonus_scale < 1


def table(comparison: Comparison) -> str:
    """A Markdown table with one row per algorithm, readable on a terminal too, and its notes."""
    lines = markdown(
        _COLUMNS, {TITLES[name]: _cells(comparison, name) for name in comparison.traces}
    )
    return "\n".join(["", *lines, "", *(f"- {note}" for note in _notes(comparison))])


def headline(comparison: Comparison) -> dict[str, str]:
    """The few figures of the last printed line."""
    figures = summary(comparison)
    name = next(iter(comparison.traces))
    keys = ("regret_mean", "violating_episodes_max", "leave_episode_median")
    return {f"{name}/{key}": f"{figures[f'{name}/{key}']:.6g}" for key in keys}


def summary(comparison: Comparison) -> dict[str, Any]:
    """The flat dictionary for ``summary.json``; what never happens is infinite."""
    horizon, states, actions = comparison.shape
    config = comparison.config
    figures: dict[str, Any] = {
        "problem": comparison.name,
        "num_states": states,
        "num_actions": actions,
        "horizon": horizon,
        "optimal_value": comparison.optimal_value,
        "baseline_value": comparison.baseline_value,
        "gamma": comparison.gamma,
        "kappa": comparison.kappa,
        "episodes": config.run.episodes,
        "seeds": list(range(config.seed, config.seed + config.num_seeds)),
        "heuristic_interval": is_heuristic(config.run),
    }
    if comparison.certificate is not None:
        figures["baseline_certificate"] = comparison.certificate
    for name, trace in comparison.traces.items():
        figures |= {f"{name}/{key}": value for key, value in figures_of(trace).items()}
    return figures


def figures_of(trace: Trace) -> dict[str, float]:
    """The headline figures of one algorithm's runs; spreads are over seeds."""
    seeds = len(trace.regret)
    return {
        "regret_mean": float(trace.regret.mean()),
        "regret_std": float(trace.regret.std(ddof=1)) if seeds > 1 else np.nan,
        "second_half_regret_mean": float(trace.second_half_regret.mean()),
        "violating_episodes_mean": float(trace.violations.mean()),
        "violating_episodes_max": int(trace.violations.max()),
        "runs_with_violation": float((trace.violations > 0).mean()),
        "worst_shortfall": float(trace.shortfall.max()),
        "drawn_violating_episodes_mean": float(trace.drawn_violations.mean()),
        "broken_certificates": int(trace.broken_certificates.sum()),
        "leave_episode_median": _median_episode(trace.leave),
        "full_episode_median": _median_episode(trace.full),
        "last_gap_mean": float(trace.last_gap.mean()),
        "seed_episodes_per_second": seeds * float(trace.episode[-1]) / trace.seconds,
    }


def write_summaries(comparison: Comparison, workdir: Workdir) -> None:
    """Writes ``summary.csv``, one row per algorithm, ``table.md`` and ``summary.json``."""
    if not workdir.writes:
        return
    rows = {name: figures_of(trace) for name, trace in comparison.traces.items()}
    text = csv_text({"algorithm": name, **row} for name, row in rows.items())
    write_bytes(workdir.path / "summary.csv", text.encode())
    write_bytes(workdir.path / "table.md", (table(comparison).lstrip() + "\n").encode())
    write_summary(workdir, summary(comparison))


def _median_episode(episodes: np.ndarray) -> float:
    """Median over seeds, of which -1 stands for never."""
    return float(np.median(np.where(episodes < 0, np.inf, episodes)))


def _cells(comparison: Comparison, name: str) -> tuple[str, ...]:
    figures = figures_of(comparison.traces[name])
    spread = figures["regret_std"]
    shortfall = figures["worst_shortfall"]
    return (
        number(figures["regret_mean"]) + ("" if np.isnan(spread) else f" ± {number(spread)}"),
        number(figures["second_half_regret_mean"]),
        f"{figures['violating_episodes_mean']:.4g} ({figures['violating_episodes_max']})",
        f"{figures['runs_with_violation']:.0%}",
        number(shortfall) if figures["runs_with_violation"] else f"margin {number(-shortfall)}",
        _episode(figures["leave_episode_median"]),
        _episode(figures["full_episode_median"]),
        number(figures["last_gap_mean"]),
        number(figures["seed_episodes_per_second"]),
    )


def _notes(comparison: Comparison) -> list[str]:
    seeds = comparison.config.num_seeds
    spread = f", mean ± standard deviation over {seeds} seeds" if seeds > 1 else ""
    notes = [
        f"Regret{spread}: sum of V* - V(policy) over all episodes, exact. 2nd half: of the second "
        "half of the episodes; last gap: mean over the last 1,000.",
        "Violating episodes: V(policy) < gamma; mean (most of any seed). Shortfall: largest gamma "
        "- V(policy) of any episode; margin: how far above gamma the worst one stayed.",
        "Leaves baseline, fully optimistic: first such episode, median over seeds.",
    ]
    drawn = comparison.traces.get(_DRAWS)
    if drawn is not None:
        notes.append(
            f"{TITLES[_DRAWS]} is judged as a mixture, which is what it guarantees. The policy "
            f"drawn was worth less than gamma in {drawn.drawn_violations.mean():.4g} episodes per "
            "run."
        )
    broken = {n: int(t.broken_certificates.sum()) for n, t in comparison.traces.items()}
    if any(broken.values()):
        told = ", ".join(f"{TITLES[name]} {count}" for name, count in broken.items() if count)
        notes.append(f"Episodes whose gap exceeded its certificate, over all seeds: {told}.")
    if is_heuristic(comparison.config.run) and set(comparison.traces) - set(_OWN_BOUNDS):
        notes.append(f"Heuristic interval: {comparison.config.run.bonus} guarantees nothing.")
    return notes


def _episode(median: float) -> str:
    return "never" if np.isinf(median) else f"{median:,.0f}"


def number(value: float) -> str:
    """A value with at least three digits, the fewer behind the point the larger it is."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
