"""Skills: exact order statistics against quadrature and published figures; input errors."""

import numpy as np
import pytest
from scipy import integrate, stats

from ai_econ_jax.envs.economy import skills


def quantile(u, shape, max_skill):
    return min(max_skill, 1 + (max_skill - 1) * ((1 - u) ** (-1 / shape) - 1))


@pytest.mark.parametrize(
    ("num_workers", "build_payments"),
    [
        (4, [11.33329, 13.26930, 16.47045, 22.26029]),
        (
            10,
            [
                *(10.51282, 11.09890, 11.77951, 12.58616, 13.56815),
                *(14.80819, 16.45578, 18.78446, 22.17710, 26.56227),
            ],
        ),
    ],
)
def test_order_statistics_are_the_specified_ones(num_workers, build_payments):
    exact = skills.expected_order_statistics(num_workers)
    np.testing.assert_allclose(10 * exact, build_payments, atol=6e-6)


@pytest.mark.parametrize(("shape", "max_skill"), [(4.0, 3.0), (2.5, 3.0), (4.0, 5.0)])
def test_order_statistics_equal_quadrature(shape, max_skill):
    num_workers = 7
    exact = skills.expected_order_statistics(num_workers, shape, max_skill)
    for rank, value in enumerate(exact, start=1):
        density = stats.beta(rank, num_workers - rank + 1).pdf
        expected, _ = integrate.quad(
            lambda u, density=density: quantile(u, shape, max_skill) * density(u),
            *(0, 1),
            points=[1 - 2.0**-shape],
            epsabs=1e-11,
        )
        np.testing.assert_allclose(value, expected, atol=1e-8)


@pytest.mark.parametrize("num_workers", [2, 29, 100, 1000, 100_000])
def test_order_statistics_ascend_with_the_mean_of_the_distribution(num_workers):
    exact = skills.expected_order_statistics(num_workers)
    assert exact.shape == (num_workers,)
    assert np.all(np.diff(exact) >= -1e-9)
    assert 1 < exact[0] < exact[-1] < 3 + 1e-9
    np.testing.assert_allclose(exact.mean(), 19 / 12, rtol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "num_workers is 1, must be at least 2"),
        ((4, 1.0), "shape is 1.0, must be greater than 1"),
        ((4, 4.0, 1.0), "max_skill is 1.0, must be greater than 1"),
    ],
)
def test_order_statistics_refuse_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        skills.expected_order_statistics(*arguments)


def test_skills_from_a_comma_string_keep_their_order():
    np.testing.assert_array_equal(skills.parse_skills("1.3, 1.1,2"), [1.3, 1.1, 2])


@pytest.mark.parametrize(
    "content", ["1.1\n1.3\n", "skill\n1.1\n\n1.3", "\ufeffSkills\r\n1.1\r\n 1.3 \r\n"]
)
def test_skills_from_a_csv_file(tmp_path, content):
    path = tmp_path / "workers.csv"
    path.write_bytes(content.encode("utf-8"))
    np.testing.assert_array_equal(skills.parse_skills(str(path)), [1.1, 1.3])


def test_an_existing_file_without_the_csv_ending_is_read(tmp_path):
    path = tmp_path / "workers"
    path.write_text("1.1\n1.3\n")
    np.testing.assert_array_equal(skills.parse_skills(str(path)), [1.1, 1.3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.1,nan", "--skills, entry 2: nan is not a positive finite number"),
        ("1.1,-2", "--skills, entry 2: -2 is not a positive finite number"),
        ("0,1", "--skills, entry 1: 0 is not a positive finite number"),
        ("1,inf", "--skills, entry 2: inf is not a positive finite number"),
        ("1.1,high", "--skills, entry 2: 'high' is not a number"),
        ("1.1,,2", "--skills, entry 2: '' is not a number"),
        ("1.1", "--skills: 1 skills, must be at least 2"),
    ],
)
def test_bad_comma_strings_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        skills.parse_skills(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1.1\nNaN\n2", "row 2: NaN is not a positive finite number"),
        ("skill\n1.1\n-1\n", "row 3: -1 is not a positive finite number"),
        ("1.1\n0\n", "row 2: 0 is not a positive finite number"),
        ("1.1\n\nhigh\n", "row 3: 'high' is not a number"),
        ("ability\n1\n2\n", "row 1: 'ability' is not a number"),
        ("1.1\n1.2,1.3\n", "row 2: 2 columns, must be 1"),
        ("", ": 0 skills, must be at least 2"),
        ("skill\n", ": 0 skills, must be at least 2"),
        ("1.5\n", ": 1 skills, must be at least 2"),
    ],
)
def test_bad_csv_files_are_refused_naming_file_row_and_value(tmp_path, content, message):
    path = tmp_path / "workers.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        skills.parse_skills(str(path))
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_missing_csv_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv does not exist"):
        skills.parse_skills("nowhere.csv")


def test_a_matrix_of_skills_is_refused():
    with pytest.raises(ValueError, match=r"skills has shape \(2, 2\), must be a vector"):
        skills.validate_skills(np.ones((2, 2)))
