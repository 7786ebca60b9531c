"""FIND on the motion of clips: the share that moves as asked, before and after. Spec 6, bar 16.

    python benchmarks/find_clips.py

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

from ai_econ_jax import config as config_lib
from ai_econ_jax import devices
from ai_econ_jax.agents.find.experiment import run
from ai_econ_jax.agents.find.experiment_config import PRESETS
from ai_econ_jax.agents.find.report import drift_warning, figures_of, has_drifted
from ai_econ_jax.agents.find.setting import make_setting
from ai_econ_jax.envs.diffusion.prompt_model import PromptModel

ASKED = "a dog moving from left to right on the grass"
TOLD = ("a dog on the grass", ASKED)
COLUMNS = (
    "the model is told",
    "as asked before",
    "after (by seed)",
    "success before",
    "after",
    "reward before",
    "after",
    "Fréchet before",
    "after",
    "diversity before",
    "after",
    "E\\|z\\|²/D",
    "s",
)


def main() -> None:
    """Prints a table, row by row, and keeps all figures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", default="clips16", help="of clips: a name, or a folder")
    parser.add_argument("--asked", default=ASKED, help="of the reward and of the judge")
    parser.add_argument("--told", nargs="*", help="to the model, a row each; default: --asked")
    parser.add_argument("--basis", default="dct:8")
    parser.add_argument("--learning_rate", type=float, default=0.015)
    parser.add_argument("--images", type=int, default=320, help="clips that FIND draws")
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=10, help="of the sampler")
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--eval_images", type=int, default=100, help="fresh clips of each seed")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    all_told = arguments.told or (TOLD if arguments.asked == ASKED else [arguments.asked])
    devices.enable_compilation_cache()
    fast = PRESETS["fast"]
    find = dataclasses.replace(
        fast.find,
        images=arguments.images,
        basis=arguments.basis,
        learning_rate=arguments.learning_rate,
    )
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
    try:
        config_lib.validate(config)
        asked = make_setting(config)
    except (ValueError, FileNotFoundError) as error:
        parser.error(f"--model={arguments.model}: {error}")
    model = asked.model
    if not isinstance(model, PromptModel) or not asked.beside:
        parser.error(f"--model={arguments.model}: is no model of clips")
    results: dict[str, dict[str, Any]] = {}
    print(f"| {' | '.join(COLUMNS)} |\n|---|{'--:|' * (len(COLUMNS) - 1)}")
    for prompt in all_told:
        condition = model.condition(asked.weights, prompt)
        task = dataclasses.replace(asked.task, condition=condition)
        outcome = run(config, dataclasses.replace(asked, task=task))
        figures = figures_of(outcome)
        results[prompt] = figures
        seeds = ", ".join(f"{rate:.2f}" for rate in figures["motion_after_by_seed"])
        cells = [
            prompt,
            f"{figures['motion_before']:.3f}",
            f"{figures['motion_after']:.3f} ({seeds})",
            *(
                f"{figures[f'{name}_{when}']:.{digits}f}"
                for name, digits in (
                    ("success", 3),
                    ("reward", 2),
                    ("frechet", 2),
                    ("diversity", 3),
                )
                for when in ("before", "after")
            ),
            f"{figures['drift']:.2f}",
            f"{figures['seconds']:.0f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
        if has_drifted(outcome):
            print(f"WARNING: {drift_warning(outcome)}", flush=True)
        if arguments.json is not None:
            text = json.dumps(results, indent=2, default=np.ndarray.tolist)
            arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
