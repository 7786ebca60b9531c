"""The static half of an environment: its configuration, its map, and sizes derived from them."""

import dataclasses
import functools

import numpy as np

from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.gather_trade_build import layouts, procedural
from ai_econ_jax.envs.gather_trade_build.config import GROWN_KINDS, RATE_SLACK, Config


@dataclasses.dataclass(frozen=True, eq=False)
class World:
    """What components get beside state, action, noise and parameters. Compared by identity.

    Attributes:
      config: The configuration.
      water: bool[H, W].
      source: u8[2, H, W], where resources grow; zeros where each episode grows its own map.
      sites: i32[S], indices into ``[2 * H * W]`` of all places where a resource may ever grow.
      rates: f64[R], the marginal rates among which the planner chooses.
      start: i32[N, 2], starting place by skill rank with ``fixed_four``; else None.
    """

    config: Config
    water: np.ndarray
    source: np.ndarray
    sites: np.ndarray
    rates: np.ndarray
    start: np.ndarray | None

    @property
    def height(self) -> int:
        """H, rows."""
        return self.water.shape[0]

    @property
    def width(self) -> int:
        """W, columns."""
        return self.water.shape[1]

    @property
    def has_new_maps(self) -> bool:
        """Whether every episode grows its own map."""
        return self.config.layout_kind in GROWN_KINDS

    @property
    def split_row(self) -> int:
        """The row of water of the split layout."""
        row = self.config.split_row
        return self.height // 2 if row is None else row

    @property
    def planner_acts(self) -> bool:
        """Whether the planner has anything to choose."""
        return self.config.tax_model == "planner" and "tax" in self.config.components

    @property
    def num_brackets(self) -> int:
        """B."""
        config = self.config
        return brackets.make_cutoffs(
            config.bracket_spacing, config.num_brackets, config.top_cutoff
        ).size


def build_world(config: Config) -> World:
    """Reads the layout and derives what hangs on it; the same object while nothing has changed.

    Raises:
      ValueError: The configuration or the layout is not valid; see ``Config.validate``.
      FileNotFoundError: No such layout file.
    """
    return _build_world(config, layouts.digest(config.layout_file) if config.layout_file else "")


@functools.lru_cache(maxsize=64)
def _build_world(config: Config, layout_digest: str) -> World:
    del layout_digest  # a layout file that has changed is another world
    config.validate()
    layout = _layout(config)
    height, width = layout.size
    if config.fixed_four and height != width:
        raise ValueError(f"fixed_four needs a square map, layout is {height} x {width}")
    _check_room(config, layout)
    start = _corners(config.num_workers, width) if config.fixed_four else None
    if start is not None:
        _check_start(start, layout)
    may_grow = layout.source
    if config.layout_kind in GROWN_KINDS:
        may_grow = np.broadcast_to(~layout.water, layout.source.shape)
    sites = np.flatnonzero(may_grow)
    return World(
        config=config,
        water=layout.water,
        source=layout.source,
        sites=sites.astype(np.int32),
        rates=_rates(config),
        start=start,
    )


def _layout(config: Config) -> layouts.Layout:
    if config.layout_kind in GROWN_KINDS:
        return procedural.empty_layout(config)
    origin = config.layout_file or config.layout
    layout = layouts.read(origin) if config.layout_file else layouts.published(origin)
    if config.world_size is not None and tuple(config.world_size) != layout.size:
        raise ValueError(
            f"{origin}: layout is {layout.size[0]} x {layout.size[1]}, world_size is "
            f"{config.world_size[0]} x {config.world_size[1]}"
        )
    if config.layout_kind == "split":
        return layouts.split(layout, config.split_row, origin)
    return layout


def _check_room(config: Config, layout: layouts.Layout) -> None:
    regions = {"the map": (~layout.water, config.num_workers)}
    if config.layout_kind == "split":
        row = layout.size[0] // 2 if config.split_row is None else config.split_row
        num_top = len(set(config.top_ranks))
        regions = {
            "the map above the water": (~layout.water[:row], num_top),
            "the map below the water": (~layout.water[row:], config.num_workers - num_top),
        }
    for place, (free, workers) in regions.items():
        if workers > free.sum():
            raise ValueError(
                f"num_workers is {config.num_workers}: {workers} workers do not fit on the "
                f"{free.sum()} free cells of {place}"
            )


def _check_start(start: np.ndarray, layout: layouts.Layout) -> None:
    inside = np.all((start >= 0) & (start < layout.size), axis=-1)
    if not inside.all() or len(np.unique(start, axis=0)) < len(start):
        raise ValueError(
            f"num_workers is {len(start)}: their four corners overlap on a map of {layout.size[0]} "
            f"x {layout.size[1]}"
        )
    wet = start[layout.water[start[:, 0], start[:, 1]]]
    if len(wet):
        raise ValueError(f"fixed_four starts a worker at {tuple(wet[0].tolist())}, which is water")


def _rates(config: Config) -> np.ndarray:
    rates = np.arange(config.rate_min, config.rate_max + config.rate_step, config.rate_step)
    if config.official_rounding:
        return rates[rates <= config.rate_max]
    # Beyond the maximum by rounding only is the maximum itself.
    return np.minimum(rates[rates <= config.rate_max + RATE_SLACK], config.rate_max)


def _corners(num_workers: int, size: int) -> np.ndarray:
    """Starting places by skill rank, ascending: four groups, one to a corner (spec 3.3)."""
    # Floating-point as the official code, which for some N rounds a group's first rank down.
    group = np.floor(np.arange(num_workers) * (4 / num_workers)).astype(int)
    place = np.arange(num_workers) - np.searchsorted(group, group)
    down, along = place // 4, place % 4
    last = size - 1
    row = np.choose(group, [down, last - down, down, last - down])
    column = np.choose(group, [last - along, along, along, last - along])
    return np.stack([row, column], axis=-1).astype(np.int32)
