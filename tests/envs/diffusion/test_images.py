import builtins

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from ai_econ_jax.envs.diffusion import classifier, folders
from ai_econ_jax.envs.diffusion.image_data import PARTS, ImageData, load_digits8
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
