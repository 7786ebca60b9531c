"""Typed configuration: frozen dataclasses, checked once, set from the command line.

A config is a frozen dataclass whose fields are numbers, strings, booleans, tuples of those, those
or ``None``, or further config dataclasses (never ``None``). One that has rules defines
``validate(self)`` and calls the ``check_*`` functions with the bare names of its own fields;
``validate`` here walks the nesting and puts the path in front, so the user reads
``field ppo.clip = 3.0: must be in (0, 1]``.

Presets are named values of the dataclass. ``--preset=NAME`` gives the defaults and every
``--config.a.b=value`` overrides one field of it, in whatever order the two stand.
"""

import dataclasses
import difflib
import functools
import math
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from absl import flags
from ml_collections import config_flags

ConfigT = TypeVar("ConfigT")

_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)(?:=.*)?", flags=re.DOTALL)


class ConfigError(ValueError):
    """A config field has a value that it must not have.

    Attributes:
        field: Dotted path of the field.
        value: What it was set to.
        requirement: What it must be, as the end of a sentence ("must be positive").
    """

    def __init__(self, field: str, value: Any, requirement: str):
        super().__init__(f"field {field} = {value!r}: {requirement}")
        self.field = field
        self.value = value
        self.requirement = requirement


def check(condition: bool, field: str, value: Any, requirement: str) -> None:
    """Raises ``ConfigError`` about ``field`` unless ``condition`` holds."""
    if not condition:
        raise ConfigError(field, value, requirement)


def check_range(
    field: str,
    value: float,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    exclude_low: bool = False,
    exclude_high: bool = False,
) -> None:
    """Raises ``ConfigError`` unless ``value`` lies between ``low`` and ``high``.

    Args:
        field: Name of the field.
        value: Its value; NaN lies nowhere.
        low: Smallest allowed value.
        high: Largest allowed value.
        exclude_low: Whether ``low`` itself is forbidden.
        exclude_high: Whether ``high`` itself is forbidden.
    """
    above = low < value if exclude_low else low <= value
    below = value < high if exclude_high else value <= high
    if math.isinf(high):
        requirement = f"must be {'>' if exclude_low else '>='} {low}"
    elif math.isinf(low):
        requirement = f"must be {'<' if exclude_high else '<='} {high}"
    else:
        left, right = "(" if exclude_low else "[", ")" if exclude_high else "]"
        requirement = f"must be in {left}{low}, {high}{right}"
    check(above and below, field, value, requirement)


def check_positive(field: str, value: float) -> None:
    """Raises ``ConfigError`` unless ``value`` is finite and above zero."""
    check(0 < value < math.inf, field, value, "must be positive and finite")


