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
from ai_econ_jax.agents.find.compare import CompareConfig
from ai_econ_jax.agents.find.experiment_config import METHODS, ExperimentConfig
from ai_econ_jax.envs.diffusion import host_rewards

_FIELDS = {
    "model": "model",
    "prompt": "prompt",
    "reward": "reward",
    "steps": "steps",
    "eta": "eta",
    "eval_images": "eval_images",
    "seed": "seed",
    "seeds": "num_seeds",
    "policy_basis": "find.basis",
    "norm_preserve": "find.norm_preserve",
}
_OF_THE_METHOD = {"images": "images", "batch_size": "batch_size", "lr": "learning_rate"}
_OF_THE_COMPARISON = {"methods": "methods", "images": "images", "long_images": "long_images"}


def define(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags, on absl's global ones unless a test says otherwise."""
    add = _adder(values)
    _define_common(add)
    text, number, whole = flags.DEFINE_string, flags.DEFINE_float, flags.DEFINE_integer
    add(text, "method", f"list prints them: {', '.join(METHODS)}.")
    add(whole, "images", "Images that the method may draw.")
    add(whole, "batch_size", "Images of one update.")
    add(number, "lr", "Learning rate of the method.")


def define_comparison(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of a comparison."""
    add = _adder(values)
    _define_common(add)
    add(flags.DEFINE_list, "methods", f"Comma-separated, of {', '.join(METHODS)}.")
    add(flags.DEFINE_integer, "images", "Images that each method may draw.")
    add(flags.DEFINE_integer, "long_images", "The same, in a second run of each; 0 for none.")


def _adder(values: flags.FlagValues) -> Callable[..., None]:
    def add(kind: Callable[..., Any], name: str, about: str) -> None:
        kind(name, None, about, flag_values=values)

    return add


def _define_common(add: Callable[..., None]) -> None:
    text, number, whole = flags.DEFINE_string, flags.DEFINE_float, flags.DEFINE_integer
    add(text, "model", f"{', '.join(setting.NAMES)}, or a folder that train_diffusion left.")
    add(text, "prompt", "What the images shall show; of models of digits, one such as three.")
    names = f"{', '.join(host_rewards.NAMES)}, or module:function, which gets images and prompts"
    add(text, "reward", f"Instead of the model's own: {names}.")
    add(whole, "steps", "Steps of the sampler; terrain has one.")
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
    short = {field: values[name].value for name, field in _FIELDS.items() if _given(values, name)}
    method = values["method"].value or config.method
    config_lib.check_one_of("method", method, tuple(METHODS))
    short["method"] = method
    for name, field in _OF_THE_METHOD.items():
        if _given(values, name):
            if not hasattr(getattr(config, method), field):
                raise ValueError(f"--{name}: the method {method} has no {field}")
            short[f"{method}.{field}"] = values[name].value
    return config_lib.replace_fields(config, config_lib.merge_short_flags(config, short, values))


def apply_comparison(
    config: CompareConfig, values: flags.FlagValues = flags.FLAGS
) -> CompareConfig:
    """As `apply`, for the flags of a comparison."""
    fields = {name: f"run.{field}" for name, field in _FIELDS.items()} | _OF_THE_COMPARISON
    short = {field: values[name].value for name, field in fields.items() if _given(values, name)}
    return config_lib.replace_fields(config, config_lib.merge_short_flags(config, short, values))


def _given(values: flags.FlagValues, name: str) -> bool:
    return values[name].value is not None
