"""FIND, DDPO and DPOK on the evaluation prompts of a model of scenes. Spec 3.2, and 6, bar 16.

    python benchmarks/find_scenes.py --steps=10

Every method has as many passes of the network as FIND has with ``--images``. Success is what the
judge says of fresh images of each seed, the same random numbers before and after. A prompt that the
frozen model meets in less than 5% or more than 60% of its images is shown and not scored.
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
from ai_econ_jax.agents.find.experiment import (
    Evaluation,
    evaluate_frozen,
    images_of,
    run,
    with_images,
)
from ai_econ_jax.agents.find.experiment_config import PRESETS
from ai_econ_jax.agents.find.report import by_seed, figures_of
from ai_econ_jax.agents.find.setting import for_method, make_setting
from ai_econ_jax.envs.diffusion.worlds import SCENES

SCORED = (0.05, 0.6)  # of the frozen model's images
# What is changed of preset fast.
METHODS: dict[str, dict[str, Any]] = {
    "find": {"method": "find"},
    "find, dct:8": {"method": "find", "find.basis": "dct:8"},
    "find, dct:8, 0.015": {
        "method": "find",
        "find.basis": "dct:8",
        "find.learning_rate": 0.015,
    },
    "cem": {"method": "cem"},
    "ddpo": {"method": "ddpo", "ddpo.learning_rate": 3e-4},
    "dpok": {"method": "dpok"},
}


def main() -> None:
    """Prints a table, row by row, and keeps all figures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", default="scenes16", help="of scenes: a name, or a folder")
    parser.add_argument(
        "--methods", nargs="*", default=["find, dct:8, 0.015", "ddpo", "dpok"], choices=METHODS
    )
    parser.add_argument("--prompts", nargs="*", default=SCENES.evaluation_prompts)
    parser.add_argument("--images", type=int, default=640, help="that FIND draws")
    parser.add_argument("--guidance", type=float, default=PRESETS["fast"].guidance)
    parser.add_argument("--steps", type=int, default=20, help="of the sampler")
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--eval_images", type=int, default=100, help="fresh ones of each seed")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    devices.enable_compilation_cache()
    base = dataclasses.replace(
        PRESETS["fast"],
        model=arguments.model,
        guidance=arguments.guidance,
        steps=arguments.steps,
        seed=arguments.first_seed,
        num_seeds=arguments.seeds,
        eval_images=arguments.eval_images,
    )
    results: dict[str, dict[str, Any]] = {}
    print(
        "| prompt | method | images | passes | success before | after | reward after | Fréchet | "
        "diversity | E\\|z\\|²/D | s |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for prompt in arguments.prompts:
        asked = dataclasses.replace(base, prompt=prompt)
        setting = make_setting(asked)
        # Methods that train weights draw at eta 1, and so does the model before them.
        frozen: dict[float, Evaluation] = {}
        row: dict[str, Any] = {}
        results[prompt] = row
        for name in arguments.methods:
            config = config_lib.replace_fields(asked, METHODS[name])
            own = for_method(setting, config)
            forwards = arguments.images * own.sampler.forwards_per_image
            config = with_images(config, images_of(config, own, forwards))
            if config.sampler_eta not in frozen:
                frozen[config.sampler_eta] = evaluate_frozen(config, own)
            before = frozen[config.sampler_eta]
            if not row:
                row["frozen"] = by_seed(before)
                rate = row["frozen"]["success"].mean()
                if not SCORED[0] <= rate <= SCORED[1]:
                    print(f"| {prompt} | not scored | | | {rate:.3f} | | | | | | |", flush=True)
                    break
            row[name] = measured = figures_of(run(config, own, before=before))
            seeds = ", ".join(f"{rate:.2f}" for rate in measured["success_after_by_seed"])
            print(
                f"| {prompt} | {name} | {measured['images']} "
                f"| {measured['forward_equivalents']:,.0f} | {measured['success_before']:.3f} "
                f"| {measured['success_after']:.3f} ({seeds}) | {measured['reward_after']:.2f} "
                f"| {measured['frechet_after']:.2f} | {measured['diversity_after']:.3f} "
                f"| {measured['drift']:.2f} | {measured['seconds']:.0f} |",
                flush=True,
            )
        if arguments.json is not None:
            text = json.dumps(results, indent=2, default=np.ndarray.tolist)
            arguments.json.write_text(text + "\n")
    for name in arguments.methods:
        gains = [
            row[name]["success_after"] - row[name]["success_before"]
            for row in results.values()
            if name in row
        ]
        if gains:
            print(f"{name}: {100 * np.mean(gains):+.1f} points over {len(gains)} scored prompts")


if __name__ == "__main__":
    main()
