"""Short flags of the launcher, each for one field of the experiment's config.

``--config.…`` sets any field; a short flag sets one that people change often. One field set in
both ways to different values is an error, and so are fields that a reference economy fixes.
"""

from __future__ import annotations

from typing import Any

from absl import flags

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.ai_economist.experiment import TAX_MODELS, WELFARE_NAMES, ExperimentConfig
from ai_econ_jax.envs.economy import skills

FIELDS = {
    "seed": "seed",
    "seeds": "num_seeds",
    "skills": "economy.skills",
    "num_workers": "economy.num_workers",
    "welfare": "welfare",
    "tax": "tax",
    "rates": "rates",
}
_OF_CUSTOM_ECONOMY = ("skills", "num_workers")
# What a trained run is played under, as opposed to how it was trained.
_PLAYED = ("tax", "rates")


def define() -> None:
    """Defines the flags on absl's global ones."""
    flags.DEFINE_integer("seed", None, "First seed.")
    flags.DEFINE_integer("seeds", None, "Number of seeds, trained side by side.")
    flags.DEFINE_string(
        "skills", None, "Coin per hour of each worker, comma-separated, or a one-column CSV file."
    )
    flags.DEFINE_integer("num_workers", None, "Workers with the published distribution of skills.")
    flags.DEFINE_string("welfare", None, f"Goal of the planner: {', '.join(WELFARE_NAMES)}.")
    flags.DEFINE_string("tax", None, f"Tax model of train and eval: {', '.join(TAX_MODELS)}.")
    flags.DEFINE_list("rates", None, "Marginal rates in [0, 1], lowest bracket first: tax = fixed.")


def apply(config: ExperimentConfig, values: flags.FlagValues = flags.FLAGS) -> ExperimentConfig:
    """Sets the fields that the short flags name.

    Raises:
      ValueError: A flag that contradicts another, or sets what nothing reads.
    """
    return _checked(config, config_lib.merge_short_flags(config, _short(values), values))


def apply_to_restored(
    restored: ExperimentConfig, config: ExperimentConfig, values: flags.FlagValues = flags.FLAGS
) -> tuple[ExperimentConfig, ExperimentConfig]:
    """Sets what the command line names on the config of a restored run, in place of a preset.

    Args:
      restored: How the run was trained.
      config: The parsed config, of which only the fields given by ``--config.…`` count.
      values: The parsed flags.

    Returns:
      The config to restore with, and the config to play with, whose tax model may differ.
    """
    if values["preset"].present:
        raise ValueError("--preset has no effect with --restore: the config is the trained run's")
    changes = config_lib.merge_short_flags(config, _short(values), values)
    trained = {field: value for field, value in changes.items() if field not in _PLAYED}
    if changes.get("tax", "fixed") != "fixed":
        changes.setdefault("rates", ())
    return _checked(restored, trained), _checked(restored, changes)


def _short(values: flags.FlagValues) -> dict[str, Any]:
    given: dict[str, Any] = {
        name: values[name].value for name in FIELDS if values[name].value is not None
    }
    if all(name in given for name in _OF_CUSTOM_ECONOMY):
        raise ValueError("--skills and --num_workers: give one of them, skills say how many")
    fields = {FIELDS[name]: value for name, value in given.items()}
    if "rates" in fields:
        fields["rates"] = tuple(_rate(text) for text in fields["rates"])
        fields.setdefault("tax", "fixed")
    if any(name in given for name in _OF_CUSTOM_ECONOMY):
        fields["economy.reference"] = "custom"
    return fields


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--rates: {text!r} is not a number") from None


def _checked(config: ExperimentConfig, changes: dict[str, Any]) -> ExperimentConfig:
    config = config_lib.replace_fields(config, changes)
    if config.economy.skills:
        # The record of a run holds the skills themselves: a file may change or move.
        values = skills.parse_skills(config.economy.skills)
        text = ",".join(repr(float(value)) for value in values)
        config = config_lib.replace_fields(config, {"economy.skills": text})
    reference = config.economy.reference
    ignored = sorted(f for f in changes if f.startswith("economy.") and f != "economy.reference")
    if reference != "custom" and ignored:
        raise ValueError(
            f"field {ignored[0]}: has no effect in reference economy {reference}; add "
            "--config.economy.reference=custom"
        )
    if (config.tax == "fixed") != bool(config.rates):
        raise ValueError(
            f"field rates = {config.rates}: is required by tax = 'fixed' and read by no other; "
            f"tax = {config.tax!r}"
        )
    return config
