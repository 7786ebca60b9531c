"""Checkpoints: a whole state to disk and back, bit for bit, or a clear word about why not.

::

    checkpoints/120/state/          the arrays, written by orbax
    checkpoints/120/leaves.json     path, shape and dtype of every leaf
    checkpoints/120/manifest.json   digest of every file above
    checkpoints/.half-140/          being written or deleted when the process died; swept away
    checkpoints/broken-140/         failed its digests and was moved aside

A checkpoint is written under a hidden name and renamed when complete, so a directory named by a
number is whole. Orbax does not notice every flipped bit, hence the digests. ``CheckpointManager``
has no place for them inside its commit; what we need of it is here, on orbax's ``Checkpointer``.

Arrays are stored whole, however they were sharded, so a run may go on with other devices. With
several processes (``jax.distributed``) all of them call ``save`` and ``restore``, process 0 writes,
and the directory must be on a file system that they share.
"""

import functools
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils

from ai_econ_jax import workdir as workdir_lib

State = TypeVar("State")

_HALF = ".half-"
_BROKEN = "broken-"


class CheckpointError(ValueError):
    """A checkpoint does not fit the state it is restored into, or none is whole."""


class _BrokenError(Exception):
    """The files of one checkpoint are not those that were written."""


def save(directory: pathlib.Path, step: int, state: Any, keep: int = 3) -> None:
    """Writes a checkpoint and deletes all but the newest ``keep``.

    Args:
        directory: Where checkpoints are; created when missing.
        step: Number of the checkpoint, at least 0; one that exists already is replaced.
        state: Any pytree of arrays, typed keys and numbers. Whole arrays are gathered to the host.
        keep: How many checkpoints stay.
    """
    leaves = host_arrays(state)
    if jax.process_index() != 0:
        return
    directory.mkdir(parents=True, exist_ok=True)
    half = directory / f"{_HALF}{step}"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    _write(half, leaves, {path: _spec(leaf) for path, leaf in _named_leaves(state).items()})
    if (directory / str(step)).exists():
        _delete(directory, step)
    os.rename(half, directory / str(step))
    _sync(directory)
    for old in steps(directory)[:-keep]:
        _delete(directory, old)


def restore(directory: pathlib.Path, template: State) -> tuple[int, State]:
    """Reads the newest checkpoint that is whole.

    A newer one that is damaged is named in a warning and moved aside to ``broken-<step>``.

    Args:
        directory: Where checkpoints are.
        template: A state of the same structure, as arrays or ``jax.ShapeDtypeStruct``. Leaves that
            have a sharding pass it on.

    Returns:
        Its step, and the state.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        CheckpointError: If none is whole, or a leaf differs from the template in shape or dtype.
    """
    step = 0
    if jax.process_index() == 0:
        step = _newest_whole(directory)
    if jax.process_count() > 1:
        step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
    place = directory / str(step)
    wanted = _named_leaves(template)
    _check_specs(place, json.loads((place / "leaves.json").read_text()), wanted)
    arrays = _read(place)
    leaves = [_to_device(arrays[path], leaf) for path, leaf in wanted.items()]
    return step, jax.tree.unflatten(jax.tree.structure(template), leaves)


def load_arrays(directory: pathlib.Path, step: int | None = None) -> dict[str, np.ndarray]:
    """Reads a checkpoint without a template, to compare or look into.

    Args:
        directory: Where checkpoints are.
        step: Which one; the newest if None.

    Returns:
        Path to array, as in ``params/dense/kernel``. Typed keys come as their u32 data.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If it is damaged.
    """
    known = steps(directory)
    if not known or (step is not None and step not in known):
        raise FileNotFoundError(f"no checkpoint {'' if step is None else step} in {directory}")
    place = directory / str(known[-1] if step is None else step)
    try:
        _verify(place)
    except _BrokenError as error:
        raise CheckpointError(f"checkpoint {place} is damaged: {error}") from None
    return _read(place)


def steps(directory: pathlib.Path) -> list[int]:
    """Returns the steps of all complete checkpoints, oldest first; none without a directory."""
    if not directory.is_dir():
        return []
    return sorted(int(place.name) for place in directory.iterdir() if place.name.isdecimal())


def sweep(directory: pathlib.Path) -> None:
    """Deletes what a killed process left half-written or half-deleted."""
    for place in directory.glob(f"{_HALF}*"):
        shutil.rmtree(place)


