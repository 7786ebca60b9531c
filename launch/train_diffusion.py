"""Trains a small diffusion model, and the classifiers that reward and judge its images.

The same ``--workdir`` resumes. What comes out is ``model`` in it, a folder in diffusers' layout.
"""

import time

from absl import flags

from ai_econ_jax import cli, devices, workdir
from ai_econ_jax.agents.diffusion.config import PRESETS, TrainConfig
from ai_econ_jax.agents.diffusion.training import train

_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; the same one resumes.")


def main(config: TrainConfig) -> None:
    """Trains one model; the last line printed is ``key=value`` pairs for scripts."""
    started = time.perf_counter()
    if _WORKDIR.value is None:
        raise ValueError("--workdir is required")
    devices.enable_compilation_cache()
    with workdir.open_workdir(_WORKDIR.value, config) as place:
        figures = train(config, place)
        workdir.write_summary(place, figures)
    headline = {name: f"{value:.4g}" for name, value in figures.items()}
    headline |= {
        "seconds": f"{time.perf_counter() - started:.1f}",
        "model": str(place.path / "model"),
    }
    print(" ".join(f"{key}={value}" for key, value in headline.items()))


if __name__ == "__main__":
    cli.run_app(main, PRESETS)
