"""Maps that every episode grows anew: ``uniform``, ``quadrant`` and ``multi_zone``.

A map takes Wood, then Stone on the cells without Wood. For each, seeds fall with a probability per
cell until they cover ``coverage * (1 - clumpiness)``; then random kernels grow them together until
they cover ``coverage``. A map with a coverage too far off is drawn again.

What the official code does differently from its descriptions is kept, since experiments ran on it:

- Where Stone may fall hangs on the coverage of Wood in ``uniform`` and ``multi_zone``. That only
  moves the start of the draw.
- The whole row and column of water of ``quadrant`` are cleared after the check of the coverage,
  which may then lie lower. Wood lies along the top and Stone along the left. The column of water
  is ``H // 2`` and the row ``W // 2``.
- The regions of ``multi_zone`` are rounded up, so that those of the last rows and columns may lie
  beyond the map, with their zones: of 8 x 8 regions on 25 x 25 cells, 7 x 7 are seen. A resource
  that has all its zones out there falls nowhere, and grows from noise. Growth passes the borders
  of zones, and ``steepness`` has no part.

Its loop of growth has no end; this one stops after ``MAX_GROWTH`` kernels.

Source: AI Economist, arXiv 2108.02755, official code; spec section 3.10.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.gather_trade_build.config import Config
from ai_econ_jax.envs.gather_trade_build.layouts import Layout
from ai_econ_jax.envs.gather_trade_build.state import RESOURCES, WOOD

MAX_ATTEMPTS, MAX_THINNING, MAX_GROWTH = 100, 201, 1000
COVERAGE_FACTOR = 1.4
_THINNING = 0.9
_SEED_SCALE = 0.1
_KERNEL = 7
_NOISE, _THRESHOLD = 0.2, 0.25
_MAX_CLUMPINESS = 0.99
# Shares of the height or width between which the lines of water are open.
_GAP_START, _GAP_END = 0.2, 0.35


def draw_source(key: jax.Array, config: Config, water: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Where resources grow in one episode.

    Args:
      key: Random key.
      config: With a layout kind of ``config.GROWN_KINDS``.
      water: bool[H, W], of ``empty_layout``.

    Returns:
      u8[2, H, W], 1 where Stone or Wood grows, and bool[], whether both coverages, before the lines
      of water were cleared, are within a factor ``COVERAGE_FACTOR`` of ``config.coverage``. It is
      False only after ``MAX_ATTEMPTS`` maps, of which it then is the last.
    """
    zone_key, map_key = jax.random.split(key)
    chance = seed_chances(zone_key, config, water)
    coverage = np.asarray(config.coverage)
    seed_share = 1 - np.minimum(config.clumpiness, _MAX_CLUMPINESS)
    chance *= (_SEED_SCALE * seed_share)[:, None, None]
    num_seeds = np.array([_num_cells(each, water.size) for each in coverage * seed_share])
    num_sources = np.array([_num_cells(each, water.size) for each in coverage])

    def attempt(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple:
        number, _, is_done = carry
        keys = jax.random.split(jax.random.fold_in(map_key, number))

        def grow(free: jax.Array, of_kind: tuple) -> tuple[jax.Array, jax.Array]:
            key, chance, num_seeds, num_sources = of_kind
            sources = _grow(key, chance, num_seeds, num_sources, free, is_done)
            return free & ~sources, sources

        free = jnp.ones(water.shape, bool)
        source = jax.lax.scan(grow, free, (keys, chance, num_seeds, num_sources), reverse=True)[1]
        ratio = jnp.mean(source, axis=(1, 2)) / coverage
        is_ok = jnp.all((ratio >= 1 / COVERAGE_FACTOR) & (ratio <= COVERAGE_FACTOR))
        return number + 1, source, is_ok

    start = (jnp.zeros((), jnp.int32), jnp.zeros((2, *water.shape), bool), jnp.zeros((), bool))
    _, source, is_ok = jax.lax.while_loop(
        lambda carry: (carry[0] < MAX_ATTEMPTS) & ~carry[2], attempt, start
    )
    if config.layout_kind == "quadrant":
        row, column = water_lines(water.shape)
        source = source.at[:, row].set(False).at[:, :, column].set(False)
    return source.astype(jnp.uint8), is_ok


def water_lines(size: tuple[int, ...]) -> tuple[int, int]:
    """Row and column of the water of ``quadrant``, for a map of ``size`` (H, W)."""
    height, width = size
    return width // 2, height // 2


def empty_layout(config: Config) -> Layout:
    """The map before anything grows: its water, which no episode changes.

    Raises:
      ValueError: No number of cells is close enough to a coverage, or the lines of water of
        ``quadrant`` lie outside the map.
    """
    assert config.world_size is not None, "validated"
    size = height, width = config.world_size
    for name, coverage in zip(RESOURCES, config.coverage, strict=True):
        if _num_cells(coverage, height * width) > COVERAGE_FACTOR * coverage * height * width:
            raise ValueError(
                f"coverage of {name} is {coverage:g}: no number of the {height * width} cells of "
                f"world_size {height} x {width} is within a factor {COVERAGE_FACTOR:g} of it"
            )
    water = np.zeros(size, bool)
    if config.layout_kind == "quadrant":
        _add_water(water)
    return Layout(source=np.zeros((2, *size), np.uint8), water=water)


def _add_water(water: np.ndarray) -> None:
    """Puts the two lines of water of ``quadrant``, each with two gaps, into ``water``."""
    height, width = size = water.shape
    row, column = water_lines(size)
    if row >= height or column >= width:
        raise ValueError(
            f"world_size is {height} x {width}: layout_kind quadrant has water on row {row} (half "
            f"the width) and column {column} (half the height), must lie on the map"
        )

    def is_wet(length: int) -> np.ndarray:
        place = (np.arange(length) + 0.5) / length
        is_middle = (place > _GAP_END) & (place < 1 - _GAP_END)
        return (place < _GAP_START) | is_middle | (place > 1 - _GAP_START)

    water[:, column] = is_wet(height)
    water[row, :] = is_wet(width)


def seed_chances(key: jax.Array, config: Config, water: np.ndarray) -> jax.Array:
    """How likely each cell is to get a seed, up to a common factor: f32[2, H, W].

    Only ``multi_zone`` draws anything: the regions in which its zones lie.
    """
    height, width = water.shape
    coverage = config.coverage[WOOD]
    if config.layout_kind == "uniform":
        gradient = np.linspace(0, 1, height) ** config.steepness
        down = np.broadcast_to((gradient / gradient.mean() * coverage)[:, None], water.shape)
        return jnp.asarray(np.stack([down[::-1], down]), float)
    if config.layout_kind == "quadrant":
        longest = max(height, width)
        top = (np.arange(height)[::-1, None] / longest) ** (config.steepness / 2)
        left = (np.arange(width)[::-1] / longest) ** (config.steepness / 2)
        both = np.stack([(top + left) * left, (top + left) * top]) * ~water
        return jnp.asarray(both / both.sum(axis=(1, 2), keepdims=True), float)
    rows, columns = config.zone_grid
    has_wood, has_stone = _zone_resources(config.num_zones, rows * columns)
    regions = jax.random.permutation(key, np.stack([has_stone, has_wood], axis=-1))
    regions = regions.reshape(rows, columns, 2)
    region_row = np.arange(height) // -(-height // rows)
    region_column = np.arange(width) // -(-width // columns)
    zones = jnp.moveaxis(regions[region_row[:, None], region_column], -1, 0).astype(float)
    share = jnp.mean(zones, axis=(1, 2), keepdims=True)
    return jnp.where(share > 0, zones / jnp.maximum(share, 1e-9) * coverage, 0.0)


def _zone_resources(num_zones: tuple[int, int, int], num_regions: int) -> tuple:
    """Whether each region has Wood, and Stone, before they are shuffled: two bool[regions]."""
    num_wood, num_stone, num_both = num_zones
    region = np.arange(num_regions)
    is_both = (region >= num_wood + num_stone) & (region < num_wood + num_stone + num_both)
    is_stone = (region >= num_wood) & (region < num_wood + num_stone)
    return (region < num_wood) | is_both, is_stone | is_both


def _grow(
    key: jax.Array,
    chance: jax.Array,
    num_seeds: jax.Array,
    num_sources: jax.Array,
    free: jax.Array,
    is_done: jax.Array,
) -> jax.Array:
    """Where one resource grows, bool[H, W], on cells that are ``free``.

    Under vmap the maps that are done take part in the attempts of the others: ``is_done`` keeps
    these from waiting for them.
    """
    seed_key, growth_key = jax.random.split(key)
    uniform = jax.random.uniform(seed_key, chance.shape)
    seeds = _sow(uniform, jnp.where(free, chance, 0.0), num_seeds)

    def is_short(carry: tuple[jax.Array, jax.Array]) -> jax.Array:
        number, sources = carry
        return ~is_done & (jnp.sum(sources) < num_sources) & (number < MAX_GROWTH)

    def spread(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        number, sources = carry
        kernel_key, noise_key = jax.random.split(jax.random.fold_in(growth_key, number))
        kernel = jax.random.bernoulli(kernel_key, 0.5, (_KERNEL, _KERNEL)).astype(float)
        noise = _NOISE * jax.random.normal(noise_key, sources.shape)
        near = _correlate(sources + noise - _THRESHOLD, kernel)
        return number + 1, (sources | (near > 0)) & free

    return jax.lax.while_loop(is_short, spread, (jnp.zeros((), jnp.int32), seeds))[1]


def _sow(uniform: jax.Array, chance: jax.Array, needed: jax.Array) -> jax.Array:
    """Seeds: ``uniform`` shrinks by ``_THINNING`` until ``needed`` cells are below ``chance``.

    After ``MAX_THINNING`` times it stays as it is. Instead of a loop, each cell says after how many
    times it would be below, and the ``needed``-th of these is when all stop.
    """
    ratio = jnp.log(uniform) - jnp.log(chance)
    times = jnp.floor(ratio / -np.log(_THINNING)) + 1
    times = jnp.where(chance > 0, jnp.maximum(times, 0.0), jnp.inf)
    stop = jnp.minimum(jnp.sort(times.reshape(-1))[needed - 1], MAX_THINNING)
    return times <= stop


def _correlate(values: jax.Array, kernel: jax.Array) -> jax.Array:
    """Sums f[H, W] of ``values`` around each cell, weighted by ``kernel``; 0 beyond the border.

    Which way round the kernel lies does not matter: it is random.
    """
    height, width = values.shape
    padded = jnp.pad(values, _KERNEL // 2)
    total = jnp.zeros_like(values)
    for down in range(_KERNEL):
        for along in range(_KERNEL):
            shifted = padded[down : down + height, along : along + width]
            total += kernel[down, along] * shifted
    return total


def _num_cells(coverage: float, num_cells: int) -> int:
    """The least number of cells that is not below ``coverage`` of them, as floating point goes."""
    number = int(np.ceil(coverage * num_cells))
    return number - 1 if (number - 1) / num_cells >= coverage else number
