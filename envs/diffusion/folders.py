"""Folders of models in diffusers' layout: configs as JSON, weights as safetensors. Spec 3.5."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ai_econ_jax import config as config_lib
from ai_econ_jax import workdir as workdir_lib
from ai_econ_jax.envs.diffusion import weights as weights_lib
from ai_econ_jax.envs.diffusion.schedule import ScheduleConfig
from ai_econ_jax.envs.diffusion.unet import NetworkConfig, UNetConfig
from ai_econ_jax.envs.diffusion.unet3d import UNet3DConfig

MODELS = pathlib.Path(__file__).parent / "models"  # those that the library brings
# The file of whole numbers and the one of half precision, of which a folder has one.
UNET_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
UNET_CLASSES: dict[str, type[NetworkConfig]] = {
    "UNet2DConditionModel": UNetConfig,
    "UNet3DConditionModel": UNet3DConfig,
}
_NETWORK_FILE = "model.safetensors"  # of the networks that reward and judge


def save_unet(
    folder: pathlib.Path, unet: NetworkConfig, schedule: ScheduleConfig, params: Any, dtype: Any
) -> None:
    """Writes the parts ``unet`` and ``scheduler`` of a model, numbers of a type such as float16."""
    config = dataclasses.asdict(unet) | {"_class_name": class_name(unet)}
    write_json(folder / "unet" / "config.json", config)
    scheduler = dataclasses.asdict(schedule) | {
        "_class_name": "DDIMScheduler",
        "timestep_spacing": "leading",
    }
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    write_tensors(folder / "unet", UNET_FILES, weights_lib.to_diffusers(params), dtype)


def class_name(unet: NetworkConfig) -> str:
    """What diffusers calls the network of a config."""
    return next(name for name, cls in UNET_CLASSES.items() if cls is type(unet))


def check_index(folder: pathlib.Path) -> None:
    """Raises FileNotFoundError where there is no model."""
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"{folder}: has no model_index.json, so it is no diffusers model")


def read_configs(folder: pathlib.Path) -> tuple[NetworkConfig, ScheduleConfig]:
    """The configs of ``unet`` and ``scheduler``; raises as `read_config`."""
    path = folder / "unet" / "config.json"
    name = _read_object(path).get("_class_name", "UNet2DConditionModel")
    if name not in UNET_CLASSES:
        known = ", ".join(UNET_CLASSES)
        raise ValueError(f"{path}: _class_name is {name!r}, must be one of {known}")
    unet = read_config(path, UNET_CLASSES[name])
    return unet, read_config(folder / "scheduler" / "scheduler_config.json", ScheduleConfig)


def write_tensors(
    folder: pathlib.Path, names: tuple[str, str], tensors: Mapping[str, NDArray], dtype: Any
) -> None:
    """Writes arrays as numbers of a type, into the file of that precision."""
    path = folder / names[jnp.dtype(dtype) == jnp.float16]
    path.parent.mkdir(parents=True, exist_ok=True)
    weights_lib.write_safetensors(path, {key: t.astype(dtype) for key, t in tensors.items()})


def read_tensors(folder: pathlib.Path, names: tuple[str, str]) -> tuple[str, dict[str, NDArray]]:
    """The path and the arrays of the first file that is there.

    Raises:
      FileNotFoundError: There is neither.
      WeightsError: It is no whole safetensors file.
    """
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{folder}: has no {names[0]}, nor the .fp16 one")
    return str(found[0]), weights_lib.read_safetensors(found[0])[0]


def save_network(folder: pathlib.Path, params: Any) -> None:
    """Writes a network of ours in half precision, as ``model.safetensors`` of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = weights_lib.to_diffusers(params)
    halves = {name: values.astype(np.float16) for name, values in tensors.items()}
    weights_lib.write_safetensors(folder / _NETWORK_FILE, halves)


def has_network(folder: pathlib.Path) -> bool:
    """Whether `save_network` has been here, to its end."""
    return (folder / _NETWORK_FILE).is_file()


def load_network(folder: pathlib.Path, init: Callable[[Mapping[str, NDArray]], Any]) -> Any:
    """Reads parameters that `save_network` wrote, as float32.

    Args:
      folder: Where they are.
      init: Gives fresh parameters of the network that these tensors, by name, are of.

    Raises:
      FileNotFoundError: There are none.
      WeightsError: They do not fit the fresh ones.
    """
    path = folder / _NETWORK_FILE
    tensors, _ = weights_lib.read_safetensors(path)
    template = jax.eval_shape(lambda: init(tensors))
    return weights_lib.from_diffusers(tensors, template, str(path))


def write_json(path: pathlib.Path, data: Any) -> None:
    """Writes a JSON file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    workdir_lib.write_json(path, data)


def read_config(path: pathlib.Path, cls: Any) -> Any:
    """A diffusers config as one of ours; fields that we do not know are theirs alone.

    Raises:
      FileNotFoundError: It is missing.
      ValueError: It is no JSON object, or asks for what is not supported.
    """
    data = _read_object(path)
    known = {name: data[name] for name in _fields(cls) if name in data}
    try:
        return config_lib.validate(config_lib.from_dict(cls, known))
    except config_lib.ConfigError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_object(path: pathlib.Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is missing")
    try:
        return dict(json.loads(path.read_text()).items())
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: is no JSON object ({error})") from None


@functools.cache
def _fields(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))
