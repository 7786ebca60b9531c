"""Tables, summary and figures of a comparison that is made up, so every number is known."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from ai_econ_jax import statistics, workdir
from ai_econ_jax.agents.ai_economist import figures, report
from ai_econ_jax.agents.ai_economist.compare import Comparison, TaxModelResult
from ai_econ_jax.agents.ai_economist.experiment import WELFARE_NAMES
from ai_econ_jax.envs.one_step_economy import BracketOptimum, Frontier, reference_economy

NUM_SEEDS, NUM_WELFARE, NUM_WORKERS, NUM_BRACKETS = 3, len(WELFARE_NAMES), 4, 7
FREE, BEST = 10.0, 20.0
GOAL = "inverse_income_utility"
W = WELFARE_NAMES.index(GOAL)


def tax_model(welfare, rate=0.25):
    """A model of welfare ``f[S]`` under all functions."""
    welfare = np.repeat(np.asarray(welfare, float)[:, None], NUM_WELFARE, axis=1)
    incomes = np.broadcast_to(
        np.array([30.0, 50.0, 80.0, 150.0]), (len(welfare), NUM_WELFARE, NUM_WORKERS)
    )
    return TaxModelResult(
        rates=np.full((len(welfare), NUM_WELFARE, NUM_BRACKETS), rate),
        hours=incomes / 2,
        production=incomes,
        coin=incomes,
        utility=incomes / 3,
        equality=np.full((len(welfare), NUM_WELFARE), 0.7),
        welfare=welfare,
        exact_welfare=welfare + 1.0,
    )


def curves(metric, num_lanes):
    lanes = np.linspace(8.0, 19.0, num_lanes).tolist()
    return [{"update": u, metric: 9.0, "seeds": {metric: lanes}} for u in (10, 20, 30)]


@pytest.fixture(scope="module")
def comparison():
    points = np.array([80.0, 70.0, 60.0])
    return Comparison(
        economy=reference_economy("R1"),
        models={
            "free_market": tax_model([10, 10, 10], rate=0.0),
            "us_federal": tax_model([14, 14, 14]),
            "flat": tax_model([13, 13, 13]),
            "saez": tax_model([15, 15, 15]),
            "planner": tax_model([17, 18, 22]),
        },
        optimum=BracketOptimum(
            # Nothing to gain under the last one.
            welfare={w: BEST if w != "productivity" else FREE for w in WELFARE_NAMES},
            rates={w: np.full(NUM_BRACKETS, 0.4) for w in WELFARE_NAMES},
            frontier=Frontier(points, np.array([0.6, 0.7, 0.8]), np.zeros((3, NUM_BRACKETS))),
            num_schedules=9,
            num_reachable=4,
        ),
        exact_free_market=dict.fromkeys(WELFARE_NAMES, FREE),
        rows={
            "phase1": curves("utility", NUM_SEEDS),
            "planner": curves("welfare", NUM_WELFARE * NUM_SEEDS),
            "fixed": curves("utility", 2),
        },
    )


def one_seed(comparison):
    """The comparison as ``mode=optimum`` has it: one exact "seed", nothing learned."""
    models = {
        name: dataclasses.replace(
            model, **{f.name: getattr(model, f.name)[:1] for f in dataclasses.fields(model)}
        )
        for name, model in comparison.models.items()
        if name != "planner"
    }
    return dataclasses.replace(comparison, models=models, rows={})


def row_of(table, title):
    (line,) = (line for line in table if line.startswith(f"| {title} "))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_welfare_table_has_all_models_and_marks_the_best_below_the_optimum(comparison):
    table = report.welfare_table(comparison)
    titles = [line.split("|")[1].strip() for line in table[2:]]
    assert titles == [
        "free market",
        "US federal",
        "best flat tax",
        "Saez formula",
        "learned planner",
        "exact optimum",
    ]
    half_width = statistics.mean_interval([17, 18, 22]).half_width
    assert row_of(table, "learned planner")[W] == f"**19.00 ± {half_width:.2f}**"
    assert row_of(table, "US federal")[W] == "14.00 ± 0.00"
    assert row_of(table, "exact optimum")[W] == "20.00"
    assert sum(line.count("**") for line in table) == 2 * NUM_WELFARE
    assert len({len(line) for line in table}) == 1


def test_gain_table_shows_median_and_minimum_and_what_they_are_shares_of(comparison):
    table = report.gain_table(comparison)
    planner = row_of(table, "learned planner")
    assert planner[W] == "0.800 (0.700)"
    assert planner[WELFARE_NAMES.index("productivity")] == "–"
    assert row_of(table, "free market")[W] == "0.000 (0.000)"
    assert row_of(table, "optimum − free")[W] == "10.00"


def test_one_seed_has_no_interval_and_no_statistics(comparison):
    text = report.report(one_seed(comparison), "exact")
    assert "±" not in text
    assert "median" not in text
    assert "learned" not in text.replace("nothing about them is learned", "")


def test_report_says_which_workers_and_gini_it_is_about(comparison):
    text = report.report(comparison, "learned")
    assert "Gini mode 'exact'" in text
    assert "Workers are learned" in text
    assert "a gain can exceed 1" in text
    assert "Made for each column's own function: best flat tax, learned planner" in text
    assert "Workers respond exactly" in report.report(comparison, "exact")


def test_summary_has_every_figure_and_null_where_there_is_nothing_to_gain(comparison, tmp_path):
    with workdir.open_workdir(tmp_path / "run", _Config()) as place:
        workdir.write_summary(place, report.summary(comparison))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary[f"welfare/{GOAL}/planner/mean"] == pytest.approx(19.0)
    assert summary[f"welfare/{GOAL}/us_federal/ci95"] == 0.0
    assert summary[f"exact_welfare/{GOAL}/planner/mean"] == pytest.approx(20.0)
    assert summary[f"gain/{GOAL}/planner"] == pytest.approx(0.8)
    assert summary[f"gain_min/{GOAL}/planner"] == pytest.approx(0.7)
    assert summary[f"gain/{GOAL}/optimum"] == 1.0
    assert summary[f"welfare/{GOAL}/optimum/mean"] == summary[f"optimum/{GOAL}"] == BEST
    assert summary[f"welfare/{GOAL}/optimum/ci95"] == 0.0
    for name in (*comparison.models, "optimum"):
        assert summary[f"gain/productivity/{name}"] is None
        assert summary[f"gain_min/productivity/{name}"] is None


def test_files_hold_the_report_all_welfare_and_all_schedules(comparison, tmp_path):
    report.write_tables(comparison, workdir.Workdir(tmp_path), "learned")
    assert (tmp_path / "table.md").read_text() == report.report(comparison, "learned") + "\n"
    with open(tmp_path / "table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 6 * NUM_WELFARE
    planner = {r["welfare_function"]: r for r in table if r["tax_model"] == "planner"}
    assert float(planner[GOAL]["mean"]) == pytest.approx(19.0)
    assert planner["productivity"]["gain_median"] == ""
    with open(tmp_path / "schedules.csv", newline="") as file:
        schedules = list(csv.DictReader(file))
    # Three models of one schedule; flat and optimum per welfare function; planner per seed too.
    count = 3 + 2 * NUM_WELFARE + NUM_WELFARE * NUM_SEEDS
    assert len(schedules) == count * NUM_BRACKETS
    top = [r for r in schedules if r["tax_model"] == "us_federal"][-1]
    assert (top["from_coin"], top["to_coin"], top["rate"]) == ("510.3", "inf", "0.25")


def test_process_that_does_not_write_leaves_no_files(comparison, tmp_path):
    place = workdir.Workdir(tmp_path, writes=False)
    report.write_tables(comparison, place, "learned")
    figures.write_figures(comparison, place)
    assert not list(tmp_path.iterdir())


def test_all_figures_are_drawn_and_none_that_lacks_data(comparison, tmp_path):
    (tmp_path / "all" / "figures").mkdir(parents=True)
    figures.write_figures(comparison, workdir.Workdir(tmp_path / "all"))
    drawn = {path.stem: path.stat().st_size for path in (tmp_path / "all" / "figures").iterdir()}
    assert drawn.keys() == figures.FIGURES.keys()
    assert min(drawn.values()) > 10_000
    figures.write_figures(one_seed(comparison), workdir.Workdir(tmp_path / "exact"))
    exact = {path.stem for path in (tmp_path / "exact" / "figures").iterdir()}
    assert exact == {"schedules", "equality_productivity", "hours_by_skill"}


def test_training_curves_start_the_planner_where_phase_2_does():
    rows = [
        {"update": u, "seeds": {"utility": [1.0, 2.0], "welfare": [3.0, 4.0]}} for u in (1, 2, 3, 4)
    ]
    workers, planner = figures.training_curves(rows, 2, GOAL).axes
    assert list(workers.lines[0].get_xdata()) == [1, 2, 3, 4]
    assert list(planner.lines[0].get_xdata()) == [3, 4]


def test_end_labels_that_would_overlap_are_moved_apart(comparison):
    figure = figures.hours_by_skill(comparison)
    for axes in figure.axes:
        heights = np.sort([text.xyann[1] for text in axes.texts])
        assert len(heights) == 6
        assert np.diff(heights).min() > 0.06


@dataclasses.dataclass(frozen=True)
class _Config:
    pass
