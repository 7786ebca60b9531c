"""Tables as text: Markdown with columns of even width, and CSV."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """CSV text with the first row's names as header; what is not finite becomes an empty cell."""
    buffer = io.StringIO()
    rows = iter(rows)
    first = next(rows)
    writer = csv.DictWriter(buffer, list(first), lineterminator="\n")
    writer.writeheader()
    for row in (first, *rows):
        writer.writerow({name: "" if _blank(value) else value for name, value in row.items()})
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


def _blank(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
