"""Holds the results of ``make results`` against what the AI Economist must reach.

    python benchmarks/bars.py DIRECTORY

``DIRECTORY`` holds the work directories ``one_step`` (learned, R1), ``r1_exact``, ``r2_exact``,
``r1_train``, ``gtb`` (gather-trade-build, preset quick), ``gtb_speed.json`` and
``ai_economist_profile.json``. Prints each figure beside its bar; exit code 1 if one is missed.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
from typing import Any

GOALS = ("inverse_income_utility", "equality_times_productivity")


def gather_trade_build(figures: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Bars of preset quick; lists are by seed."""

    def mean(lane: str, what: str) -> float:
        return statistics.fmean(figures[f"lane/{lane}/{what}"])

    builds = figures["lane/free_market/most_skilled_builds_most"]
    equality = mean("flat_50", "equality") - mean("free_market", "equality")
    productivity = mean("free_market", "productivity") - mean("flat_50", "productivity")
    return [
        (
            "gtb: utility of workers behind phase 1, worst seed",
            min(figures["phase1/utility"]),
            10.0,
        ),
        ("gtb: most skilled worker builds most, share of episodes", statistics.fmean(builds), 0.8),
        ("gtb: equality under a 50% flat tax over the free market's", equality, 0.0),
        ("gtb: productivity in the free market over a 50% flat tax's", productivity, 0.0),
    ]


def main() -> int:
    directory = pathlib.Path(sys.argv[1])

    def summary(name: str) -> dict[str, float]:
        return json.loads((directory / name / "summary.json").read_text(encoding="utf-8"))

    checks: list[tuple[str, float, float]] = []  # what, measured, at least
    for run in ("r1_exact", "r2_exact"):
        for goal in GOALS:
            figure = summary(run)[f"gain/{goal}/planner"]
            checks.append((f"{run}: gain, {goal}, median over seeds", figure, 0.95))
    learned = summary("one_step")
    for goal in GOALS:
        checks.append((f"learned: gain, {goal}, median", learned[f"gain/{goal}/planner"], 0.90))
        checks.append(
            (f"learned: gain, {goal}, minimum", learned[f"gain_min/{goal}/planner"], 0.90)
        )
    checks.append(("learned: -regret / utility", -summary("r1_train")["regret/max"], -0.01))

    def interval(model: str) -> tuple[float, float]:
        key = f"welfare/{GOALS[0]}/{model}"
        return learned[f"{key}/mean"], learned[f"{key}/ci95"]

    planner, planner_width = interval("planner")
    for model in ("us_federal", "flat", "saez"):
        other, width = interval(model)
        gap = planner - planner_width - (other + width)
        checks.append((f"learned: planner above {model}, gap of the intervals", gap, 0.0))
    speed = json.loads((directory / "gtb_speed.json").read_text(encoding="utf-8"))
    checks += [
        ("gather-trade-build: times the official speed, N = 4", speed["speedup/n4"], 60.0),
        ("gather-trade-build: times the official speed, N = 10", speed["speedup/n10"], 40.0),
        ("gather-trade-build: -seconds to compile, N = 4", -speed["compile_seconds/n4"], -60.0),
        ("gather-trade-build: -KiB of state, N = 4", -speed["state_bytes/n4"] / 1024, -64.0),
        ("gather-trade-build: -cost of a step over linear in N", -speed["cost_growth"], -1.0),
    ]
    checks += gather_trade_build(summary("gtb"))
    profile = json.loads((directory / "ai_economist_profile.json").read_text(encoding="utf-8"))
    checks += [
        (
            "gtb: light train step over the official bare step",
            profile["speedup/light"],
            20.0,
        ),
        ("gtb: -environment's share, paper networks", -profile["share/environment/paper"], -0.5),
    ]
    for what, figure, bar in checks:
        print(f"{'ok  ' if figure >= bar else 'MISS'} {what}: {figure:.4f} (at least {bar})")
    return int(any(figure < bar for _, figure, bar in checks))


if __name__ == "__main__":
    sys.exit(main())
