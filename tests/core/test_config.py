import dataclasses
import json
import math

import pytest
from absl import flags

from ai_econ_jax import config


@dataclasses.dataclass(frozen=True)
class PPO:
    clip: float = 0.2
    normalize: bool = False
    hidden: tuple[int, ...] = (64, 64)
    bounds: tuple[float, float] = (0.0, 1.0)
    schedule: str | None = None

    def validate(self):
        config.check_range("clip", self.clip, 0, 1, exclude_low=True)


@dataclasses.dataclass(frozen=True)
class Config:
    ppo: PPO = PPO()
    num_updates: int = 3

    def validate(self):
        config.check_positive("num_updates", self.num_updates)


PRESETS = {"paper": Config(), "small": Config(ppo=PPO(clip=0.1, hidden=(8,)), num_updates=1)}


def parse(*arguments):
    flag_values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "Where.", flag_values=flag_values)
    return config.parse_flags(PRESETS, ["program", *arguments], flag_values)


def test_first_preset_is_the_default():
    assert parse() == PRESETS["paper"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--preset=small", "--config.num_updates=7", "--workdir=x"),
        ("--config.num_updates=7", "--workdir", "x", "--preset", "small"),
    ],
)
def test_flags_override_the_preset_in_any_order(arguments):
    assert parse(*arguments) == dataclasses.replace(PRESETS["small"], num_updates=7)


@pytest.mark.parametrize(
    ("argument", "field", "value"),
    [
        ("--config.ppo.clip=0.3", "clip", 0.3),
        ("--config.ppo.clip=1", "clip", 1.0),
        ("--config.ppo.normalize", "normalize", True),
        ("--noconfig.ppo.normalize", "normalize", False),
        ("--config.ppo.hidden=(3, 4)", "hidden", (3, 4)),
        ("--config.ppo.hidden=3", "hidden", (3,)),
        ("--config.ppo.bounds=(2, 3)", "bounds", (2.0, 3.0)),
        ("--config.ppo.schedule=linear", "schedule", "linear"),
    ],
)
def test_override_sets_a_nested_field_in_its_own_type(argument, field, value):
    ppo = parse(argument).ppo
    assert getattr(ppo, field) == value
    assert type(getattr(ppo, field)) is type(value)


def test_parsing_leaves_the_presets_alone():
    before = config.to_dict(PRESETS["paper"])
    parse("--config.ppo.clip=0.9")
    assert config.to_dict(PRESETS["paper"]) == before


@pytest.mark.parametrize(
    ("argument", "kind", "words"),
    [
        ("--preset=huge", flags.IllegalFlagValueError, ["preset", "huge", "paper", "small"]),
        ("--config.ppo.clp=1", flags.UnrecognizedFlagError, ["ppo.clp", "mean", "ppo.clip"]),
        ("--config.ppo=build", flags.UnrecognizedFlagError, ["config.ppo"]),
        ("--workdr=x", flags.UnrecognizedFlagError, ["workdr", "mean", "workdir"]),
        ("--config.num_updates=1.5", flags.IllegalFlagValueError, ["num_updates", "1.5"]),
        ("--config.ppo.hidden=(3.5,)", config.ConfigError, ["ppo.hidden[0]", "3.5", "int"]),
        ("--config.ppo.bounds=(1.,)", config.ConfigError, ["ppo.bounds", "2 items"]),
        ("--config.ppo.clip=3", config.ConfigError, ["field ppo.clip = 3.0: must be in (0, 1]"]),
        ("stray", flags.Error, ["stray"]),
    ],
)
def test_bad_argument_is_one_line_that_names_it(argument, kind, words):
    with pytest.raises(kind) as caught:
        parse(argument)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_help_lists_every_field_with_its_preset_value():
    flag_values = flags.FlagValues()
    config.parse_flags(PRESETS, ["program", "--preset=small"], flag_values)
    text = flag_values.get_help()
    assert "--config.ppo.clip=0.1" in text
    assert "--config.num_updates=1" in text


def test_dict_round_trip_goes_through_json():
    value = Config(ppo=PPO(clip=math.inf, schedule="linear", hidden=()))
    assert config.from_dict(Config, json.loads(json.dumps(config.to_dict(value)))) == value
    json.dumps(config.to_dict(value), allow_nan=False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"ppo": {"clap": 1}}, "field ppo.clap = 1: no such field; have clip"),
        ({"ppo": 3}, "field ppo = 3: must be a dictionary of fields"),
        ({"num_updates": "3"}, "field num_updates = '3': must be of type int"),
        ({"num_updates": True}, "field num_updates = True: must be of type int"),
        ({"ppo": {"clip": "0.2"}}, "field ppo.clip = '0.2': must be of type float"),
    ],
)
def test_from_dict_names_the_bad_field(data, message):
    with pytest.raises(config.ConfigError) as caught:
        config.from_dict(Config, data)
    assert str(caught.value).startswith(message)


def test_validate_returns_a_good_config_and_names_the_path_of_a_bad_field():
    assert config.validate(PRESETS["small"]) is PRESETS["small"]
    with pytest.raises(config.ConfigError) as caught:
        config.validate(Config(ppo=PPO(clip=3.0), num_updates=0))
    assert caught.value.field == "ppo.clip"
    assert str(caught.value) == "field ppo.clip = 3.0: must be in (0, 1]"
    with pytest.raises(config.ConfigError, match="field num_updates = 0: must be positive"):
        config.validate(Config(num_updates=0))


@pytest.mark.parametrize(
    ("value", "options", "requirement"),
    [
        (-0.1, {"low": 0, "high": 1}, "must be in [0, 1]"),
        (0, {"low": 0, "high": 1, "exclude_low": True}, "must be in (0, 1]"),
        (1, {"low": 0, "high": 1, "exclude_high": True}, "must be in [0, 1)"),
        (0, {"low": 1}, "must be >= 1"),
        (1, {"low": 1, "exclude_low": True}, "must be > 1"),
        (2, {"high": 1}, "must be <= 1"),
        (1, {"high": 1, "exclude_high": True}, "must be < 1"),
        (math.nan, {"low": 0, "high": 1}, "must be in [0, 1]"),
        (math.nan, {"low": 0}, "must be >= 0"),
    ],
)
def test_range_error_states_the_allowed_interval(value, options, requirement):
    with pytest.raises(config.ConfigError) as caught:
        config.check_range("x", value, **options)
    assert caught.value.requirement == requirement


def test_range_includes_its_ends_unless_told_otherwise():
    config.check_range("x", 0, 0, 1)
    config.check_range("x", 1, 0, 1)
    config.check_range("x", math.inf, low=0)


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_positive_refuses_what_is_not_positive_and_finite(value):
    with pytest.raises(config.ConfigError):
        config.check_positive("x", value)


def test_one_of_lists_the_choices():
    config.check_one_of("mode", "a", ("a", "b"))
    with pytest.raises(config.ConfigError, match="field mode = 'c': must be one of a, b"):
        config.check_one_of("mode", "c", ("a", "b"))
