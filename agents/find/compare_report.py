"""What a comparison says in words, numbers and files."""

from __future__ import annotations

import math
from typing import Any

from ai_econ_jax.agents.find import compare as compare_lib
from ai_econ_jax.agents.find import report
from ai_econ_jax.agents.find.compare import CompareConfig, Reached, Result, Row
from ai_econ_jax.tables import csv_text, markdown
from ai_econ_jax.workdir import Workdir, write_bytes, write_summary

_COLUMNS = ("", "images", "forwards", *report.COLUMNS[1:], "s", "MiB")
_REACH_COLUMNS = ("", "images", "times fewer", "forwards", "times fewer", "s", "times faster")


def opening(config: CompareConfig, rows: list[Row]) -> str:
    """What is known before anything runs."""
    run = config.run
    names = ", ".join(row.name for row in rows)
    return (
        f"{report.asked(run, rows[0].setting)}: {len(rows)} rows ({names}), "
        f"seeds {run.seed} to {run.seed + run.num_seeds - 1}"
    )


def table(config: CompareConfig, results: list[Result]) -> str:
    """Two Markdown tables: every row before and after; and when each reaches DDPO's reward."""
    cells: dict[str, tuple[str, ...]] = {}
    for result in results:
        name = f"frozen model, eta {result.row.setting.sampler.eta:g}"
        before = report.cells(result.outcome.before)
        cells.setdefault(name, ("0", "0", *before, "-", "-"))
    cells |= {result.row.name: _cells(result) for result in results}
    run = config.run
    notes = [
        f"{run.eval_images} fresh images of each of {run.num_seeds} seeds; reward ± standard error "
        "over all of them. Success is the judge's word, who saw other images than the reward. "
        "Fréchet distance to real images of what was asked for.",
        "forwards: passes of the network, a backward one counted twice. s: seconds of the updates "
        "of all seeds side by side, divided by their number, without compilation. MiB: memory of "
        "one update of one seed as its compiled program plans it, weights of the model included.",
    ]
    notes += [_drift_warning(result) for result in results if report.has_drifted(result.outcome)]
    blocks = [*markdown(_COLUMNS, cells), "", *(f"- {note}" for note in notes)]
    for budget in ("images", "long"):
        blocks += _reach_table(results, budget)
    return "\n".join(["", *blocks])


def summary(config: CompareConfig, results: list[Result]) -> dict[str, Any]:
    """The flat dictionary for ``summary.json``, every row's figures below its name."""
    run = config.run
    figures: dict[str, Any] = {
        "model": results[0].row.setting.name,
        "prompt": report.prompt_of(run, results[0].row.setting),
        "rows": [result.row.name for result in results],
        "seeds": list(range(run.seed, run.seed + run.num_seeds)),
        "eval_images": run.eval_images,
    }
    for result in results:
        own = report.figures_of(result.outcome)
        own |= {
            "eta": result.row.setting.sampler.eta,
            "seconds": result.run_seconds / run.num_seeds,
            "peak_bytes": result.update_bytes,
        }
        for budget in ("images", "long"):
            level = compare_lib.reference_level(results, budget)
            reached = None if level is None else compare_lib.reaching(result, level)
            if reached is not None:
                own[f"images_to_{_reference_name(results, budget)}"] = reached.images
                own[f"seconds_to_{_reference_name(results, budget)}"] = reached.seconds
        figures |= {f"{result.row.name}/{key}": value for key, value in own.items()}
    return figures


def headline(results: list[Result]) -> dict[str, Any]:
    """The few figures of the last printed line."""
    return {
        f"{result.row.name}/reward_after": float(result.outcome.after.rewards.mean())
        for result in results
    }


def write_files(config: CompareConfig, results: list[Result], workdir: Workdir) -> None:
    """Writes ``summary.json``, ``table.md`` and ``table.csv``."""
    if not workdir.writes:
        return
    figures = summary(config, results)
    write_summary(workdir, figures)
    write_bytes(workdir.path / "table.md", (table(config, results).lstrip() + "\n").encode())
    rows = []
    for result in results:
        prefix = f"{result.row.name}/"
        own = {
            key.removeprefix(prefix): value
            for key, value in figures.items()
            if key.startswith(prefix) and not key.endswith("_by_seed")
        }
        rows.append({"row": result.row.name, **own})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = csv_text({column: row.get(column) for column in columns} for row in rows)
    write_bytes(workdir.path / "table.csv", text.encode())


def _cells(result: Result) -> tuple[str, ...]:
    method = result.outcome.method
    seeds = len(result.rewards)
    return (
        f"{method.images:,}",
        f"{method.forward_equivalents:,}",
        *report.cells(result.outcome.after),
        _number(result.run_seconds / seeds, 2),
        f"{result.update_bytes / 2**20:.1f}",
    )


def _drift_warning(result: Result) -> str:
    return f"WARNING, {result.row.name}: {report.drift_warning(result.outcome)}"


def _reference_name(results: list[Result], budget: str) -> str:
    (name,) = (
        result.row.name
        for result in results
        if result.row.config.method == compare_lib.REFERENCE and result.row.budget == budget
    )
    return name


def _reach_table(results: list[Result], budget: str) -> list[str]:
    """What each row needs for the reward with which the reference ends; nothing without it."""
    level = compare_lib.reference_level(results, budget)
    if level is None:
        return []
    name = _reference_name(results, budget)
    reached = {result.row.name: compare_lib.reaching(result, level) for result in results}
    reference = reached[name]
    assert reference is not None  # it reaches its own end
    cells = {row: _reach_cells(at, reference) for row, at in reached.items() if row == name or at}
    never = [row for row, at in reached.items() if at is None]
    lines = [
        "",
        f"To the reward of {name} over its last images, {level:.3f}: the first time that the mean "
        "over the last 64 images of every seed (over all, in a run of fewer) is as high.",
        "",
        *markdown(_REACH_COLUMNS, cells),
    ]
    return [*lines, "", f"- Never: {', '.join(never)}."] if never else lines


def _reach_cells(at: Reached | None, reference: Reached) -> tuple[str, ...]:
    assert at is not None
    return (
        f"{at.images:,}",
        f"{reference.images / at.images:.1f}",
        f"{at.forward_equivalents:,.0f}",
        f"{reference.forward_equivalents / at.forward_equivalents:.1f}",
        _number(at.seconds, 2),
        _number(reference.seconds / at.seconds, 1),
    )


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
