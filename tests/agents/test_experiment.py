import dataclasses

import jax
import numpy as np
import pytest

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.ai_economist.config import RoleConfig, TwoLevelConfig
from ai_econ_jax.agents.ai_economist.experiment import (
    EconomyConfig,
    ExperimentConfig,
    build_economy,
    fixed_schedules,
    schedule_of,
    seed_keys,
)
from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.one_step_economy import reference_economy

CUSTOM = EconomyConfig(reference="custom", num_workers=3)
ISOELASTIC = dataclasses.replace(CUSTOM, utility="isoelastic", labor_cost=0.1)
TWO_BRACKETS = dataclasses.replace(CUSTOM, bracket_spacing="linear", num_brackets=2)


# Economies.


@pytest.mark.parametrize("name", ["R1", "R2"])
def test_a_reference_economy_is_complete_and_ignores_the_other_fields(name):
    economy = build_economy(EconomyConfig(reference=name, num_workers=7, labor_cost=9.0))
    expected = reference_economy(name)
    np.testing.assert_array_equal(economy.skills, expected.skills)
    assert economy.labor_cost == expected.labor_cost


def test_a_custom_economy_reads_every_field():
    economy = build_economy(
        EconomyConfig(
            reference="custom",
            skills="1.5,0.5,2",
            labor_cost=0.5,
            labor_exponent=3.0,
            utility="isoelastic",
            eta=0.4,
            gini_mode="foundation",
            bracket_spacing="linear",
            num_brackets=3,
            top_cutoff=60.0,
        )
    )
    np.testing.assert_allclose(economy.skills, [1.5, 0.5, 2.0])
    np.testing.assert_allclose(economy.cutoffs, [0.0, 30.0, 60.0])
    got = [float(x) for x in (economy.labor_cost, economy.labor_exponent, economy.eta)]
    np.testing.assert_allclose(got, [0.5, 3.0, 0.4], rtol=1e-6)
    assert (economy.utility, economy.gini_mode) == ("isoelastic", "foundation")


def test_without_skills_a_custom_economy_has_the_expected_published_ones():
    """Spec 3.9, N = 4."""
    economy = build_economy(EconomyConfig(reference="custom", num_workers=4))
    np.testing.assert_allclose(economy.skills, [1.133329, 1.326930, 1.647045, 2.226029], rtol=1e-6)


def test_skills_are_read_from_a_csv_file(tmp_path):
    path = tmp_path / "skills.csv"
    path.write_text("skill\n1.5\n0.5\n")
    economy = build_economy(dataclasses.replace(CUSTOM, skills=str(path)))
    np.testing.assert_allclose(economy.skills, [1.5, 0.5])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"skills": "1.0,-2.0"}, "entry 2: -2.0 is not a positive finite number"),
        ({"skills": "1.0,nan"}, "entry 2: nan is not a positive finite number"),
        ({"skills": "1.0,fast"}, "'fast' is not a number"),
        ({"skills": "1.0"}, "1 skills, must be at least 2"),
        ({"labor_cost": -1.0}, "labor_cost is -1, must be 0 or more"),
        ({"labor_cost": float("nan")}, "labor_cost is nan"),
        ({"labor_exponent": 1.0}, "labor_exponent is 1, must be greater than 1"),
        ({"eta": 1.5}, r"eta is 1.5, must lie in \[0, 1\]"),
        ({"bracket_spacing": "linear", "num_brackets": 1}, "num_brackets is 1, must be at least 2"),
        ({"bracket_spacing": "log", "top_cutoff": 0.0}, "top cutoff is 0.0, must be a positive"),
    ],
)
def test_an_impossible_economy_names_field_value_and_range(fields, message):
    with pytest.raises(ValueError, match=message):
        build_economy(dataclasses.replace(CUSTOM, **fields))


def test_a_missing_skills_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv does not exist"):
        build_economy(dataclasses.replace(CUSTOM, skills="nowhere.csv"))


