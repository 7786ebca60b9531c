"""What the launcher does in this scenario: compute, print, write, return the last line."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.ai_economist.gather_trade_build import figures, report, training
from ai_econ_jax.agents.ai_economist.gather_trade_build.compare import compare, result_of
from ai_econ_jax.agents.ai_economist.gather_trade_build.experiment import (
    WELFARE_NAMES,
    ExperimentConfig,
    Lane,
    build_learner,
    build_params,
    lanes,
)
from ai_econ_jax.agents.ai_economist.tables import WELFARE_TITLES
from ai_econ_jax.statistics import mean_interval
from ai_econ_jax.workdir import Workdir, write_summary

Summary = dict[str, Any]
Run = Callable[[ExperimentConfig, Workdir | None], Summary]

MODES = ("train", "compare", "eval")
# The launcher's short flags, each for one field.
_SHORT = {
    "seed": "seed",
    "seeds": "num_seeds",
    "skills": "economy.skills",
    "num_workers": "economy.num_workers",
    "welfare": "welfare",
    "tax": "tax",
    "rates": "rates",
}


def plan(
    config: ExperimentConfig,
    mode: str,
    restored: pathlib.Path | None,
    values: flags.FlagValues = flags.FLAGS,
) -> tuple[ExperimentConfig, Run]:
    """The config with short flags applied, and what to run, both checked.

    Args:
      config: As ``--config.…`` and ``--preset`` made it.
      mode: Of ``MODES``.
      restored: Work directory of an earlier run: with mode train its phase 1 is taken over, with
        mode eval one of its tax models is played.
      values: The parsed flags.

    Raises:
      ValueError: Flags that contradict each other, or an economy that cannot be.
      FileNotFoundError: No such layout, skills or run.
    """
    config_lib.check_one_of("mode", mode, MODES)
    if mode == "compare" and restored is not None:
        raise ValueError("--restore has no effect with --mode=compare")
    if mode == "eval" and restored is None:
        raise ValueError("--mode=eval needs --restore")
    if restored is not None:
        if values["preset"].present:
            raise ValueError(
                "--preset has no effect with --restore: the config is the trained run's"
            )
        config = _changed(_read_config(restored), config, values)
    else:
        config = config_lib.replace_fields(config, _given(config, values))
    if mode == "compare":
        chosen = [lane for name in config.tax_models for lane in lanes(config, name)]
    else:
        chosen = [_one_lane(config)]
    for lane in [training.free_market(config), *chosen]:
        build_params(config, build_learner(config, lane, 2).environment, lane, 2)
    if restored is not None and mode == "eval":
        return config, functools.partial(run_eval, restored=restored)
    return config, run_compare if mode == "compare" else functools.partial(
        run_train, restored=restored
    )


def run_compare(config: ExperimentConfig, workdir: Workdir | None) -> Summary:
    """All tax models: tables, CSV files, figures, replays."""
    comparison = compare(config, workdir)
    print(report.report(comparison))
    if workdir is not None:
        report.write_tables(comparison, workdir)
        report.write_replays(comparison, workdir)
        figures.write_figures(comparison, workdir)
        write_summary(workdir, report.summary(comparison))
    return report.headline(comparison)


def run_train(
    config: ExperimentConfig, workdir: Workdir | None, restored: pathlib.Path | None = None
) -> Summary:
    """Phase 1, or the one of another run, then phase 2 under ``config.tax``."""
    if restored is not None:
        place = restored / training.PHASE1
        trained: Any = training.restore_stage(config, training.free_market(config), 1, place)
    else:
        trained = training.train_phase1(config, workdir)
    summary: Summary = {}
    if trained is not None:
        summary = report.phase1_summary(result_of(config, trained))
        _print_workers(summary)
    if config.learning.updates(2) > 0:
        lane = _one_lane(config)
        workers = None if trained is None else trained.states.workers.params
        trained = training.train_lane(config, lane, workers, workdir)
        summary |= _judge(config, trained, workdir)
    if workdir is not None:
        write_summary(workdir, summary)
    return {name: float(np.mean(value)) for name, value in summary.items() if "/ci95" not in name}


def run_eval(config: ExperimentConfig, workdir: Workdir | None, restored: pathlib.Path) -> Summary:
    """Episodes of a finished stage of another run; nothing learns."""
    lane = _one_lane(config)
    trained = training.restore_stage(config, lane, 2, restored / lane.name)
    summary = _judge(config, trained, workdir)
    if workdir is not None:
        write_summary(workdir, summary)
    return {name: float(np.mean(value)) for name, value in summary.items() if "/ci95" not in name}


def _judge(config: ExperimentConfig, trained: training.Trained, workdir: Workdir | None) -> Summary:
    """Prints and returns what one stage came to, and writes its replay."""
    result = result_of(config, trained)
    name = trained.lane.tax_model
    summary: Summary = {}
    for w, goal in enumerate(WELFARE_NAMES):
        mean, half_width = mean_interval(result.welfare[:, w])
        summary[f"welfare/{goal}/{name}/mean"] = float(mean)
        summary[f"welfare/{goal}/{name}/ci95"] = float(half_width)
        print(f"{WELFARE_TITLES[goal]:22} {float(mean):10.2f} ± {float(half_width):.2f}")
    for what, values in report.outcomes(result).items():
        print(f"{what:22} {values.mean():10.2f}")
        summary[f"{what.replace(' ', '_')}/{name}/mean"] = float(values.mean())
    if workdir is not None and workdir.writes:
        report.write_replay(result.log, workdir.path / "episode", report.TITLES[name])
    return summary


def _print_workers(summary: Summary) -> None:
    for name, values in summary.items():
        print(f"{name:34}", " ".join(f"{value:.3f}" for value in values))


def _one_lane(config: ExperimentConfig) -> Lane:
    """The lane of ``config.tax``; of a flat tax, at the one rate that is given."""
    if config.tax == "flat":
        if len(config.rates) != 1:
            raise ValueError("tax = 'flat' needs one number as --rates")
        config = config_lib.replace_fields(config, {"flat_rates": config.rates})
    elif config.tax != "fixed" and config.rates:
        raise ValueError(f"field rates = {config.rates}: is read with tax = fixed or flat only")
    found = lanes(config, config.tax)
    if len(found) > 1:
        raise ValueError(
            "tax = 'saez_tuned' needs one elasticity here: --config.saez_elasticities=(0.5,)"
        )
    return found[0]


def _given(config: ExperimentConfig, values: flags.FlagValues) -> dict[str, Any]:
    """Fields that the command line sets."""
    short: dict[str, Any] = {
        field: values[name].value
        for name, field in _SHORT.items()
        if values[name].value is not None
    }
    if "rates" in short:
        try:
            short["rates"] = tuple(float(rate) for rate in short["rates"])
        except ValueError:
            raise ValueError(f"--rates: {short['rates']} are not all numbers") from None
        short.setdefault("tax", "fixed")
    return config_lib.merge_short_flags(config, short, values)


def _changed(
    trained: ExperimentConfig, config: ExperimentConfig, values: flags.FlagValues
) -> ExperimentConfig:
    """The config of an earlier run with what this command line sets."""
    return config_lib.replace_fields(trained, _given(config, values))


def _read_config(directory: pathlib.Path) -> ExperimentConfig:
    file = directory / "config.json"
    if not file.exists():
        raise FileNotFoundError(f"restore directory {directory} holds no config.json")
    record = json.loads(file.read_text())
    scenario = record.get("arguments", {}).get("scenario")
    if scenario != "gather_trade_build":
        raise ValueError(f"restore directory {directory} holds no run of gather_trade_build")
    return config_lib.from_dict(ExperimentConfig, record["config"])