def is_key(leaf: Any) -> bool:
    """Whether a leaf, concrete or abstract, holds typed random keys."""
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def host_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Returns every leaf by its path, whole, on the host; typed keys as their u32 data.

    With several processes all of them must call it: it gathers what other hosts hold.
    """
    return {path: to_host(leaf) for path, leaf in _named_leaves(tree).items()}


def to_host(leaf: Any) -> np.ndarray:
    """Returns one leaf whole on the host, as ``host_arrays`` does for all."""
    if is_key(leaf):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf, _spec(leaf)["dtype"])


def _newest_whole(directory: pathlib.Path) -> int:
    known = steps(directory)
    if not known:
        raise FileNotFoundError(f"no checkpoint in {directory}")
    broken: list[int] = []
    for step in reversed(known):
        try:
            _verify(directory / str(step))
        except _BrokenError as error:
            logging.warning("checkpoint %s is damaged: %s", directory / str(step), error)
            broken.append(step)
        else:
            # Only now, with another to fall back to: a start from nothing must not look like one.
            for bad in broken:
                _move_aside(directory, bad)
            if broken:
                logging.warning("falling back to checkpoint %s", directory / str(step))
            return step
    raise CheckpointError(f"every checkpoint in {directory} is damaged: {sorted(broken)}")


def _move_aside(directory: pathlib.Path, step: int) -> None:
    aside, attempt = directory / f"{_BROKEN}{step}", 1
    while aside.exists():
        attempt += 1
        aside = directory / f"{_BROKEN}{step}-{attempt}"
    os.rename(directory / str(step), aside)
    logging.warning("moved the damaged checkpoint to %s", aside)


def _delete(directory: pathlib.Path, step: int) -> None:
    # Renamed first: a kill in the middle must not leave a number on half a checkpoint.
    doomed = directory / f"{_HALF}deleted-{step}"
    os.rename(directory / str(step), doomed)
    shutil.rmtree(doomed)


def _write(place: pathlib.Path, leaves: dict[str, np.ndarray], specs: dict[str, dict]) -> None:
    # Orbax refuses arrays without elements; their shape and dtype in leaves.json are all of them.
    arrays = {path: leaf for path, leaf in leaves.items() if leaf.size}
    if arrays:
        _orbax().save(place / "state", args=ocp.args.PyTreeSave(arrays))
    workdir_lib.write_json(place / "leaves.json", specs)
    workdir_lib.write_json(place / "manifest.json", _digests(place))
    _sync(place)


def _read(place: pathlib.Path) -> dict[str, np.ndarray]:
    specs = json.loads((place / "leaves.json").read_text())
    stored = [path for path, spec in specs.items() if 0 not in spec["shape"]]
    as_numpy = {path: ocp.RestoreArgs(restore_type=np.ndarray) for path in stored}
    arrays = {}
    if stored:
        arguments = ocp.args.PyTreeRestore(restore_args=as_numpy)
        arrays = _orbax().restore(place / "state", args=arguments)
    for path in specs.keys() - arrays.keys():
        dtype = specs[path]["dtype"]
        arrays[path] = np.zeros(specs[path]["shape"], "uint32" if "key<" in dtype else dtype)
    return {path: arrays[path] for path in specs}


@functools.cache
def _orbax() -> ocp.Checkpointer:
    # Only process 0 writes, so orbax must not wait for the others. Without compression: it costs
    # time, and trained parameters do not compress.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={jax.process_index()}, barrier_sync_key_prefix="ai_econ"
    )
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _digests(place: pathlib.Path) -> dict[str, str]:
    files = sorted(file for file in place.rglob("*") if file.is_file())
    return {file.relative_to(place).as_posix(): _digest(file) for file in files}


def _digest(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _verify(place: pathlib.Path) -> None:
    try:
        manifest = json.loads((place / "manifest.json").read_text())
        for name, digest in manifest.items():
            if _digest(place / name) != digest:
                raise _BrokenError(f"{name} is not what was written")
        if "leaves.json" not in manifest:
            raise _BrokenError("manifest.json names no leaves.json")
    except FileNotFoundError as error:
        raise _BrokenError(f"{pathlib.Path(error.filename).name} is missing") from None
    except (ValueError, AttributeError, TypeError, OSError) as error:
        raise _BrokenError(f"manifest.json is not readable ({error})") from None


def _named_leaves(tree: Any) -> dict[str, Any]:
    leaves = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "state"
        if name in leaves:
            raise CheckpointError(f"two leaves of the state share the path {name}")
        leaves[name] = leaf
    return leaves


def _spec(leaf: Any) -> dict[str, Any]:
    dtype = leaf.dtype if hasattr(leaf, "dtype") else jax.dtypes.result_type(leaf)
    return {"shape": list(np.shape(leaf)), "dtype": str(dtype)}


def _check_specs(place: pathlib.Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    for path in stored.keys() ^ wanted.keys():
        where = "the checkpoint" if path in stored else "the state"
        raise CheckpointError(f"checkpoint {place}: leaf {path} is only in {where}")
    for path, leaf in wanted.items():
        have, want = stored[path], _spec(leaf)
        if have != want:
            raise CheckpointError(
                f"checkpoint {place}: leaf {path} is {_show(have)}, in the state {_show(want)}"
            )


def _show(spec: dict[str, Any]) -> str:
    return f"{spec['dtype']}{spec['shape']}"


def _to_device(array: np.ndarray, template: Any) -> jax.Array:
    """Returns ``array`` as the template's kind of leaf, laid out over devices as that is."""
    # An uncommitted array goes wherever a computation needs it; it must stay so after a resume.
    placed = getattr(template, "committed", True)
    sharding = getattr(template, "sharding", None) if placed else None
    if is_key(template):
        array = array.reshape(jax.eval_shape(jax.random.key_data, template).shape)
    if sharding is None:
        data = jax.numpy.asarray(array)
    else:
        data = jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
    # The template may be abstract, so the kind of key is read off its dtype.
    return (
        jax.random.wrap_key_data(data, impl=template.dtype._impl.name) if is_key(template) else data
    )


def _sync(directory: pathlib.Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
