"""Holds StepMix and its companions against what is claimed of them, on the built-in problems.

The bars have the numbers of the specification: 9 no violation where UCBVI violates, recounted by an
independent evaluator in NumPy; 10 negative controls; 11 learning is not compromised; 12 exact
regret of those that never leave the baseline; 13 and 14 when StepMix leaves the baseline, predicted
and as a power of 1 / kappa; 15 neither mixture dominates; 16 certificates. Every run replans after
each of the first 200 episodes and after every tenth from then on.

    python benchmarks/stepmix_claims.py [--seeds=64] [--scale=1.0] [--only=9,11] --json=FILE

Writes the figures, and prints the table of the bars; exit code 1 if one is missed. ``--scale``
makes runs shorter, to try the script out.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import app, flags
from scipy import special

import ai_econ_jax  # noqa: F401  # sizes the thread pool before JAX starts
from ai_econ_jax.agents.stepmix.config import RunConfig
from ai_econ_jax.agents.stepmix.run import Trace, run
from ai_econ_jax.envs.tabular import dynamic_programming, suite
from ai_econ_jax.envs.tabular.mdp import Problem

FLAGS = flags.FLAGS
DELTA = 0.05
FIRST_EPISODES, REPLAN_EVERY = 200, 10
RECOUNTED_SEEDS = 3


@dataclasses.dataclass(frozen=True)
class Case:
    """A problem with its constraint."""

    problem: Problem
    gamma: float
    optimal: float
    baseline: float
    episodes: int

    @property
    def kappa(self) -> float:
        return self.baseline - self.gamma


def case(name: str, episodes: int, gamma_frac: float = 0.9, **options: Any) -> Case:
    with jax.enable_x64(True):
        problem = suite.load(name, **options)
        optimal = float(problem.mdp.initial @ dynamic_programming.optimal(problem.mdp)[0][0])
        baseline = float(dynamic_programming.value(problem.mdp, problem.baseline))
        mdp, policy = jax.tree.map(np.asarray, (problem.mdp, problem.baseline))
    problem = dataclasses.replace(problem, mdp=mdp, baseline=policy)
    episodes = max(2 * FIRST_EPISODES, int(episodes * FLAGS.scale))
    return Case(problem, gamma_frac * baseline, optimal, baseline, episodes)


def cases() -> dict[str, Case]:
    return {
        "cliff3": case("cliff3", 30_000),
        "bandit2": case("bandit2", 60_000),
        "lock": case("lock", 30_000),
        "trap2": case("trap2", 10_000, gamma_frac=0.97),
        "dirichlet_sparse 1": case("dirichlet_sparse", 20_000, seed=1),
        "dirichlet_sparse 2": case("dirichlet_sparse", 20_000, seed=2),
    }


# Regret, violating episodes, and first fully optimistic episode of a prototype of 8 seeds.
PROTOTYPE = {
    ("cliff3", "ucbvi"): (504, 22.8, 0),
    ("cliff3", "stepmix"): (2761, 0, 3896),
    ("cliff3", "epsmix"): (3510, 0, 4260),
    ("bandit2", "ucbvi"): (59, 55, 0),
    ("bandit2", "stepmix"): (1232, 0, 5765),
    ("bandit2", "epsmix"): (1111, 0, 4955),
    ("lock", "ucbvi"): (190, 69, 0),
    ("lock", "stepmix"): (3755, 0, 3581),
    ("lock", "epsmix"): (1138, 0, 1016),
    ("trap2", "ucbvi"): (4, 0, 0),
    ("trap2", "stepmix"): (71, 0, 222),
    ("trap2", "epsmix"): (3869, 0, 8768),
    ("dirichlet_sparse 1", "ucbvi"): (262, 107, 0),
    ("dirichlet_sparse 1", "stepmix"): (590, 0, 4882),
    ("dirichlet_sparse 1", "epsmix"): (623, 0, 4755),
    ("dirichlet_sparse 2", "ucbvi"): (111, 126, 0),
    ("dirichlet_sparse 2", "stepmix"): (113, 0, 1934),
    ("dirichlet_sparse 2", "epsmix"): (107, 0, 2026),
}


def keys(seeds: int | np.ndarray) -> jax.Array:
    return jax.vmap(jax.random.key)(np.arange(seeds) if isinstance(seeds, int) else seeds)


def play(
    algorithm: str,
    where: Case,
    seeds: int | np.ndarray,
    *,
    episodes: int | None = None,
    log_points: int = 200,
    **changes: Any,
) -> Trace:
    config = RunConfig(
        episodes=episodes or where.episodes,
        delta=DELTA,
        replan_every=REPLAN_EVERY,
        log_points=log_points,
        **{key: value for key, value in changes.items() if key != "log_policies"},
    )
    problem = where.problem
    assert problem.baseline is not None
    started = time.perf_counter()
    trace = run(
        algorithm,
        problem.mdp,
        problem.baseline,
        where.gamma,
        keys(seeds),
        config,
        log_policies=changes.get("log_policies", False),
    )
    seconds = time.perf_counter() - started
    print(f"  {problem.name} {algorithm}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return trace


class Report:
    """Bars with their figures, and everything measured, for the file."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}
        self.bars: list[tuple[str, str, str, bool]] = []

    def bar(self, number: str, what: str, figure: str, met: bool) -> None:
        self.bars.append((number, what, figure, bool(met)))
        print(f"{'ok  ' if met else 'MISS'} {number}. {what}: {figure}", flush=True)


