"""FIND, DDPO and DPOK on the evaluation prompts of a model of scenes. Spec 3.2, and 6, bar 16.

    ai-econ train_diffusion --preset=scenes16 --workdir=runs/scenes16
    python benchmarks/find_scenes.py --model=runs/scenes16/model

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
    Outcome,
    evaluate_frozen,
    images_of,
    run,
    with_images,
)
from ai_econ_jax.agents.find.experiment_config import PRESETS
from ai_econ_jax.agents.find.setting import make_setting
from ai_econ_jax.envs.diffusion import prompts

SCORED = (0.05, 0.6)  # of the frozen model's images
# What is changed of preset fast.
METHODS: dict[str, dict[str, Any]] = {
    "find": {"method": "find"},
    "find, dct:8": {"method": "find", "find.basis": "dct:8"},
    "cem": {"method": "cem"},
    "ddpo": {"method": "ddpo", "ddpo.learning_rate": 3e-4},
    "dpok": {"method": "dpok"},
}


def figures_of(outcome: Outcome) -> dict[str, Any]:
    """What is shown of a run: means over images and seeds."""
    before, after = (told(evaluation) for evaluation in (outcome.before, outcome.after))
    return {
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
        "images": outcome.method.images,
        "forward_equivalents": outcome.method.forward_equivalents,
        "seconds": outcome.seconds,
    }


def told(evaluation: Evaluation) -> dict[str, Any]:
    """Figures of fresh images."""
    assert evaluation.success is not None and evaluation.frechet is not None
    return {
        "reward": float(evaluation.rewards.mean()),
        "success": float(evaluation.success.mean()),
        "success_by_seed": evaluation.success.mean(1).tolist(),
        "frechet": float(evaluation.frechet.mean()),
        "diversity": float(evaluation.diversity.mean()),
        "norm_ratio": float(evaluation.norm_ratio.mean()),
    }


def main() -> None:
    """Prints a table, row by row, and keeps all figures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    everything = [prompt for some in prompts.EVALUATION_PROMPTS.values() for prompt in some]
    parser.add_argument("--model", default="scenes16", help="of scenes: a name, or a folder")
    parser.add_argument("--methods", nargs="*", default=["find", "ddpo", "dpok"], choices=METHODS)
    parser.add_argument("--prompts", nargs="*", default=everything)
    parser.add_argument("--images", type=int, default=640, help="that FIND draws")
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--eval_images", type=int, default=100, help="fresh ones of each seed")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    devices.enable_compilation_cache()
    base = dataclasses.replace(
        PRESETS["fast"],
        model=arguments.model,
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
        # Methods that train weights draw at eta 1, and so does the model before them.
        frozen: dict[float, Evaluation] = {}
        row: dict[str, Any] = {}
        results[prompt] = row
        for name in arguments.methods:
            config = config_lib.replace_fields(asked, METHODS[name])
            setting = make_setting(config)
            forwards = arguments.images * setting.sampler.forwards_per_image
            config = with_images(config, images_of(config, setting, forwards))
            if config.sampler_eta not in frozen:
                frozen[config.sampler_eta] = evaluate_frozen(config, setting)
            before = frozen[config.sampler_eta]
            if not row:
                row["frozen"] = told(before)
                rate = row["frozen"]["success"]
                if not SCORED[0] <= rate <= SCORED[1]:
                    print(f"| {prompt} | not scored | | | {rate:.3f} | | | | | | |", flush=True)
                    break
            row[name] = measured = figures_of(run(config, setting, before=before))
            by_seed = ", ".join(f"{rate:.2f}" for rate in measured["success_by_seed_after"])
            print(
                f"| {prompt} | {name} | {measured['images']} "
                f"| {measured['forward_equivalents']:,.0f} | {measured['success_before']:.3f} "
                f"| {measured['success_after']:.3f} ({by_seed}) | {measured['reward_after']:.2f} "
                f"| {measured['frechet_after']:.2f} | {measured['diversity_after']:.3f} "
                f"| {measured['norm_ratio_after']:.2f} | {measured['seconds']:.0f} |",
                flush=True,
            )
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")
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
