"""The work directory of a run: what it holds, who may write to it, and how files get there whole.

::

    config.json     the whole config, the launcher's other arguments, versions, git revision
    metrics.jsonl   one row per logged interval; the same bytes however often the run was killed
    timing.jsonl    one row per segment, wall-clock seconds
    tensorboard/    events of the same metrics
    checkpoints/    see ``ai_econ_jax.checkpoint``
    figures/*.png
    summary.json    a flat dictionary of the run's headline figures

The same directory with the same config resumes; a different config is an error, and so is a
directory that holds something else. One process at a time may train in it. In a run of several
processes (``jax.distributed``) only process 0 writes.
"""

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import math
import os
import pathlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from ai_econ_jax import config as config_lib

_PACKAGES = ("ai-econ-jax", "jax", "jaxlib", "flax", "optax", "distrax", "orbax-checkpoint")
_ABSENT = "(absent)"


class WorkdirError(ValueError):
    """The work directory cannot be used for this run; the message says why in one line."""


@dataclasses.dataclass(frozen=True)
class Workdir:
    """Paths of an opened work directory.

    Attributes:
        path: The directory.
        writes: Whether this process may write in it (process 0 of a run).
    """

    path: pathlib.Path
    writes: bool = True

    @property
    def checkpoints(self) -> pathlib.Path:
        """Where checkpoints are."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> pathlib.Path:
        """Where figures are."""
        return self.path / "figures"

    @property
    def metrics(self) -> pathlib.Path:
        """The metrics file, JSON lines."""
        return self.path / "metrics.jsonl"

    @property
    def timing(self) -> pathlib.Path:
        """The wall-clock file, JSON lines."""
        return self.path / "timing.jsonl"

    @property
    def tensorboard(self) -> pathlib.Path:
        """Where TensorBoard events are."""
        return self.path / "tensorboard"

    @property
    def summary(self) -> pathlib.Path:
        """The flat dictionary of headline figures."""
        return self.path / "summary.json"


@contextlib.contextmanager
def open_workdir(path: str | os.PathLike, config: Any, **arguments: Any) -> Iterator[Workdir]:
    """Creates a work directory or opens it again, and holds its lock inside the ``with`` block.

    Args:
        path: The directory.
        config: Config dataclass of the run.
        **arguments: What else decides the run's numbers (``seeds=4``), as plain JSON values.

    Yields:
        The opened directory.

    Raises:
        WorkdirError: If it cannot be written, belongs to another config, holds other files, or
            another process is training in it.
    """
    directory = pathlib.Path(path).expanduser().absolute()
    writes = jax.process_index() == 0
    refusal = None
    with contextlib.ExitStack() as stack:
        if writes:
            record = {"config": config_lib.to_dict(config), "arguments": arguments}
            record = json.loads(json.dumps(record))  # as it will be read back: tuples become lists
            try:
                _prepare(directory, record, stack)
            except WorkdirError as error:
                refusal = error
            except OSError as error:
                reason = error.strerror or str(error)
                refusal = WorkdirError(f"workdir {directory}: cannot be written: {reason}")
        _raise_in_all(refusal, directory)
        yield Workdir(directory, writes)


@contextlib.contextmanager
def open_if_named(
    path: str | os.PathLike | None, config: Any, **arguments: Any
) -> Iterator[Workdir | None]:
    """`open_workdir`, or None where a launcher was given no path."""
    if path is None:
        yield None
        return
    with open_workdir(path, config, **arguments) as workdir:
        yield workdir


def _raise_in_all(refusal: WorkdirError | None, directory: pathlib.Path) -> None:
    """Raises process 0's refusal there, and one that points to it in the other processes.

    They would wait for process 0 forever otherwise.
    """
    if jax.process_count() > 1:
        refused = multihost_utils.broadcast_one_to_all(np.bool_(refusal is not None))
        if refused and refusal is None:
            refusal = WorkdirError(f"workdir {directory}: refused by process 0, which says why")
    if refusal is not None:
        raise refusal


def _prepare(directory: pathlib.Path, record: Mapping[str, Any], stack: contextlib.ExitStack):
    directory.mkdir(parents=True, exist_ok=True)
    config_file = directory / "config.json"
    # Hidden files do not count: the lock and a half-written config.json are ours.
    others = sorted(p.name for p in directory.iterdir() if not p.name.startswith("."))
    if others and not config_file.exists():
        raise WorkdirError(
            f"workdir {directory}: holds {others[0]!r} but no config.json, so it is not a run of "
            "ours; name an empty or new directory"
        )
    _lock(directory, stack)
    if config_file.exists():
        _compare(directory, _read_record(config_file), record)
    else:
        write_json(
            config_file, {**record, "versions": _versions(), "git_revision": _git_revision()}
        )
    for name in ("checkpoints", "figures"):
        (directory / name).mkdir(exist_ok=True)


def _lock(directory: pathlib.Path, stack: contextlib.ExitStack) -> None:
    # The kernel drops the lock when the process dies, however it dies, so it is never stale.
    lock = stack.enter_context(open(directory / ".lock", "a"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkdirError(f"workdir {directory}: another process is training in it") from None


def _read_record(config_file: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(config_file.read_text())
    except ValueError as error:
        raise WorkdirError(f"{config_file}: is not JSON ({error})") from None


def _compare(directory: pathlib.Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    def flat(record: Mapping[str, Any]) -> dict[str, Any]:
        return _flatten(record.get("config", {})) | _flatten(record.get("arguments", {}))

    changes = _differences(flat(old), flat(new))
    if changes:
        raise WorkdirError(
            f"workdir {directory}: belongs to a run with another config: {'; '.join(changes)}. "
            "Use that config or another directory"
        )
    updates = _differences(old.get("versions", {}), _versions())
    if updates:
        logging.warning(
            "%s was begun with other versions (%s): the numbers may not be an uninterrupted run's",
            directory,
            "; ".join(updates),
        )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = prefix + name
        flat |= _flatten(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} was {old.get(name, _ABSENT)!r}, now {new.get(name, _ABSENT)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _git_revision() -> str | None:
    """Returns the revision of the checkout this file is in, "-dirty" if changed, or None."""
    here = pathlib.Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True
        ).stdout

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        # An installed copy may lie inside the checkout of something else: is this file tracked?
        git("ls-files", "--error-unmatch", here.name)
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()
    return None


def write_summary(workdir: Workdir, summary: Mapping[str, Any]) -> None:
    """Writes ``summary.json``; NaN and infinity become null. Process 0 writes, others do nothing.

    Args:
        workdir: Where.
        summary: Name to number, string, boolean, None, or a flat list of those; NumPy and JAX
            scalars too.

    Raises:
        ValueError: If a value is itself a dictionary: scripts read this file as a flat table.
    """
    nested = [name for name, value in summary.items() if isinstance(value, Mapping)]
    if nested:
        raise ValueError(f"summary must be flat, but {nested[0]!r} is a dictionary")
    if workdir.writes:
        write_json(workdir.summary, summary)


def write_json(path: pathlib.Path, data: Any) -> None:
    """Writes ``data`` as indented JSON, atomically; what is not finite becomes null."""
    write_bytes(path, (json.dumps(json_value(data), indent=2) + "\n").encode())


def json_value(value: Any) -> Any:
    """Returns ``value`` with arrays as plain Python, and None for what is not finite."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Replaces a file atomically: whoever reads it sees all of the old bytes or all of the new."""
    half = path.with_name(f".{path.name}.tmp")
    with open(half, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(half, path)


def append_rows(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Appends rows to a JSON-lines file and waits until they are on the disk."""
    with open(path, "a") as file:
        file.writelines(json.dumps(json_value(row), allow_nan=False) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads a JSON-lines file; a last line without an end, left by a kill, is not read."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]


def truncate_rows(path: pathlib.Path, update: int) -> None:
    """Cuts a JSON-lines file after the last row whose ``update`` is at most ``update``.

    A resumed run writes the later rows again. The kept rows are not rewritten: the bytes stay.
    """
    if not path.exists():
        return
    keep = 0
    with open(path, "rb+") as file:
        for line in file:
            if not line.endswith(b"\n") or json.loads(line)["update"] > update:
                break
            keep += len(line)
        if keep < path.stat().st_size:
            file.truncate(keep)
