"""Weights in files: safetensors, in the names and layouts of diffusers. Spec 3.5.

A safetensors file is eight bytes with the length of its header (little-endian), a JSON header from
names to type, shape and place, and the raw numbers. Nothing in it can run; pickles are refused.
Flax keeps kernels as HWIO and [in, out], the files as OIHW and [out, in]; over frames, DHWIO and
OIDHW.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from numpy.typing import NDArray

from ai_econ_jax import workdir as workdir_lib

_TYPES: dict[str, Any] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": jnp.dtype("bfloat16"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}
_NAMES = {str(dtype): name for name, dtype in _TYPES.items()}
_LARGEST_HEADER = 100_000_000  # bytes; the format's own limit
# Modules that are lists in diffusers: resnets_0 here is resnets.0 there.
_LISTS = (
    "down_blocks",
    "up_blocks",
    "resnets",
    "attentions",
    "transformer_blocks",
    "downsamplers",
    "upsamplers",
    "layers",
    "temp_convs",
    "temp_attentions",
    "conv1",
    "conv2",
    "conv3",
    "conv4",
)
_IN_LIST = re.compile(rf"^({'|'.join(_LISTS)})_(\d+)$")
_SPECIAL = {"net_0_proj": "net.0.proj", "net_2": "net.2"}


class WeightsError(ValueError):
    """A file of weights that cannot be read, or does not fit the model."""


def write_safetensors(
    path: str | os.PathLike, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes named arrays, atomically; the same arrays make the same bytes.

    Args:
      path: The file.
      tensors: Name to array, of a type that the format knows.
      metadata: Strings that go with them.
    """
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, array in arrays.items():
        end = place + array.nbytes
        header[name] = {
            "dtype": _NAMES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [place, end],
        }
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join(array.tobytes() for array in arrays.values())
    data = len(text).to_bytes(8, "little") + text + body
    workdir_lib.write_bytes(pathlib.Path(path), data)


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, NDArray], dict[str, str]]:
    """Reads all arrays of a file, and its metadata.

    Raises:
      FileNotFoundError: There is no such file.
      WeightsError: It is a pickle, or no whole safetensors file.
    """
    path = pathlib.Path(path)
    if path.suffix in (".bin", ".ckpt", ".pt", ".pth", ".pkl"):
        raise WeightsError(
            f"{path}: may run code when it is read, so it is refused; save it as .safetensors"
        )
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_LARGEST_HEADER, len(data) - 8):
        raise WeightsError(f"{path}: is no whole safetensors file")
    try:
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        body = memoryview(data)[8 + length :]
        tensors = {name: _tensor(spec, body) for name, spec in header.items()}
        used = sum(spec["data_offsets"][1] - spec["data_offsets"][0] for spec in header.values())
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise WeightsError(f"{path}: is no whole safetensors file ({error})") from None
    if used != len(body):
        raise WeightsError(f"{path}: holds {len(body)} bytes of numbers, its header says {used}")
    return tensors, metadata


def _tensor(spec: Mapping[str, Any], body: memoryview) -> NDArray:
    dtype, shape = _TYPES[spec["dtype"]], tuple(spec["shape"])
    begin, end = spec["data_offsets"]
    if not 0 <= begin <= end <= len(body) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"place {begin} to {end} does not fit shape {shape}")
    return np.frombuffer(body[begin:end], dtype).reshape(shape)


def to_diffusers(params: Any) -> dict[str, NDArray]:
    """Flax parameters under diffusers' names and in its layouts."""
    flat = traverse_util.flatten_dict(params)
    return {_file_name(path): _to_file(path, np.asarray(leaf)) for path, leaf in flat.items()}


def from_diffusers(tensors: Mapping[str, NDArray], template: Any, where: str) -> Any:
    """Parameters from a file's arrays, in float32; every array must be used exactly once.

    Args:
      tensors: Of the file, in any order.
      template: Parameters of the same model, or their shapes.
      where: Name of the file, for messages.

    Raises:
      WeightsError: A tensor is missing, unexpected, of another shape, or not finite.
    """
    flat = traverse_util.flatten_dict(template)
    names = {_file_name(path): path for path in flat}
    missing, unexpected = sorted(names.keys() - tensors), sorted(tensors.keys() - names.keys())
    if missing or unexpected:
        which = f"lacks tensor {missing[0]}" if missing else f"has unexpected {unexpected[0]}"
        raise WeightsError(
            f"{where}: {which} ({len(missing)} missing, {len(unexpected)} unexpected in all)"
        )
    loaded = {}
    for name, path in names.items():
        value = _from_file(path, np.asarray(tensors[name], np.float32))
        expected = tuple(flat[path].shape)
        if value.shape != expected:
            want = _to_file(path, np.zeros(expected)).shape
            raise WeightsError(
                f"{where}: tensor {name} has shape {tensors[name].shape}, expected {want}"
            )
        if not np.isfinite(value).all():
            raise WeightsError(f"{where}: tensor {name} holds numbers that are not finite")
        loaded[path] = jnp.asarray(value)
    return traverse_util.unflatten_dict(loaded)


def _file_name(path: tuple[str, ...]) -> str:
    *modules, leaf = path
    parts = [_SPECIAL.get(m) or _IN_LIST.sub(r"\1.\2", m) for m in modules]
    # The list of one layer behind attention has no name of its own.
    name = ".".join(parts).replace("to_out.layers.0", "to_out.0")
    return f"{name}.{'bias' if leaf == 'bias' else 'weight'}"


def _to_file(path: tuple[str, ...], value: NDArray) -> NDArray:
    if path[-1] != "kernel":
        return value
    return value.transpose(-1, -2, *range(value.ndim - 2))


def _from_file(path: tuple[str, ...], value: NDArray) -> NDArray:
    if path[-1] != "kernel":
        return value
    return value.transpose(*range(2, value.ndim), 1, 0)
