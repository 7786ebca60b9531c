"""FIND on the motion of clips: the share that moves as asked, before and after. Spec 6, bar 16.

    python benchmarks/find_clips.py --model=clips16

The model is told one prompt and the reward another. Where the model's does not name the motion, it
draws the usual one, from right to left, and only the noise can turn it round. The judge reads the
motion off the pixels; fresh clips of each seed, the same random numbers before and after.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from ai_econ_jax import devices
from ai_econ_jax.agents.find.experiment import run
from ai_econ_jax.agents.find.experiment_config import PRESETS
from ai_econ_jax.agents.find.report import figures_of
from ai_econ_jax.agents.find.setting import make_setting
from ai_econ_jax.envs.diffusion.prompt_model import PromptModel

ASKED = "a dog moving from left to right on the grass"
TOLD = ("a dog on the grass", ASKED)


def main() -> None:
    """Prints a table, row by row, and keeps all figures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", required=True, help="of clips: a name, or a folder")
    parser.add_argument("--asked", default=ASKED, help="of the reward and of the judge")
    parser.add_argument("--told", nargs="*", default=TOLD, help="to the model, a row each")
    parser.add_argument("--basis", default="pixel")
    parser.add_argument("--images", type=int, default=320, help="clips that FIND draws")
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=10, help="of the sampler")
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--eval_images", type=int, default=100, help="fresh clips of each seed")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    devices.enable_compilation_cache()
    fast = PRESETS["fast"]
    find = dataclasses.replace(fast.find, images=arguments.images, basis=arguments.basis)
    config = dataclasses.replace(
        fast,
        model=arguments.model,
        prompt=arguments.asked,
        guidance=arguments.guidance,
        steps=arguments.steps,
        seed=arguments.first_seed,
        num_seeds=arguments.seeds,
        eval_images=arguments.eval_images,
        find=find,
    )
    asked = make_setting(config)
    model = asked.model
    if not isinstance(model, PromptModel) or not asked.beside:
        parser.error(f"--model={arguments.model}: is no model of clips")
    results: dict[str, dict[str, Any]] = {}
    print(
        "| the model is told | as asked before | after (by seed) | success before | after | "
        "reward after | Fréchet before | after | E\\|z\\|²/D | s |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for prompt in arguments.told:
        condition = model.condition(asked.weights, prompt)
        task = dataclasses.replace(asked.task, condition=condition)
        told = figures_of(run(config, dataclasses.replace(asked, task=task)))
        results[prompt] = told
        seeds = ", ".join(f"{rate:.2f}" for rate in told["motion_after_by_seed"])
        print(
            f"| {prompt} | {told['motion_before']:.3f} | {told['motion_after']:.3f} ({seeds}) "
            f"| {told['success_before']:.3f} | {told['success_after']:.3f} "
            f"| {told['reward_after']:.2f} | {told['frechet_before']:.2f} "
            f"| {told['frechet_after']:.2f} | {told['drift']:.2f} | {told['seconds']:.0f} |",
            flush=True,
        )
        if arguments.json is not None:
            text = json.dumps(results, indent=2, default=np.ndarray.tolist)
            arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
