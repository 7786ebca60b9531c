"""What a run says in words, numbers and files. Axes: R seeds, N images of an evaluation."""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import numpy as np

from ai_econ_jax.agents.find.experiment import Evaluation, Outcome
from ai_econ_jax.agents.find.experiment_config import METHODS, ExperimentConfig
from ai_econ_jax.agents.find.setting import Setting
from ai_econ_jax.envs.diffusion import weights as weights_lib
from ai_econ_jax.tables import markdown
from ai_econ_jax.workdir import Workdir, write_summary

_LEARNS_NOISE = ("find", "cem")  # whose distribution of the noise is worth keeping
_USUAL_NORM = (0.9, 1.5)
COLUMNS = ("", "reward", "success", "Fréchet", "diversity", "E|z|²/D")


def methods() -> str:
    """All names of methods, a line each."""
    width = max(map(len, METHODS))
    return "\n".join(f"{name:{width}}  {about}" for name, about in METHODS.items())


def opening(config: ExperimentConfig, setting: Setting) -> str:
    """What is known before anything runs."""
    dimensions = int(np.prod(setting.model.latent_shape))
    steps = setting.sampler.num_steps
    lines = [
        f"{asked(config, setting)}: D = {dimensions}, {steps} {'step' if steps == 1 else 'steps'}, "
        f"eta {setting.sampler.eta:g}",
        f"{config.method}: {config.settings.images} images in batches of "
        f"{config.settings.batch_size}, seeds {config.seed} to "
        f"{config.seed + config.num_seeds - 1}",
    ]
    if config.method == "find" and config.find.stale_reward:
        lines.append(
            "official_code: the released code pairs the reward of the oldest rollout in its buffer "
            "with the noise of the newest; the two have nothing to do with each other, so no gain "
            "is to be expected. The preset paper differs in that alone"
        )
    return "\n".join(lines)


def asked(config: ExperimentConfig, setting: Setting) -> str:
    """The model, and what is asked of it."""
    if config.reward is None:
        return f"{setting.name}, {setting.asked}"
    return f"{setting.name}, {config.prompt!r}, reward {config.reward}"


def prompt_of(config: ExperimentConfig, setting: Setting) -> str | None:
    """The prompt; None where neither the model nor the reward reads it."""
    return None if setting.judge is None and config.reward is None else config.prompt


def summary(config: ExperimentConfig, setting: Setting, outcome: Outcome) -> dict[str, Any]:
    """The flat dictionary for ``summary.json``: means over seeds, and lists of them."""
    figures: dict[str, Any] = {
        "model": setting.name,
        "prompt": prompt_of(config, setting),
        "method": config.method,
        "seeds": list(range(config.seed, config.seed + config.num_seeds)),
        "eta": setting.sampler.eta,
        "eval_images": config.eval_images,
    }
    own = figures_of(outcome)
    return figures | {f"{config.method}/{name}": value for name, value in own.items()}


def figures_of(outcome: Outcome) -> dict[str, Any]:
    """Figures of one method: means over seeds, and lists of them; None where there is no judge."""
    figures: dict[str, Any] = {}
    for when, evaluation in (("before", outcome.before), ("after", outcome.after)):
        for name, values in by_seed(evaluation).items():
            figures[f"{name}_{when}"] = None if values is None else float(values.mean())
            figures[f"{name}_{when}_by_seed"] = values
    figures["drift"] = figures.pop("norm_ratio_after")
    figures |= {
        "images": outcome.method.images,
        "forward_equivalents": outcome.method.forward_equivalents,
        "seconds": outcome.seconds,
        "peak_bytes": outcome.peak_bytes,
    }
    best = getattr(outcome.state, "best_reward", None)
    if best is not None:
        figures["best_reward"] = float(np.asarray(best).mean())
    return figures


