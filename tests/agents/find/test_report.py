import types

import numpy as np

from ai_econ_jax.agents.find import report
from ai_econ_jax.agents.find.experiment import Evaluation
from ai_econ_jax.agents.find.experiment_config import ExperimentConfig


def evaluation(held):
    ones = np.ones(2)
    return Evaluation(
        np.zeros((2, 4, 1)),
        np.arange(8.0).reshape(2, 4),
        np.zeros((2, 4), bool),
        None,
        ones,
        ones,
        beside={"motion": np.array(held, bool)},
    )


def test_what_stands_beside_success_is_in_the_summary_and_in_the_report():
    outcome = types.SimpleNamespace(
        before=evaluation([[1, 0, 0, 0], [0, 0, 0, 0]]),
        after=evaluation([[1, 1, 1, 0], [1, 1, 1, 1]]),
        state=None,
        method=types.SimpleNamespace(images=16, forward_equivalents=640),
        seconds=1.0,
        peak_bytes=0,
    )
    figures = report.figures_of(outcome)
    assert figures["motion_before"] == 0.125 and figures["motion_after"] == 0.875
    assert figures["motion_after_by_seed"].tolist() == [0.75, 1.0]
    assert figures["frechet_after"] is None
    table = report.table(ExperimentConfig(num_seeds=2, eval_images=4), outcome)
    assert table.endswith("- As asked in motion: 12.5% before, 87.5% after.")
