"""Tables of both scenarios: Markdown with columns of even width, CSV, numbers in few digits."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ai_econ_jax.statistics import Interval

WELFARE_TITLES = {
    "utilitarian": "utilitarian",
    "inverse_income_utility": "inv.-income utility",
    "inverse_income_coin": "inv.-income coin",
    "equality_times_productivity": "equality × prod.",
    "rawlsian": "Rawlsian",
    "productivity": "productivity",
}


def csv_text(rows: Iterator[Mapping[str, Any]]) -> str:
    """CSV text with the first row's names as header; NaN becomes an empty cell."""
    buffer = io.StringIO()
    first = next(rows)
    writer = csv.DictWriter(buffer, list(first), lineterminator="\n")
    writer.writeheader()
    for row in (first, *rows):
        writer.writerow({k: "" if v != v else v for k, v in row.items()})
    return buffer.getvalue()


def markdown(header: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    """A Markdown table with columns of even width, numbers to the right.

    Args:
      header: Names of all columns, that of the rows' titles first.
      rows: Title to the cells of a row.
    """
    lines = [list(header), *([title, *cells] for title, cells in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |"
        for line in (lines[0], rule, *lines[1:])
    ]


def interval_cells(interval: Interval) -> list[str]:
    """Mean and half-width of each entry; a mean alone where there is one seed."""
    return [
        number(mean) + ("" if np.isnan(half_width) else f" ± {half_width:.2f}")
        for mean, half_width in zip(*interval, strict=True)
    ]


def number(value: float) -> str:
    """Two digits behind the point."""
    return fixed(value, 2)


def share(value: float) -> str:
    """Three digits behind the point."""
    return fixed(value, 3)


def fixed(value: float, digits: int) -> str:
    """``digits`` behind the point."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}"  # + 0.0: no minus before zero
