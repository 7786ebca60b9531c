"""Cells of both scenarios' tables: titles, and numbers in few digits."""

from __future__ import annotations

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