@functools.cache
def main_run(algorithm: str, name: str) -> Trace:
    return play(algorithm, cases()[name], FLAGS.seeds)


# --- bar 9, 16: no violation, and certificates


def recounted(algorithm: str, where: Case, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Violating episodes by the run and by an evaluator of its logged policies, per seed."""
    trace = play(algorithm, where, seeds, log_points=where.episodes, log_policies=True)
    policies = np.moveaxis(np.asarray(trace.policies, np.float64), -1, 0)  # [B, T, H, S, A]
    lengths = np.diff(trace.episode, prepend=0)
    counts = []
    for policy, share in zip(policies, np.asarray(trace.shares, np.float64).T, strict=True):
        value = numpy_value(where.problem, policy)
        value = share * value + (1 - share) * where.baseline
        short = value < where.gamma - 1e-6 * policy.shape[1]
        counts.append(int(lengths[short].sum()))
    return trace.violations, np.asarray(counts)


def numpy_value(problem: Problem, policies: np.ndarray) -> np.ndarray:
    """Expected returns f[T] of policies f[T, H, S, A], by pushing the law of states forward."""
    transition, reward = np.asarray(problem.mdp.transition), np.asarray(problem.mdp.reward)
    law = np.broadcast_to(np.asarray(problem.mdp.initial), (len(policies), reward.shape[1]))
    value = np.zeros(len(policies))
    for step in range(reward.shape[0]):
        visits = law[:, :, None] * policies[:, step]
        value += (visits * reward[step]).sum((1, 2))
        law = np.einsum("tsa,sax->tx", visits, transition[step])
    return value


def no_violations(report: Report) -> None:
    safe_total, share_of_runs, agreed, recount = 0, {}, True, {}
    generator = np.random.default_rng(0)
    for name, where in cases().items():
        for algorithm in ("stepmix", "epsmix", "ucbvi"):
            trace = main_run(algorithm, name)
            report.figures[f"{name}/{algorithm}"] = summary(trace)
            prototype = PROTOTYPE[name, algorithm]
            regret = f"{trace.regret.mean():.0f} ± {trace.regret.std():.0f}"
            print(
                f"  {name:18} {algorithm:8} regret {regret:>12} (prototype {prototype[0]}), "
                f"violations {trace.violations.mean():.1f} (max {trace.violations.max()}; "
                f"{prototype[1]}), shortfall {trace.shortfall.max():.3f}, "
                f"leave {median_episode(trace.leave):.0f}, "
                f"full {median_episode(trace.full):.0f} ({prototype[2]})",
                flush=True,
            )
            if algorithm == "ucbvi":
                share_of_runs[name] = float((trace.violations > 0).mean())
            else:
                safe_total += int(trace.violations.sum())
            seeds = np.sort(generator.choice(FLAGS.seeds, RECOUNTED_SEEDS, replace=False))
            ours, theirs = recounted(algorithm, where, seeds)
            in_batch = trace.violations[seeds]
            agreed &= bool((ours == theirs).all() and (in_batch == theirs).all())
            recount[f"{name}/{algorithm}"] = [
                list(map(int, part)) for part in (seeds, ours, theirs, in_batch)
            ]
    report.figures["recount: seeds, alone, by NumPy, in the large run"] = recount
    report.bar(
        "9",
        f"violating episodes of StepMix and EpsMix (mixture), {FLAGS.seeds} seeds x 6 problems",
        f"{safe_total}",
        safe_total == 0,
    )
    others = {name: share for name, share in share_of_runs.items() if name != "trap2"}
    report.bar(
        "9",
        "share of UCBVI runs that violate, all problems but trap2, least",
        f"{min(others.values()):.2f}",
        min(others.values()) == 1,
    )
    report.bar(
        "9",
        f"an independent count from the logged policies of {RECOUNTED_SEEDS} seeds agrees",
        "all" if agreed else "NOT all",
        agreed,
    )


def median_episode(first: np.ndarray) -> float:
    """Median of first episodes, where never, -1, comes after all."""
    return float(np.median(np.where(first < 0, np.inf, first)))


def summary(trace: Trace) -> dict[str, float]:
    return {
        "regret_mean": float(trace.regret.mean()),
        "regret_std": float(trace.regret.std()),
        "second_half_regret_mean": float(trace.second_half_regret.mean()),
        "last_gap_mean": float(trace.last_gap.mean()),
        "violating_episodes_mean": float(trace.violations.mean()),
        "violating_episodes_max": int(trace.violations.max()),
        "runs_with_violation": float((trace.violations > 0).mean()),
        "drawn_violations_mean": float(trace.drawn_violations.mean()),
        "worst_shortfall": float(trace.shortfall.max()),
        "leave_episode_median": median_episode(trace.leave),
        "full_episode_median": median_episode(trace.full),
        "broken_certificates": int(trace.broken_certificates.sum()),
        "seconds": trace.seconds,
    }


def certificates(report: Report) -> None:
    broken = sum(
        int(main_run(algorithm, name).broken_certificates.sum())
        for name in cases()
        for algorithm in ("stepmix", "epsmix")
    )
    last = main_run("stepmix", "cliff3")
    bound = float((last.curves["upper"][-1] - last.curves["guaranteed"][-1]).mean())
    gap = float(last.curves["gap"][-1].mean())
    report.bar("16", "episodes whose gap exceeds its certificate", f"{broken}", broken == 0)
    print(f"  cliff3, StepMix, at the end: certificate {bound:.3f}, gap {gap:.4f}", flush=True)
    report.figures["cliff3/stepmix/final"] = {"certificate": bound, "gap": gap}


# --- bar 10: negative controls


def negative_controls(report: Report) -> None:
    for name, least in (
        ("cliff3", 0.8),
        ("bandit2", 0.8),
        ("lock", 0.8),
        ("dirichlet_sparse 2", 0.2),
    ):
        trace = play("greedy_stepmix", cases()[name], 40, episodes=5000)
        share = float((trace.violations > 0).mean())
        what = f"no bonus, {name}: share of 40 runs that violate, at least {least}"
        report.bar("10", what, f"{share:.2f}", share >= least)
    trace = play("allstep", cases()["trap2"], 40)
    share = float((trace.violations > 0).mean())
    what = "mixing at all steps, trap2: share of 40 runs that violate, at least 0.2"
    report.bar("10", what, f"{share:.2f}", share >= 0.2)


# --- bars 11, 12, 15: what safety costs


def learning(report: Report) -> None:
    where = cases()["cliff3"]
    stepmix, ucbvi = main_run("stepmix", "cliff3"), main_run("ucbvi", "cliff3")
    never_learned = where.episodes * (where.optimal - where.baseline)
    share = stepmix.regret.mean() / never_learned
    report.bar("11", "cliff3: regret of StepMix over baseline's", f"{share:.3f}", share <= 0.15)
    ratio = stepmix.second_half_regret.mean() / ucbvi.second_half_regret.mean()
    what = "cliff3: second-half regret of StepMix over UCBVI's"
    report.bar("11", what, f"{ratio:.2f}", ratio <= 1.5)
    gap = stepmix.last_gap.mean()
    report.bar("11", "cliff3: mean gap of the last 1000 episodes", f"{gap:.4f}", gap <= 0.02)
    stepmix, ucbvi = (main_run(name, "dirichlet_sparse 2") for name in ("stepmix", "ucbvi"))
    ratio = stepmix.regret.mean() / ucbvi.regret.mean()
    violations = stepmix.violations.sum(), ucbvi.violations.mean()
    report.bar(
        "11",
        "dirichlet_sparse 2: regret of StepMix over UCBVI's (violating episodes of each)",
        f"{ratio:.2f} ({violations[0]}, {violations[1]:.0f} on average)",
        ratio <= 1.25 and violations[0] == 0 and violations[1] > 50,
    )


def exact_regret(report: Report) -> None:
    worst = 0.0
    for name in ("cliff3", "bandit2", "lock"):
        where = cases()[name]
        expected = where.episodes * (where.optimal - where.baseline)
        for algorithm in ("switch", "baseline"):
            trace = play(algorithm, where, 2)
            report.figures[f"{name}/{algorithm}"] = summary(trace)
            worst = max(worst, float(np.abs(trace.regret / expected - 1).max()))
    what = "regret of Switch and Baseline over K (V* - V_b) - 1, largest"
    report.bar("12", what, f"{worst:.1e}", worst <= 1e-6)


def neither_dominates(report: Report) -> None:
    for name, first, second, least in (
        ("trap2", "epsmix", "stepmix", 10.0),
        ("lock", "stepmix", "epsmix", 1.5),
    ):
        ratio = main_run(first, name).regret.mean() / main_run(second, name).regret.mean()
        what = f"{name}: regret of {first} over {second}'s, at least {least}"
        report.bar("15", what, f"{ratio:.1f}", ratio >= least)


# --- bars 13, 14: when StepMix leaves the baseline


def predicted_departure(gamma: float) -> int:
    """Smallest n with n kl(0.6, gamma) >= beta(n) on bandit2: S = 3, A = 5, H = 2."""
    n = np.arange(1, 200_000)
    divergence = special.rel_entr(0.6, gamma) + special.rel_entr(0.4, 1 - gamma)
    beta = np.log(30 / DELTA) + special.gammaln(n + 3) - special.gammaln(3) - special.gammaln(n + 1)
    return int(n[n * divergence >= beta][0])


def departures(report: Report) -> None:
    fractions = (0.95, 0.9, 0.8, 0.6, 0.4)
    for name, seeds in (("bandit2", 32), ("cliff3", 16)):
        leaves, kappas = [], []
        for fraction in fractions:
            where = case(name, 40_000, gamma_frac=fraction)
            trace = play("stepmix", where, seeds)
            leaves.append(float(np.where(trace.leave < 0, np.inf, trace.leave).mean()))
            kappas.append(where.kappa)
            if name == "bandit2":
                ratio = leaves[-1] / predicted_departure(where.gamma)
                what = f"bandit2, gamma = {where.gamma:.2f}: departure over prediction"
                report.bar("13", what, f"{ratio:.2f}", 0.6 <= ratio <= 1.15)
        slope = np.polyfit(np.log(1 / np.array(kappas[:4])), np.log(leaves[:4]), 1)[0]
        report.figures[f"{name}/departures"] = dict(zip(map(str, fractions), leaves, strict=True))
        what = f"{name}: slope of log departure in log 1 / kappa"
        report.bar("14", what, f"{slope:.2f}", 1.5 <= slope <= 2.5)


PARTS: dict[str, Callable[[Report], None]] = {
    "9": no_violations,
    "10": negative_controls,
    "11": learning,
    "12": exact_regret,
    "13": departures,
    "15": neither_dominates,
    "16": certificates,
}


def main(argv: list[str]) -> None:
    del argv
    report = Report()
    for number in FLAGS.only or PARTS:
        PARTS[number](report)
    print("\n| bar | what | measured | met |\n|---|---|---|---|")
    for number, what, figure, met in report.bars:
        print(f"| {number} | {what} | {figure} | {'yes' if met else '**no**'} |")
    if FLAGS.json:
        figures = report.figures | {"bars": report.bars}
        with open(FLAGS.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)
    sys.exit(any(not met for *_, met in report.bars))


if __name__ == "__main__":
    flags.DEFINE_integer("seeds", 64, "Seeds of the main runs.", lower_bound=RECOUNTED_SEEDS)
    flags.DEFINE_float("scale", 1.0, "Shortens the main runs.", lower_bound=0.0)
    flags.DEFINE_multi_enum(
        "only", None, list(PARTS), "Bars to measure, all by default; 13: 14 too."
    )
    flags.DEFINE_string("json", None, "Write all figures to this file.")
    app.run(main)