def table(config: ExperimentConfig, outcome: Outcome) -> str:
    """A Markdown table, before and after, and what it cost."""
    evaluations = {"before": outcome.before, "after": outcome.after}
    lines = markdown(COLUMNS, {when: cells(each) for when, each in evaluations.items()})
    notes = [
        f"{config.eval_images} fresh images of each of {config.num_seeds} seeds; reward ± standard "
        "error over all of them. Success is the judge's word, who saw other images than the "
        "reward. Fréchet distance to real images of what was asked for.",
        f"{outcome.method.images} images, {outcome.method.forward_equivalents:,} forward "
        f"equivalents, {outcome.seconds:.1f} s for {config.num_seeds} seeds with compilation, peak "
        f"memory {outcome.peak_bytes / 2**20:,.0f} MiB.",
    ]
    for name, after in outcome.after.beside.items():
        before = outcome.before.beside[name]
        notes.append(f"As asked in {name}: {before.mean():.1%} before, {after.mean():.1%} after.")
    best = getattr(outcome.state, "best_reward", None)
    if best is not None:
        notes.append(f"Best single image: reward {np.asarray(best).mean():.3f}.")
    if has_drifted(outcome):
        notes.append(f"WARNING: {drift_warning(outcome)}")
    return "\n".join(["", *lines, "", *(f"- {note}" for note in notes)])


def has_drifted(outcome: Outcome) -> bool:
    """Whether the noise has left the shell on which the model was trained. Spec, bar 17."""
    return not _USUAL_NORM[0] <= outcome.after.norm_ratio.mean() <= _USUAL_NORM[1]


def drift_warning(outcome: Outcome) -> str:
    """What to say then."""
    return (
        f"E|z|²/D = {outcome.after.norm_ratio.mean():.2f} has left [{_USUAL_NORM[0]}, "
        f"{_USUAL_NORM[1]}]: the model was trained on 1, so look at the images before trusting "
        "the reward."
    )


def headline(config: ExperimentConfig, outcome: Outcome) -> dict[str, Any]:
    """The few figures of the last printed line."""
    figures = figures_of(outcome)
    keys = ("reward_before", "reward_after", "success_after", "images", "forward_equivalents")
    return {key: figures[key] for key in keys}


def write_files(
    config: ExperimentConfig, setting: Setting, outcome: Outcome, workdir: Workdir
) -> None:
    """Writes ``summary.json`` and, of a method that learns the noise, a policy file per seed.

    A policy file holds ``mean`` and ``std`` of the coordinates, channels first, for use outside of
    JAX: in the pixel basis, `latents = mean + std * randn`.
    """
    write_summary(workdir, summary(config, setting, outcome))
    if config.method not in _LEARNS_NOISE or not workdir.writes:
        return
    about = {
        "model": setting.name,
        "model_sha256": weights_digest(setting.weights),
        "prompt": prompt_of(config, setting) or "",
        "reward": config.reward or getattr(setting.reward, "__name__", "the model's own"),
        "method": config.method,
        "basis": getattr(config.settings, "basis", "pixel"),
        "steps": str(setting.sampler.num_steps),
        "eta": str(setting.sampler.eta),
        "guidance_scale": str(setting.sampler.guidance_scale),
        "forward_equivalents": str(outcome.method.forward_equivalents),
    }
    for i in range(config.num_seeds):
        policy = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), outcome.state.policy)
        tensors = {
            "mean": np.moveaxis(policy.mean, -1, 0),
            "std": np.moveaxis(policy.std, -1, 0),
        }
        path = workdir.path / f"noise_policy_{config.seed + i}.safetensors"
        weights_lib.write_safetensors(path, tensors, about)


def weights_digest(weights: Any) -> str:
    """SHA-256 of a model's numbers, in the order of their names."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(weights):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def by_seed(evaluation: Evaluation) -> dict[str, Any]:
    """Figures f[R] of each seed; None where the model has no judge or no real images.

    Those that only some models have, such as the motion of clips, under their own names.
    """
    success = evaluation.success
    return {
        "reward": evaluation.rewards.mean(1),
        "success": None if success is None else success.mean(1),
        "frechet": evaluation.frechet,
        "diversity": evaluation.diversity,
        "norm_ratio": evaluation.norm_ratio,
        **{name: held.mean(1) for name, held in evaluation.beside.items()},
    }


def cells(evaluation: Evaluation) -> tuple[str, ...]:
    """Cells of a table: reward ± standard error over all images, and what stands beside it."""
    rewards = evaluation.rewards
    error = rewards.std(ddof=1) / np.sqrt(rewards.size)
    figures = by_seed(evaluation)

    def mean(key: str, form: str) -> str:
        return "-" if figures[key] is None else format(figures[key].mean(), form)

    return (
        f"{rewards.mean():.3f} ± {error:.3f}",
        mean("success", ".1%"),
        mean("frechet", ".2f"),
        mean("diversity", ".3f"),
        mean("norm_ratio", ".2f"),
    )
