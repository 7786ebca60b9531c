"""Kills a training command at random moments, restarts it, and compares the end with a quiet run.

    python benchmarks/kill_resume.py --kills=20 -- ai-econ ai_economist --workdir={workdir} ...

``{workdir}`` in the command is replaced. One run is left alone. In another, every second kill comes
at a random moment and every other one in the middle of writing a checkpoint. A run that ends before
its kill is compared and begun anew. The final checkpoint must have the same bits in every leaf and
``metrics.jsonl`` the same bytes; no kill may leave a damaged checkpoint. Exit code 1 if not so.

A command that trains in stages, each with checkpoints in a folder of its own below the work
directory, names those folders: ``--stages=phase1,planner``.
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from ai_econ_jax import checkpoint


class KillResumeError(Exception):
    """The command failed, or a killed and resumed run differs from one that was left alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--scratch", help="folder for the runs; a temporary one by default")
    parser.add_argument("--stages", default=".", help="folders with checkpoints, in order")
    parser.add_argument("command", nargs="+", help="after --, with {workdir} in it")
    arguments = parser.parse_args()
    if not any("{workdir}" in part for part in arguments.command):
        parser.error("the command must contain {workdir}")
    with tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="kill_resume-") as scratch:
        try:
            compare_with_killed(
                arguments.command,
                arguments.kills,
                pathlib.Path(scratch),
                arguments.seed,
                arguments.stages.split(","),
            )
        except KillResumeError as error:
            sys.exit(f"FAILED: {error}")


def compare_with_killed(
    command: list[str],
    kills: int,
    scratch: pathlib.Path,
    seed: int = 0,
    stages: Sequence[str] = (".",),
) -> None:
    """Runs the comparison; raises ``KillResumeError`` on the first difference."""
    rng = random.Random(seed)
    reference = scratch / "reference"
    first_checkpoint, total = time_reference(command, reference, stages)
    print(f"reference: {total:.1f} s, first checkpoint after {first_checkpoint:.1f} s", flush=True)
    done, attempt = 0, 0
    workdir = scratch / "killed-0"
    while done < kills:
        in_write = done % 2 == 1
        moment = rng.uniform(first_checkpoint / 2, total)
        seconds = run_and_kill(command, workdir, moment, in_write, stages)
        if seconds is None:
            compare(reference, workdir, stages)
            attempt += 1
            workdir = scratch / f"killed-{attempt}"
            continue
        done += 1
        print(
            f"kill {done}/{kills} after {seconds:.2f} s, {describe(workdir, in_write, stages)}",
            flush=True,
        )
    finish(start(command, workdir), command)
    leaves = compare(reference, workdir, stages)
    size = sum((reference / stage / "metrics.jsonl").stat().st_size for stage in stages)
    print(
        f"OK: {kills} kills, {attempt + 1} runs compared, {leaves} leaves bit-identical, "
        f"metrics.jsonl identical ({size} bytes)"
    )


def start(command: list[str], workdir: pathlib.Path) -> subprocess.Popen:
    parts = [part.replace("{workdir}", str(workdir)) for part in command]
    with open(workdir.parent / f"{workdir.name}.log", "ab") as log:
        return subprocess.Popen(parts, stdout=log, stderr=log, start_new_session=True)


def finish(process: subprocess.Popen, command: list[str]) -> None:
    if process.wait() != 0:
        raise KillResumeError(f"exit code {process.returncode} from {' '.join(command)}")


def time_reference(
    command: list[str], workdir: pathlib.Path, stages: Sequence[str]
) -> tuple[float, float]:
    """Runs the command undisturbed; returns seconds to its first checkpoint and to its end."""
    begun = time.monotonic()
    process = start(command, workdir)
    first = None
    while process.poll() is None:
        if first is None and checkpoint.steps(workdir / stages[0] / "checkpoints"):
            first = time.monotonic() - begun
        time.sleep(0.01)
    if process.returncode != 0:
        log = (workdir.parent / f"{workdir.name}.log").read_text(errors="replace")
        raise KillResumeError(f"the reference run failed:\n{log[-2000:]}")
    total = time.monotonic() - begun
    return first or total, total


def run_and_kill(
    command: list[str],
    workdir: pathlib.Path,
    moment: float,
    in_write: bool,
    stages: Sequence[str],
) -> float | None:
    """Kills the command after ``moment`` seconds, or in the first checkpoint write after that.

    Returns:
        When it was killed, or None if it ended by itself before.
    """
    begun = time.monotonic()
    process = start(command, workdir)
    while process.poll() is None:
        seconds = time.monotonic() - begun
        if seconds >= moment and (not in_write or half_written(workdir, stages)):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return seconds
        time.sleep(0.001)
    finish(process, command)
    return None


def half_written(workdir: pathlib.Path, stages: Sequence[str]) -> list[pathlib.Path]:
    return [path for stage in stages for path in (workdir / stage / "checkpoints").glob(".half-*")]


def describe(workdir: pathlib.Path, in_write: bool, stages: Sequence[str]) -> str:
    known = [
        f"{'' if stage == '.' else stage + ' '}{steps[-1]}"
        for stage in stages
        if (steps := checkpoint.steps(workdir / stage / "checkpoints"))
    ]
    where = "in a checkpoint write" if in_write else "at a random moment"
    left = f"{len(half_written(workdir, stages))} half-written"
    return f"{where}: checkpoint {known[-1] if known else 'none'}, {left}"


def compare(reference: pathlib.Path, workdir: pathlib.Path, stages: Sequence[str]) -> int:
    """Returns how many leaves agree; raises ``KillResumeError`` if anything differs."""
    return sum(compare_stage(reference / stage, workdir / stage) for stage in stages)


def compare_stage(reference: pathlib.Path, workdir: pathlib.Path) -> int:
    """``compare`` of one folder with checkpoints and metrics."""
    damaged = list((workdir / "checkpoints").glob("broken-*"))
    if damaged:
        raise KillResumeError(f"a kill left a damaged checkpoint: {damaged[0]}")
    ends = [checkpoint.steps(path / "checkpoints")[-1] for path in (reference, workdir)]
    if ends[0] != ends[1]:
        raise KillResumeError(f"{workdir} ends at update {ends[1]}, the reference at {ends[0]}")
    want, have = (checkpoint.load_arrays(path / "checkpoints") for path in (reference, workdir))
    if want.keys() != have.keys():
        raise KillResumeError(f"{workdir}: other leaves: {sorted(want.keys() ^ have.keys())}")
    for name in want:
        if want[name].dtype != have[name].dtype or want[name].tobytes() != have[name].tobytes():
            raise KillResumeError(f"{workdir}: leaf {name} differs")
    if (reference / "metrics.jsonl").read_bytes() != (workdir / "metrics.jsonl").read_bytes():
        raise KillResumeError(f"{workdir}: metrics.jsonl differs")
    return len(want)


if __name__ == "__main__":
    main()
