"""Short flags of the launcher, each for one field of the config.

``--config.…`` sets any field; a short flag sets one that people change often. One field set in both
ways to different values is an error. The flags of sizes and rates are the chosen method's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from absl import flags

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.find import setting
from ai_econ_jax.agents.find.experiment_config import METHODS, ExperimentConfig

_FIELDS = {
    "model": "model",
    "prompt": "prompt",
    "method": "method",
    "steps": "steps",
    "eta": "eta",
    "eval_images": "eval_images",
    "seed": "seed",
    "seeds": "num_seeds",
    "policy_basis": "find.basis",
    "norm_preserve": "find.norm_preserve",
}
_OF_THE_METHOD = {"images": "images", "batch_size": "batch_size", "lr": "learning_rate"}


def define(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags, on absl's global ones unless a test says otherwise."""

    def add(kind: Callable[..., Any], name: str, about: str) -> None:
        kind(name, None, about, flag_values=values)

    text, number, whole = flags.DEFINE_string, flags.DEFINE_float, flags.DEFINE_integer
    add(text, "model", f"{', '.join(setting.NAMES)}, or a folder that train_diffusion left.")
    add(text, "prompt", "What the images shall show; of digits8, a digit such as three.")
    add(text, "method", f"list prints them: {', '.join(METHODS)}.")
    add(whole, "images", "Images that the method may draw.")
    add(whole, "batch_size", "Images of one update.")
    add(number, "lr", "Learning rate of the method.")
    add(whole, "steps", "Steps of the sampler.")
    add(number, "eta", "Noise that they add, in [0, 1]; the method's own when not given.")
    add(text, "policy_basis", "Of find: pixel, or dct:k for the k x k lowest frequencies.")
    add(flags.DEFINE_bool, "norm_preserve", "Of find: keep E|z|^2 / D at 1.")
    add(whole, "eval_images", "Fresh images before and after.")
    add(whole, "seed", "First seed.")
    add(whole, "seeds", "Number of seeds, run side by side.")


def wants_list(values: flags.FlagValues = flags.FLAGS) -> bool:
    """Whether the command line asks for the names of the methods."""
    return values["method"].value == "list"


def apply(config: ExperimentConfig, values: flags.FlagValues = flags.FLAGS) -> ExperimentConfig:
    """Sets the fields that the short flags name.

    Raises:
      ValueError: A flag that contradicts another, or a value that its field must not have.
    """
    given = {
        name: values[name].value
        for name in (*_FIELDS, *_OF_THE_METHOD)
        if values[name].value is not None
    }
    short: dict[str, Any] = {_FIELDS[n]: value for n, value in given.items() if n in _FIELDS}
    method = short.get("method", config.method)
    config_lib.check_one_of("method", method, tuple(METHODS))
    for name, field in _OF_THE_METHOD.items():
        if name in given:
            if not hasattr(getattr(config, method), field):
                raise ValueError(f"--{name}: the method {method} has no {field}")
            short[f"{method}.{field}"] = given[name]
    return config_lib.replace_fields(config, config_lib.merge_short_flags(config, short, values))
