"""FIND and what it is compared with on every digit of a model: what README and BUILD_NOTES quote.

P(class) is the mean over fresh images of what the rewarding classifier gives the digit; success is
how often the judge, which saw other images, names it. Three seeds a digit,
``--first_seed`` and the next; medians over seeds, then mean and worst over digits.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from ai_econ_jax import config as config_lib
from ai_econ_jax import devices
from ai_econ_jax.agents.find.experiment import run
from ai_econ_jax.agents.find.experiment_config import PRESETS, ExperimentConfig
from ai_econ_jax.agents.find.setting import make_setting
from ai_econ_jax.envs.diffusion.image_data import DIGIT_WORDS

_FAST = PRESETS["fast"]


def _but(config: ExperimentConfig, **changes: Any) -> ExperimentConfig:
    """The config with fields changed; ``find__kl`` is ``find.kl``."""
    fields = {name.replace("__", "."): value for name, value in changes.items()}
    return config_lib.replace_fields(config, fields)


_DDPO = _but(_FAST, method="ddpo")
# As many passes of the network as 320 images cost without learning the weights.
_EQUAL = _but(_DDPO, ddpo__images=80)
ROWS: dict[str, ExperimentConfig] = {
    "find": _FAST,
    # Stopped early, to compare at DDPO's reward.
    "find, 64 images": _but(_FAST, find__images=64),
    "find, 96 images": _but(_FAST, find__images=96),
    "find, 128 images": _but(_FAST, find__images=128),
    "find, one step of 0.1": _but(_FAST, find__policy_steps=1, find__learning_rate=0.1),
    "find, norm preserved": _but(_FAST, find__norm_preserve=True),
    "find, eta 0.5": _but(_FAST, eta=0.5),
    "find, eta 1": _but(_FAST, eta=1.0),
    "find, no baseline": _but(_FAST, find__baseline="none"),
    "find, learned g": _but(_FAST, find__baseline="learned"),
    "find, learned g at 1e-3": _but(
        _FAST, find__baseline="learned", find__baseline_learning_rate=1e-3
    ),
    "find, initial, clamp, sum": _but(
        _FAST,
        find__ratio_reference="initial",
        find__surrogate="clamp_only",
        find__logp_reduction="sum",
    ),
    "official_code": PRESETS["official_code"],
    "paper": PRESETS["paper"],
    "find, dct:8": _but(_FAST, find__basis="dct:8"),
    "cem": _but(_FAST, method="cem"),
    "best_of_n": _but(_FAST, method="best_of_n"),
    "ddpo 3e-4": _but(_DDPO, ddpo__learning_rate=3e-4),
    "ddpo 1e-3": _but(_DDPO, ddpo__learning_rate=1e-3),
    "ddpo 3e-4, equal forwards": _but(_EQUAL, ddpo__learning_rate=3e-4),
    "ddpo 1e-3, equal forwards": _but(_EQUAL, ddpo__learning_rate=1e-3),
    "ddpo 3e-3, equal forwards": _but(_EQUAL, ddpo__learning_rate=3e-3),
    # About the reward of FIND with one step of 0.1, to compare what it costs in Fréchet distance.
    "ddpo 1e-3, 480 images": _but(_DDPO, ddpo__learning_rate=1e-3, ddpo__images=480),
    "ddpo 3e-4, 3,200 images": _but(_DDPO, ddpo__learning_rate=3e-4, ddpo__images=3200),
    "ddpo 1e-3, 3,200 images": _but(_DDPO, ddpo__learning_rate=1e-3, ddpo__images=3200),
    "dpok": _but(_FAST, method="dpok"),
}


def measure(
    config: ExperimentConfig, digits: list[int], first_seed: int, seeds: int
) -> dict[str, Any]:
    """Figures of one row of the table."""
    by_digit: list[dict[str, float]] = []
    for digit in digits:
        changed = dataclasses.replace(
            config, prompt=DIGIT_WORDS[digit], seed=first_seed, num_seeds=seeds
        )
        outcome = run(changed, make_setting(changed))
        before, after = outcome.before, outcome.after
        assert before.success is not None and after.success is not None
        assert after.frechet is not None
        by_digit.append(
            {
                "p_before": float(np.median(np.exp(before.rewards).mean(1))),
                "p_after": float(np.median(np.exp(after.rewards).mean(1))),
                "success_before": float(np.median(before.success.mean(1))),
                "success_after": float(np.median(after.success.mean(1))),
                "frechet_after": float(np.median(after.frechet)),
                "diversity_after": float(np.median(after.diversity)),
                "norm_ratio": float(np.median(after.norm_ratio)),
                "images": outcome.method.images,
                "forward_equivalents": outcome.method.forward_equivalents,
                "seconds": outcome.seconds,
            }
        )
    names = list(by_digit[0])
    figures: dict[str, Any] = {
        name: float(np.mean([row[name] for row in by_digit])) for name in names
    }
    figures["p_after_worst"] = min(row["p_after"] for row in by_digit)
    return figures | {"digits": digits, "by_digit": by_digit}


def main() -> None:
    """Prints a table, row by row, and keeps all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="digits8", help="of digits: a name, or a folder")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--digits", nargs="*", type=int, default=list(range(10)))
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    devices.enable_compilation_cache()
    results: dict[str, Any] = {}
    print(
        "| row | images | forwards | P(class) before | after (worst digit) | judge | Fréchet | "
        "diversity | E|z|²/D |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for name in arguments.rows:
        config = dataclasses.replace(ROWS[name], model=arguments.model)
        row = measure(config, arguments.digits, arguments.first_seed, arguments.seeds)
        results[name] = row
        print(
            f"| {name} | {row['images']:.0f} | {row['forward_equivalents']:,.0f} "
            f"| {row['p_before']:.3f} | {row['p_after']:.3f} ({row['p_after_worst']:.2f}) "
            f"| {row['success_after']:.2f} | {row['frechet_after']:.2f} "
            f"| {row['diversity_after']:.3f} | {row['norm_ratio']:.2f} |",
            flush=True,
        )
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