# Config.


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("economy.reference", "R3"),
        ("economy.num_workers", 1),
        ("economy.utility", "happy"),
        ("economy.gini_mode", "other"),
        ("economy.bracket_spacing", "cubic"),
        ("welfare", "happiness"),
        ("tax", "none"),
        ("rate_step", 0.3),
        ("num_seeds", 0),
        ("seed", -1),
        ("updates_per_segment", 0),
        ("learning.worker_kind", "clever"),
        ("learning.worker_network", "transformer"),
        ("learning.planner_judged_by", "nobody"),
        ("learning.num_environments", 0),
        ("learning.shuffle_blocks", 0),
        ("learning.phase1_updates", -1),
        ("learning.random_schedule_share", 1.0),
        ("learning.fine_tuning_rate", -0.5),
        ("learning.workers.learning_rate", 0.0),
        ("learning.planner.clip", 0.0),
        ("learning.planner.activation", "step"),
        ("learning.planner.max_gradient_norm", 0.0),
        ("learning.workers.num_epochs", 0),
    ],
)
def test_a_value_out_of_range_is_named_with_its_field(path, value):
    with pytest.raises(ValueError, match=f"{path.split('.')[-1]}.*{value}"):
        config_lib.replace_fields(ExperimentConfig(), {path: value})


def test_the_default_config_is_valid():
    assert config_lib.validate(ExperimentConfig()) == ExperimentConfig()
    assert config_lib.validate(TwoLevelConfig(workers=RoleConfig())) is not None


# Schedules.


def test_fixed_schedules_of_the_reference_economy():
    schedules = fixed_schedules(reference_economy("R1"), 0.05)
    np.testing.assert_array_equal(schedules["free_market"], np.zeros(7))
    np.testing.assert_allclose(schedules["us_federal"], brackets.US_FEDERAL_RATES)
    assert {name for name in schedules if not name.startswith("flat/")} == {
        "free_market",
        "us_federal",
        "saez",
    }
    for name, rates in schedules.items():
        assert rates.shape == (7,) and ((rates >= 0) & (rates <= 1)).all()
        if name.startswith("flat/"):
            assert len(set(rates.tolist())) == 1
    # Spec 6.2: no flat tax helps the utilitarian planner, some does the inverse-income one.
    assert schedules["flat/utilitarian"][0] == 0 < schedules["flat/inverse_income_utility"][0]


def test_schedules_that_an_economy_does_not_have_are_absent():
    isoelastic = fixed_schedules(build_economy(ISOELASTIC), 0.5)
    assert "saez" not in isoelastic and "us_federal" in isoelastic
    linear = fixed_schedules(build_economy(TWO_BRACKETS), 0.5)
    assert "saez" in linear and "us_federal" not in linear


def test_schedule_of_a_config():
    config = ExperimentConfig(economy=CUSTOM, rate_step=0.25)
    economy = build_economy(CUSTOM)
    assert schedule_of(config, economy) is None

    def schedule(**fields):
        return schedule_of(dataclasses.replace(config, **fields), economy)

    rates = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    np.testing.assert_allclose(schedule(tax="fixed", rates=rates), rates)
    np.testing.assert_allclose(schedule(tax="us_federal"), brackets.US_FEDERAL_RATES)
    np.testing.assert_allclose(schedule(tax="flat", welfare="utilitarian"), np.zeros(7))
    assert schedule(tax="flat", welfare="inverse_income_utility").max() > 0


@pytest.mark.parametrize(
    ("economy", "fields", "message"),
    [
        (TWO_BRACKETS, {"tax": "us_federal"}, "tax = 'us_federal': us_federal needs bracket_sp"),
        (ISOELASTIC, {"tax": "saez"}, "tax = 'saez'.*saez needs utility"),
        (CUSTOM, {"tax": "fixed"}, r"rates has shape \(0,\), must be one rate for each of 7"),
        (CUSTOM, {"tax": "fixed", "rates": (0.1,) * 6 + (1.1,)}, "1.1"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused(economy, fields, message):
    config = ExperimentConfig(economy=economy, rate_step=0.5, **fields)
    with pytest.raises(ValueError, match=message):
        schedule_of(config, build_economy(economy))


# Seeds.


def test_a_seed_key_does_not_depend_on_the_seeds_beside_it():
    def keys(**fields):
        return np.asarray(jax.random.key_data(seed_keys(ExperimentConfig(**fields))))

    five, three = keys(seed=10, num_seeds=5), keys(seed=12, num_seeds=3)
    np.testing.assert_array_equal(five[2:], three)
    np.testing.assert_array_equal(five[0], jax.random.key_data(jax.random.key(10)))
    assert len(np.unique(five, axis=0)) == 5
