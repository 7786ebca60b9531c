"""What is fixed when an environment is compiled: sizes, names, switches."""

import dataclasses
import math

from ai_econ_jax.envs.economy import brackets, saez, welfare
from ai_econ_jax.envs.gather_trade_build.state import RESOURCES, STONE, WOOD

# Every episode of these draws its own map, see procedural.py.
GROWN_KINDS = ("uniform", "quadrant", "multi_zone")
LAYOUT_KINDS = ("file", "split", *GROWN_KINDS)
SKILL_LAWS = ("none", "pareto", "lognormal")
WARMUP_METHODS = ("decay", "auto")
# The packed map (ground.py) and i8 owners of houses set this limit.
MAX_WORKERS = 126
# Multiples of the step are rates up to the highest one, although 3 * 0.1 > 0.3.
RATE_SLACK = 1e-9


@dataclasses.dataclass(frozen=True)
class Config:
    """Static half of a gather-trade-build economy; numbers that one sweeps are in ``Params``.

    Attributes:
      num_workers: N, from 2.
      layout: Name of a published layout, see ``layouts.names()``.
      layout_file: Path of a user's layout file instead; empty for none.
      layout_kind: ``file`` uses the layout as it is, ``split`` divides it by a row of water; with
        ``uniform``, ``quadrant`` and ``multi_zone`` every episode draws its own, see
        ``procedural.py``, and the two fields above have no part.
      world_size: Height and width. A layout that is read must have it, None for any; one that is
        drawn needs it.
      coverage: Of drawn layouts: share of the cells where Stone, and Wood, grows.
      clumpiness: Of drawn layouts: share of the sources of Stone, and Wood, that grow around
        others, in [0, 1].
      steepness: Of ``uniform`` and ``quadrant``: exponent, from 1, with which resources thin out
        from their side of the map.
      zone_grid: Of ``multi_zone``: regions down and along the map.
      num_zones: Of ``multi_zone``: regions with Wood, with Stone and with both.
      regeneration_halfwidth: h of Stone and Wood, 0 to 3: a resource grows back with the
        probability ``Params.regeneration`` times the share of sources among the (2h + 1)^2 cells
        around.
      episode_length: In steps.
      components: Names of ``components.COMPONENTS``, in the order in which they act.
      multi_action: Workers choose one action for each of build, four kinds of orders, and move.
      full_observability: Workers see the whole map instead of a window.
      observation_radius: Cells that a worker sees in each direction.
      planner_sees_map: The planner sees the map and places of workers.
      observation_scaling: Inventories and price histories are scaled by 0.01, time by the episode.
      max_price: Highest price of an order, in coin.
      max_orders: K, open orders of one worker for one resource.
      skill_law: Law of build skills.
      bonus_law: Law of the probability to gather a second unit.
      fixed_four: Published setting: workers share four skill groups that start in four corners.
      split_row: Row of water of the split layout; None for the middle.
      top_ranks: Skill ranks (0 highest) that start above that row; the others start below.
      tax_model: A name of ``tax_models.TAX_MODELS``.
      bracket_spacing: A name of ``brackets.SPACINGS``.
      num_brackets: B, for the spacings ``linear`` and ``log``.
      top_cutoff: Income at which the top bracket starts, for those spacings, in coin.
      rate_min, rate_max, rate_step: The marginal rates among which the planner chooses.
      pareto_weights: Welfare weights of the Saez formula.
      planner_goal: A name of ``welfare.WELFARE_FUNCTIONS``.
      gini_mode: ``foundation`` is the official formula, ``exact`` the textbook's.
      warmup_method: What drives the warm-up of labor costs: episodes (``decay``), or steps with a
        positive mean reward (``auto``).
      official_rounding: Compare as the official code does where that hangs on rounding: rates with
        their maximum and the cap, and incomes with 0. Otherwise 1e-9, 1e-6 and 1e-4 of slack stand
        between.
      debug: Check actions and coin; the caller then maps `step` through `checkify`.
    """

    num_workers: int = 4
    layout: str = "quadrant_25x25_20each_30clump"
    layout_file: str = ""
    layout_kind: str = "file"
    world_size: tuple[int, int] | None = None
    coverage: tuple[float, float] = (0.025, 0.025)
    clumpiness: tuple[float, float] = (0.5, 0.35)
    steepness: float = 8.0
    zone_grid: tuple[int, int] = (8, 8)
    num_zones: tuple[int, int, int] = (6, 6, 4)
    regeneration_halfwidth: tuple[int, int] = (0, 0)
    episode_length: int = 1000
    components: tuple[str, ...] = ("build", "trade", "gather", "tax")
    multi_action: bool = False
    full_observability: bool = False
    observation_radius: int = 5
    planner_sees_map: bool = False
    observation_scaling: bool = True
    max_price: int = 10
    max_orders: int = 5
    skill_law: str = "pareto"
    bonus_law: str = "pareto"
    fixed_four: bool = True
    split_row: int | None = None
    top_ranks: tuple[int, ...] = (0,)
    tax_model: str = "planner"
    bracket_spacing: str = "us_federal"
    num_brackets: int = 7
    top_cutoff: float = 100.0
    rate_min: float = 0.0
    rate_max: float = 1.0
    rate_step: float = 0.05
    pareto_weights: str = "inverse_income"
    planner_goal: str = "equality_times_productivity"
    gini_mode: str = "foundation"
    warmup_method: str = "decay"
    official_rounding: bool = False
    debug: bool = False

    @property
    def num_prices(self) -> int:
        """P, prices 0 to ``max_price``."""
        return self.max_price + 1

    def validate(self) -> None:
        """Checks everything that can be checked without reading the layout.

        Raises:
          ValueError: Names the field, its value and what is allowed.
        """
        _in_range("num_workers", self.num_workers, 2, MAX_WORKERS)
        _in_range("episode_length", self.episode_length, 1)
        _in_range("observation_radius", self.observation_radius, 0)
        _in_range("max_price", self.max_price, 1)
        _in_range("max_orders", self.max_orders, 1)
        _one_of("layout_kind", self.layout_kind, LAYOUT_KINDS)
        _one_of("skill_law", self.skill_law, SKILL_LAWS)
        _one_of("bonus_law", self.bonus_law, SKILL_LAWS)
        _one_of("warmup_method", self.warmup_method, WARMUP_METHODS)
        _one_of("pareto_weights", self.pareto_weights, saez.PARETO_WEIGHTS)
        _one_of("gini_mode", self.gini_mode, welfare.GINI_MODES)
        welfare.welfare_function(self.planner_goal)
        if not 0 <= self.rate_min <= self.rate_max <= 1:
            raise ValueError(
                f"rate_min is {self.rate_min:g} and rate_max {self.rate_max:g}, must satisfy "
                "0 <= rate_min <= rate_max <= 1"
            )
        if not 0 < self.rate_step <= 1:
            raise ValueError(f"rate_step is {self.rate_step:g}, must lie in (0, 1]")
        if self.tax_model == "planner" and (
            self.rate_min + self.rate_step > self.rate_max + RATE_SLACK
        ):
            raise ValueError(
                f"rate_step is {self.rate_step:g}, leaves the planner one rate between rate_min "
                f"{self.rate_min:g} and rate_max {self.rate_max:g}; must leave at least two"
            )
        if self.bracket_spacing != "us_federal" and self.top_cutoff < 10:
            raise ValueError(f"top_cutoff is {self.top_cutoff:g}, must be at least 10")
        brackets.make_cutoffs(self.bracket_spacing, self.num_brackets, self.top_cutoff)
        if self.tax_model == "us_federal" and self.bracket_spacing != "us_federal":
            raise ValueError(
                f"tax_model us_federal needs bracket_spacing us_federal, not {self.bracket_spacing}"
            )
        self._validate_ranks()
        for name, halfwidth in zip(RESOURCES, self.regeneration_halfwidth, strict=True):
            _in_range(f"regeneration_halfwidth of {name}", halfwidth, 0, 3)
        if self.layout_kind in GROWN_KINDS:
            self._validate_grown()
        # Orders are sorted by one integer, see auction.py.
        if self.num_prices * (self.episode_length + 1) * self.num_workers >= 2**31:
            raise ValueError(
                f"max_price {self.max_price}, episode_length {self.episode_length} and num_workers "
                f"{self.num_workers} are too large together: the product of prices, steps and "
                "workers must stay below 2^31"
            )

    def _validate_ranks(self) -> None:
        """Checks what concerns skill ranks."""
        if self.fixed_four and self.skill_law != "pareto":
            raise ValueError(f"fixed_four needs skill_law pareto, not {self.skill_law}")
        if self.fixed_four and self.layout_kind != "file":
            raise ValueError(f"fixed_four needs layout_kind file, not {self.layout_kind}")
        if self.layout_kind != "split":
            return
        if self.skill_law != "pareto":
            raise ValueError(f"layout_kind split needs skill_law pareto, not {self.skill_law}")
        outside = [rank for rank in self.top_ranks if not 0 <= rank < self.num_workers]
        if outside:
            raise ValueError(
                f"top_ranks has {outside[0]}, must lie in [0, {self.num_workers}), num_workers"
            )
        if not 0 < len(set(self.top_ranks)) < self.num_workers:
            raise ValueError(
                f"top_ranks is {list(self.top_ranks)}, must leave at least one of the "
                f"{self.num_workers} workers above the water and one below"
            )

    def _validate_grown(self) -> None:
        """Checks what concerns the layouts that are drawn."""
        kind = self.layout_kind
        if self.world_size is None:
            raise ValueError(f"layout_kind {kind} needs world_size, a height and a width")
        if self.layout_file:
            raise ValueError(f"layout_kind {kind} draws its layout, layout_file must be empty")
        for size in self.world_size:
            _in_range("world_size", size, 2)
        if not (self.steepness >= 1 and math.isfinite(self.steepness)):
            raise ValueError(f"steepness is {self.steepness:g}, must be at least 1")
        for name, share in zip(RESOURCES, self.clumpiness, strict=True):
            if not 0 <= share <= 1:
                raise ValueError(f"clumpiness of {name} is {share:g}, must lie in [0, 1]")
        for name, share in zip(RESOURCES, self.coverage, strict=True):
            if not share > 0:
                raise ValueError(f"coverage of {name} is {share:g}, must be above 0")
        if not sum(self.coverage) < 0.5:
            raise ValueError(
                f"coverage is {self.coverage[STONE]:g} of Stone and {self.coverage[WOOD]:g} of "
                "Wood, must be below 0.5 together"
            )
        if kind == "multi_zone":
            self._validate_zones()

    def _validate_zones(self) -> None:
        """Checks the zones of ``multi_zone``."""
        for number in self.zone_grid:
            _in_range("zone_grid", number, 1)
        for number in self.num_zones:
            _in_range("num_zones", number, 0)
        wood, stone, both = self.num_zones
        rows, columns = self.zone_grid
        if sum(self.num_zones) > rows * columns:
            raise ValueError(
                f"num_zones has {sum(self.num_zones)} zones, zone_grid {rows} x {columns} has "
                f"{rows * columns} regions"
            )
        for name, number in (("Wood", wood + both), ("Stone", stone + both)):
            if number == 0:
                raise ValueError(f"num_zones is {self.num_zones}, must leave {name} a zone")


def _in_range(name: str, value: int, low: int, high: int | None = None) -> None:
    if value < low or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name} is {value}, must be {allowed}")


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ValueError(f"{name} {value!r} is unknown; valid: {', '.join(valid)}")
