"""Episode logs: everything that is needed to redraw or to study one episode, in one ``.npz`` file.

A log holds no pickles, says which version of the format it is, and is checked field by field when
it is read and when it is made. Axes: T steps, S = T + 1 states (state 0 is the reset state, state t
is what step t led to), N workers, R resources, H x W cells, B tax brackets, K order slots of a
worker and resource, C sub-actions of a worker, P sub-actions of the planner, M trades, Y tax years.

Source: spec of the gather-trade-build economy, section 3.2, for what a state is.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np

from ai_econ_jax import npz

FORMAT = "ai_econ_jax.gather_trade_build.episode"
VERSION = 1

NO_ORDER, BID, ASK = 0, 1, 2
NO_OWNER = -1

_FORMAT_FIELD, _VERSION_FIELD = "format", "version"


def _array(
    dtype: str, axes: str, low: float | None = None, below: str | float | None = None
) -> Any:
    """A field of the log: ``axes`` are names of axes, ``below`` is a number or the name of one."""
    return dataclasses.field(metadata={"dtype": dtype, "axes": axes, "low": low, "below": below})


@dataclasses.dataclass(frozen=True, eq=False)
class EpisodeLog:
    """One episode. Arrays of numpy, validated when made; coin and income are in coin.

    Raises:
      ValueError: A field has the wrong type, shape or range; one line that names it.
    """

    # What does not change.
    sources: np.ndarray = _array("bool", "R H W")  # cells where a resource grows
    water: np.ndarray = _array("bool", "H W")
    build_payment: np.ndarray = _array("float32", "N", low=0)  # coin per house
    build_skill: np.ndarray = _array("float32", "N")  # as observed
    gather_bonus: np.ndarray = _array("float32", "N", low=0)  # probability of a second unit
    cutoffs: np.ndarray = _array("float32", "B", low=0)  # lower ends of the brackets, in coin
    worker_names: np.ndarray = _array("str", "N")
    resource_names: np.ndarray = _array("str", "R")
    config: np.ndarray = _array("str", "")  # JSON object: how the episode was made
    # States.
    location: np.ndarray = _array("int16", "S N 2", low=0)  # row, column
    coin: np.ndarray = _array("float32", "S N")  # in the inventory
    escrow_coin: np.ndarray = _array("float32", "S N")  # set aside by open bids
    inventory: np.ndarray = _array("int32", "S N R", low=0)  # units
    escrow: np.ndarray = _array("int32", "S N R", low=0)  # units set aside by open asks
    labor: np.ndarray = _array("float32", "S N", low=0)  # cumulative
    income: np.ndarray = _array("float32", "S N")  # of the current tax year so far
    utility: np.ndarray = _array("float32", "S N")
    welfare: np.ndarray = _array("float32", "S")  # the planner's objective
    resources: np.ndarray = _array("uint8", "S R H W")  # units on the map
    house_owner: np.ndarray = _array("int16", "S H W", low=NO_OWNER, below="N")
    order_side: np.ndarray = _array("int8", "S R N K", low=NO_ORDER, below=3)
    order_price: np.ndarray = _array("int16", "S R N K", low=0)  # where there is an order
    order_birth: np.ndarray = _array("int32", "S R N K")  # step that made it
    rates: np.ndarray = _array("float32", "S B", low=0, below=1.0001)  # marginal, in force
    tax_day: np.ndarray = _array("int32", "S", low=0)  # day of the tax year, from 1
    # Steps.
    worker_actions: np.ndarray = _array("int32", "T N C")
    planner_actions: np.ndarray = _array("int32", "T P")
    # Events, in order; a step is counted from 1, so that it is the index of the state it led to.
    trade_step: np.ndarray = _array("int32", "M", low=1, below="S")
    trade_resource: np.ndarray = _array("int32", "M", low=0, below="R")
    trade_buyer: np.ndarray = _array("int32", "M", low=0, below="N")
    trade_seller: np.ndarray = _array("int32", "M", low=0, below="N")
    trade_price: np.ndarray = _array("int32", "M", low=0)  # coin
    year_step: np.ndarray = _array("int32", "Y", low=1, below="S")  # when the year's tax was taken
    year_rates: np.ndarray = _array("float32", "Y B", low=0, below=1.0001)
    year_income: np.ndarray = _array("float32", "Y N")
    year_paid: np.ndarray = _array("float32", "Y N", low=0)
    year_lump_sum: np.ndarray = _array("float32", "Y", low=0)  # what each worker got back

    def __post_init__(self) -> None:
        self.validate()

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.coin) - 1

    @property
    def num_workers(self) -> int:
        """N."""
        return self.coin.shape[1]

    @property
    def total_coin(self) -> np.ndarray:
        """Coin of the inventory and in escrow, f32[S, N]."""
        return self.coin + self.escrow_coin

    @property
    def configuration(self) -> dict[str, Any]:
        """``config`` as a dictionary."""
        return json.loads(str(self.config))

    def validate(self) -> None:
        """Checks types, shapes, ranges and what must hold between fields."""
        sizes: dict[str, int] = {}
        for field in dataclasses.fields(self):
            _check_field(field, getattr(self, field.name), sizes)
        if sizes["S"] != sizes["T"] + 1:
            raise ValueError(
                f"field coin has {sizes['S']} states, must have one more than the {sizes['T']} "
                "steps of field worker_actions"
            )
        for axis, name in enumerate(("H", "W")):
            beyond = self.location[..., axis].max(initial=0)
            if beyond >= sizes[name]:
                raise ValueError(
                    f"field location has {beyond}, must be below {name} = {sizes[name]}"
                )
        if np.any(np.diff(self.cutoffs) <= 0):
            raise ValueError(f"field cutoffs is {self.cutoffs.tolist()}, must ascend strictly")
        for name in ("trade_step", "year_step"):
            if np.any(np.diff(getattr(self, name)) < 0):
                raise ValueError(f"field {name} must not descend")
        try:
            is_object = isinstance(json.loads(str(self.config)), dict)
        except json.JSONDecodeError:
            is_object = False
        if not is_object:
            raise ValueError("field config is not a JSON object")


def _check_field(field: dataclasses.Field, value: Any, sizes: dict[str, int]) -> None:
    """Checks one field; ``sizes`` remembers the axes met so far."""
    kind, axes = field.metadata["dtype"], field.metadata["axes"].split()
    if not isinstance(value, np.ndarray):
        raise ValueError(f"field {field.name} is a {type(value).__name__}, must be a numpy array")
    is_kind = value.dtype.kind == "U" if kind == "str" else value.dtype == np.dtype(kind)
    if not is_kind:
        raise ValueError(f"field {field.name} has type {value.dtype}, must be {kind}")
    expected = [int(axis) if axis.isdigit() else sizes.get(axis) for axis in axes]
    fits = value.ndim == len(axes) and all(
        wanted in (None, size) for wanted, size in zip(expected, value.shape, strict=True)
    )
    if not fits:
        known = ", ".join(
            axis if wanted is None or axis.isdigit() else f"{axis} = {wanted}"
            for axis, wanted in zip(axes, expected, strict=True)
        )
        raise ValueError(f"field {field.name} has shape {value.shape}, must be [{known}]")
    sizes.update(zip(axes, value.shape, strict=True))
    if kind == "float32" and not np.isfinite(value).all():
        raise ValueError(f"field {field.name} has a value that is not finite")
    low, below = field.metadata["low"], field.metadata["below"]
    if value.size and low is not None and value.min() < low:
        raise ValueError(f"field {field.name} has {value.min()}, must be at least {low}")
    limit = sizes[below] if isinstance(below, str) else below
    if value.size and limit is not None and value.max() >= limit:
        name = f"{below} = " if isinstance(below, str) else ""
        raise ValueError(f"field {field.name} has {value.max()}, must be below {name}{limit}")


def save(log: EpisodeLog, path: str | os.PathLike) -> None:
    """Writes a log as a compressed ``.npz``, atomically; its folder is made when it is missing."""
    arrays: dict[str, Any] = {
        _FORMAT_FIELD: np.array(FORMAT),
        _VERSION_FIELD: np.array(VERSION, np.int32),
    }
    arrays |= {field.name: getattr(log, field.name) for field in dataclasses.fields(log)}
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    npz.write(target, arrays)


def load(path: str | os.PathLike) -> EpisodeLog:
    """Reads and checks a log.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: It is not an episode log, is of another version, or has a field that is missing or
        wrong; one line that names file and field.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such episode log")
    try:
        arrays = npz.read(path)
    except npz.NpzError as error:
        raise ValueError(f"{path}: not an episode log: {error}") from None
    written = str(arrays.get(_FORMAT_FIELD))
    if written != FORMAT:
        raise ValueError(f"{path}: not an episode log (field format is {written!r})")
    version = arrays.get(_VERSION_FIELD)
    if version is None or version.shape != () or version != VERSION:
        raise ValueError(f"{path}: field version is {version}, this program reads {VERSION}")
    fields = [field.name for field in dataclasses.fields(EpisodeLog)]
    missing = [name for name in fields if name not in arrays]
    if missing:
        raise ValueError(f"{path}: field {missing[0]} is missing")
    try:
        return EpisodeLog(**{name: arrays[name] for name in fields})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
