"""Colors of the replay page and of figures. Where workers show, they are numbered as well."""

import colorsys

# After Okabe and Ito's palette for color-blind readers, without its yellow and black, which vanish
# on one of the two backgrounds, and with four more; brighter where the background is dark.
_WORKERS = {
    "light": (
        *("#0072b2", "#e08a00", "#00916a", "#c0609a", "#3fa4dc"),
        *("#c44500", "#6f55b5", "#6b7280", "#8a8f1c", "#8c2d40"),
    ),
    "dark": (
        *("#4aa3e6", "#f0a830", "#2fbf94", "#e08fbd", "#86ccf5"),
        *("#ea6432", "#a48df0", "#a9b0ba", "#c9cf5a", "#c65b78"),
    ),
}
_LIGHTNESS = {"light": 0.42, "dark": 0.66}
# Of a hue circle of length 1: where the named colors leave a gap, and how far to the next hue.
_FIRST_HUE, _GOLDEN_ANGLE = 0.22, 0.618034

# Wood and stone also differ by their shape, so that no reader depends on the hue.
TERRAIN = {
    "light": {"ground": "#f3f0e6", "grid": "#e9e5d8", "water": "#b7d6e8", "wave": "#98c1d9"},
    "dark": {"ground": "#22262b", "grid": "#2a2f35", "water": "#274a60", "wave": "#376480"},
}
# Stone and wood, each with a shade for the side that is lit.
RESOURCES = {
    "light": (("#838b96", "#b3b9c1"), ("#55803a", "#7fa860")),
    "dark": (("#7f8894", "#aab2bd"), ("#5f9142", "#86b866")),
}


def worker_colors(num_workers: int, theme: str = "light") -> list[str]:
    """One colour for each worker, as ``#rrggbb``; beyond ten the hues go round the circle."""
    named = list(_WORKERS[theme])
    for extra in range(num_workers - len(named)):
        hue = (_FIRST_HUE + extra * _GOLDEN_ANGLE) % 1.0
        rgb = colorsys.hls_to_rgb(hue, _LIGHTNESS[theme], 0.55)
        named.append("#" + "".join(f"{round(255 * part):02x}" for part in rgb))
    return named[:num_workers]