def check_one_of(field: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raises ``ConfigError`` unless ``value`` is one of ``allowed``."""
    check(value in allowed, field, value, f"must be one of {', '.join(map(str, allowed))}")


def validate(config: ConfigT) -> ConfigT:
    """Runs the ``validate`` method of a config and of every config nested in it, inner ones first.

    Returns:
        The config, unchanged.

    Raises:
        ConfigError: With the full dotted path of the first field that breaks a rule.
    """
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            try:
                validate(value)
            except ConfigError as error:
                path = f"{field.name}.{error.field}"
                raise ConfigError(path, error.value, error.requirement) from None
    if hasattr(config, "validate"):
        config.validate()
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """Returns a config as nested dictionaries that JSON can hold; tuples become lists."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity; `_convert` reads "inf" back
    return value


def from_dict(cls: type[ConfigT], data: Mapping[str, Any]) -> ConfigT:
    """Builds a config from the dictionary that ``to_dict`` gave; absent fields keep their default.

    Args:
        cls: The config dataclass.
        data: Field values, nested as the config is.

    Raises:
        ConfigError: For a field that does not exist, or a value of the wrong type.
    """
    return _convert(data, cls, "")


def _convert(value: Any, kind: Any, path: str) -> Any:
    """Returns ``value`` as ``kind``, a field's declared type, or raises ``ConfigError``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _convert_config(value, kind, path)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _convert(value, inner, path)
    if origin is tuple:
        check(isinstance(value, tuple | list), path, value, "must be a sequence")
        if arguments[1:] != (Ellipsis,):
            check(len(value) == len(arguments), path, value, f"must have {len(arguments)} items")
        else:
            arguments = arguments[:1] * len(value)
        return tuple(
            _convert(item, inner, f"{path}[{i}]")
            for i, (item, inner) in enumerate(zip(value, arguments, strict=True))
        )
    if kind is float and (type(value) is int or value in ("inf", "-inf", "nan")):
        return float(value)
    check(type(value) is kind, path, value, f"must be of type {kind.__name__}")
    return value


def _convert_config(value: Any, cls: Any, path: str) -> Any:
    prefix = f"{path}." if path else ""
    check(isinstance(value, Mapping), path, value, "must be a dictionary of fields")
    kinds = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    for name, item in value.items():
        check(name in names, f"{prefix}{name}", item, f"no such field; have {', '.join(names)}")
    return cls(**{name: _convert(value[name], kinds[name], prefix + name) for name in value})


def parse_flags(
    presets: Mapping[str, ConfigT],
    argv: Sequence[str],
    flag_values: flags.FlagValues = flags.FLAGS,
) -> ConfigT:
    """Parses a command line: the flags defined on ``flag_values``, ``--preset``, ``--config.…``.

    Args:
        presets: Name to config; the first is the default.
        argv: The command line, program name first.
        flag_values: Where flags live; absl's global flags unless a test says otherwise.

    Returns:
        The preset with the overrides applied, validated.

    Raises:
        absl.flags.Error: For an unknown flag or preset, or a value of the wrong type.
        ConfigError: If the resulting config breaks one of its own rules.
    """
    argv = flag_values.read_flags_from_files(list(argv), force_gnu=True)
    chosen = presets[_chosen_preset(presets, argv)]
    _refuse_unknown_overrides(chosen, argv)
    # Registered as the program's own flags: absl's --help shows only those.
    program = sys.argv[0]
    _define_preset(presets, flag_values, module_name=program)
    config_flags.DEFINE_config_dataclass(
        "config", _thaw(chosen), _describe_fields(chosen), flag_values, sys_argv=argv
    )
    flag_values["config"].default_as_str = None  # the help lists the fields one by one already
    flag_values.register_key_flag_for_module(program, flag_values["config"])
    positional = flag_values(argv)[1:]
    if positional:
        raise flags.Error(f"unexpected argument {positional[0]!r}; flags look like --name=value")
    thawed: Any = flag_values["config"].value
    return validate(from_dict(type(chosen), dataclasses.asdict(thawed)))


def overridden_fields(flag_values: flags.FlagValues = flags.FLAGS) -> set[str]:
    """Returns the paths of all fields that the parsed command line set by ``--config.…``."""
    names = (name for name in flag_values if name.startswith("config."))
    return {name.removeprefix("config.") for name in names if flag_values[name].present}


def get_field(config: Any, path: str) -> Any:
    """Returns the field at a dotted path."""
    return functools.reduce(getattr, path.split("."), config)


def replace_fields(config: ConfigT, values: Mapping[str, Any]) -> ConfigT:
    """Returns a config with the fields at dotted paths replaced, validated.

    Raises:
        ConfigError: For a field that does not exist, or a value of the wrong type or range.
    """
    data = to_dict(config)
    for path, value in values.items():
        *parents, name = path.split(".")
        functools.reduce(dict.__getitem__, parents, data)[name] = value
    return validate(from_dict(type(config), data))


def merge_short_flags(
    config: Any, short: Mapping[str, Any], flag_values: flags.FlagValues = flags.FLAGS
) -> dict[str, Any]:
    """Joins what ``--config.…`` set with what a launcher's short flags set.

    Args:
        config: The parsed config.
        short: Dotted path of a field to the value that a short flag gave it.
        flag_values: The parsed flags.

    Returns:
        Dotted path to value of every field that the command line set in either way.

    Raises:
        ValueError: If one field was set in both ways, to different values.
    """
    explicit = {field: get_field(config, field) for field in overridden_fields(flag_values)}
    for field in explicit.keys() & short.keys():
        if explicit[field] != short[field]:
            raise ValueError(
                f"--config.{field}={explicit[field]} contradicts a short flag, which makes it "
                f"{short[field]}"
            )
    return explicit | dict(short)


def _define_preset(presets: Mapping[str, Any], flag_values: flags.FlagValues, **kwargs) -> None:
    names = list(presets)
    flags.DEFINE_enum("preset", names[0], names, "Named config.", flag_values, **kwargs)


def _chosen_preset(presets: Mapping[str, Any], argv: Sequence[str]) -> str:
    # A parse of its own, blind to all other flags: the flags of a config can be defined only when
    # its preset is known.
    first = flags.FlagValues()
    _define_preset(presets, first)
    first(argv, known_only=True)
    return first.preset


def _leaves(config: Any, prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value, path = getattr(config, field.name), prefix + field.name
        leaves |= _leaves(value, f"{path}.") if dataclasses.is_dataclass(value) else {path: value}
    return leaves


def _describe_fields(config: Any) -> str:
    lines = [f"--config.{path}={value}" for path, value in _leaves(config).items()]
    return "\n".join(["override one field of the preset; fields and defaults:", *lines])


def _refuse_unknown_overrides(config: Any, argv: Sequence[str]) -> None:
    # ml_collections would answer with a KeyError that names a Python class.
    known = _leaves(config)
    for argument in argv:
        override = _OVERRIDE.fullmatch(argument)
        if override and override[1] not in known:
            close = difflib.get_close_matches(override[1], known, n=3)
            raise flags.UnrecognizedFlagError(
                f"config.{override[1]}", suggestions=[f"config.{path}" for path in close]
            )


def _thaw(config: Any) -> Any:
    """Returns a mutable twin of a frozen config, because config_flags assigns to fields.

    The twin's annotations are resolved types, also where the config's module postpones them.
    """
    kinds = typing.get_type_hints(type(config))
    fields: list[tuple[str, Any]] = []
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        nested = dataclasses.is_dataclass(value)
        values[field.name] = _thaw(value) if nested else value
        fields.append((field.name, type(values[field.name]) if nested else kinds[field.name]))
    return dataclasses.make_dataclass(type(config).__name__, fields)(**values)
