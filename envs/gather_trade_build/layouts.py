"""Maps of the world: the published ones, the user's own, and their split form.

A layout file has one character per cell and ends each row with ``;``: ``W`` is a source of wood,
``S`` of stone, ``@`` water, anything else a free cell. Line ends do not count.

Source: AI Economist, arXiv 2108.02755, official code (data: see ``data/README.md``); spec section
3.7 and appendix A.
"""

import dataclasses
import hashlib
import importlib.resources
import os

import numpy as np

from ai_econ_jax.envs.gather_trade_build.state import RESOURCES, STONE, WOOD

_DATA = importlib.resources.files(__package__) / "data"


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """What the ground of a world is made of.

    Attributes:
      source: u8[2, H, W], 1 where Stone or Wood grows.
      water: bool[H, W].
    """

    source: np.ndarray
    water: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.water.shape[0], self.water.shape[1]


def names() -> tuple[str, ...]:
    """Names of the published layouts, sorted."""
    maps = (file.name for file in _DATA.iterdir() if file.name.endswith(".map"))
    return tuple(sorted(name.removesuffix(".map") for name in maps))


def published(name: str) -> Layout:
    """The published layout called ``name``.

    Raises:
      ValueError: Unknown name; the message lists the valid ones.
    """
    if name not in names():
        raise ValueError(f"layout {name!r} is unknown; valid: {', '.join(names())}")
    return parse((_DATA / f"{name}.map").read_text(), name)


def read(path: str) -> Layout:
    """The layout in the user's file at ``path``.

    Raises:
      FileNotFoundError: No such file.
      ValueError: Not UTF-8 text; or as ``parse``.
    """
    try:
        text = _contents(path).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"layout file {path} is not UTF-8 text") from None
    return parse(text, path)


def digest(path: str) -> str:
    """Hash of what the file at ``path`` holds.

    Raises:
      FileNotFoundError: No such file.
    """
    return hashlib.sha256(_contents(path)).hexdigest()


def _contents(path: str) -> bytes:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"layout file {path} does not exist")
    with open(path, "rb") as file:
        return file.read()


def parse(text: str, origin: str) -> Layout:
    """A layout from the text of a file.

    Args:
      text: Rows, each ended by ``;``; the last one may end with the text.
      origin: What errors call it.

    Raises:
      ValueError: No cells, rows of different lengths, or no source of wood or of stone.
    """
    rows = text.replace("\n", "").replace("\r", "").split(";")
    if rows[-1] == "":
        rows.pop()
    if not rows or not rows[0]:
        raise ValueError(f"{origin}: layout has no cells")
    width = len(rows[0])
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise ValueError(f"{origin}, row {number}: {len(row)} cells, row 1 has {width}")
    cells = np.array([list(row) for row in rows])
    source = np.zeros((2, *cells.shape), np.uint8)
    source[STONE], source[WOOD] = cells == "S", cells == "W"
    layout = Layout(source=source, water=cells == "@")
    _need_sources(layout, origin)
    return layout


def split(layout: Layout, row: int | None, origin: str) -> Layout:
    """The layout with a row of water across it, ``H // 2`` for None; what grew there is gone.

    Raises:
      ValueError: A row that leaves nothing above or below it, or nothing growing.
    """
    height, _ = layout.size
    row = height // 2 if row is None else row
    if not 0 < row < height - 1:
        raise ValueError(f"split_row is {row}, must lie between 1 and {height - 2}")
    source, water = layout.source.copy(), layout.water.copy()
    source[:, row], water[row] = 0, True
    divided = Layout(source=source, water=water)
    _need_sources(divided, origin)
    return divided


def _need_sources(layout: Layout, origin: str) -> None:
    for kind, name in enumerate(RESOURCES):
        if not layout.source[kind].any():
            raise ValueError(f"{origin}: layout has no {name} source")
