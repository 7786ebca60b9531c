"""Holds the results of ``make results`` against what was asked for.

    python benchmarks/bars.py DIRECTORY

``DIRECTORY`` holds the work directories ``one_step`` (learned, R1), ``r1_exact``, ``r2_exact`` and
``r1_train`` of the one-step economy, and ``gtb_speed.json``. Prints each figure beside its bar;
exit code 1 if one is missed.
"""

from __future__ import annotations

import json
import pathlib
import sys

GOALS = ("inverse_income_utility", "equality_times_productivity")


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
    for what, figure, bar in checks:
        print(f"{'ok  ' if figure >= bar else 'MISS'} {what}: {figure:.4f} (at least {bar})")
    return int(any(figure < bar for _, figure, bar in checks))


if __name__ == "__main__":
    sys.exit(main())
