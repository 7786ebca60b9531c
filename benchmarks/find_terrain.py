"""FIND in low frequencies and in pixels, on the pretrained generator of terrain. Spec 6, bar 15.

    pip install 'ai-econ-jax[terrain]' && pip install --no-deps adaptive-terrain-diffusion==0.4.2
    python benchmarks/find_terrain.py

Settings of the specification's prototype: 160 images in batches of 8, one step of Adam a batch. The
reward is in deviations of the frozen model's. Fresh images before and after come from the same
random numbers; what is gained is the mean over images, then over seeds. Exit code 1 if dct:8 gains
less than 1.2, or less than twice what pixels gain.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

import numpy as np

from ai_econ_jax import config as config_lib
from ai_econ_jax import devices
from ai_econ_jax.agents.find.experiment import Evaluation, run
from ai_econ_jax.agents.find.experiment_config import PRESETS
from ai_econ_jax.agents.find.setting import make_setting

LEARNING_RATES = {"dct:8": 0.1, "pixel": 0.02, "dct:4": 0.1}  # by basis
BARRED = ("dct:8", "pixel")
LEAST_GAIN, LEAST_TIMES = 1.2, 2.0
_BASE = config_lib.replace_fields(
    PRESETS["fast"],
    {"model": "terrain", "find.images": 160, "find.batch_size": 8, "find.policy_steps": 1},
)


def measure(
    basis: str, seeds: int, eval_images: int, before: Evaluation | None
) -> tuple[dict[str, Any], Evaluation]:
    """Figures of one basis, and the images before, which are the same for all."""
    config = config_lib.replace_fields(
        _BASE,
        {
            "num_seeds": seeds,
            "eval_images": eval_images,
            "find.basis": basis,
            "find.learning_rate": LEARNING_RATES[basis],
        },
    )
    outcome = run(config, make_setting(config), before=before)
    before, after = outcome.before, outcome.after
    gain = after.rewards.mean(1) - before.rewards.mean(1)
    return {
        "reward_before": float(before.rewards.mean()),
        "reward_std_before": float(before.rewards.std(ddof=1)),
        "reward_after": float(after.rewards.mean()),
        "gain": float(gain.mean()),
        "gain_error": float(gain.std(ddof=1) / np.sqrt(seeds)) if seeds > 1 else None,
        "gain_by_seed": gain.tolist(),
        "diversity_before": float(before.diversity.mean()),
        "diversity_after": float(after.diversity.mean()),
        "norm_ratio": float(after.norm_ratio.mean()),
        "images": outcome.method.images,
        "seconds": outcome.seconds,
    }, before


def bars(results: dict[str, dict[str, Any]]) -> list[tuple[str, float, float]]:
    """What is asked for, what was measured, and the least that it must be."""
    low, pixel = (results[basis]["gain"] for basis in BARRED)
    return [
        ("gain of dct:8, in base deviations", low, LEAST_GAIN),
        ("over twice what pixels gain", low - LEAST_TIMES * pixel, 0.0),
    ]


def main() -> int:
    """Prints a table, row by row, and keeps all figures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--bases", nargs="*", default=list(BARRED), choices=list(LEARNING_RATES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--eval_images", type=int, default=32, help="fresh ones of each seed")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    devices.enable_compilation_cache()
    results: dict[str, dict[str, Any]] = {}
    before: Evaluation | None = None
    print(
        "| basis | images | reward before | after | gain ± s.e. over seeds | by seed | diversity | "
        "E\\|z\\|²/D | s |\n|---|--:|--:|--:|--:|---|--:|--:|--:|"
    )
    for basis in arguments.bases:
        row, before = measure(basis, arguments.seeds, arguments.eval_images, before)
        results[basis] = row
        error = "" if row["gain_error"] is None else f" ± {row['gain_error']:.2f}"
        by_seed = ", ".join(f"{gain:+.2f}" for gain in row["gain_by_seed"])
        print(
            f"| {basis} | {row['images']} "
            f"| {row['reward_before']:.2f} (deviation {row['reward_std_before']:.2f}) "
            f"| {row['reward_after']:.2f} | {row['gain']:+.2f}{error} | {by_seed} "
            f"| {row['diversity_before']:.3f} to {row['diversity_after']:.3f} "
            f"| {row['norm_ratio']:.3f} | {row['seconds']:.0f} |",
            flush=True,
        )
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    if not set(BARRED) <= set(results):
        return 0
    missed = False
    for what, measured, least in bars(results):
        missed |= measured < least
        word = "MISSED" if measured < least else "met"
        print(f"{what}: {measured:+.2f}, at least {least:g}: {word}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
