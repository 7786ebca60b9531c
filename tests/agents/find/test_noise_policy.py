import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import fft, stats

from ai_econ_jax.agents.find import noise_policy
from ai_econ_jax.agents.find.noise_policy import DctBasis, NoisePolicy, PixelBasis

SHAPE = (16, 16, 1)


def random_policy(coordinates, seed=0):
    generator = np.random.default_rng(seed)
    mean = generator.standard_normal(coordinates).astype(np.float32)
    return NoisePolicy(jnp.asarray(mean), jnp.asarray(np.exp(0.3 * mean[::-1])))


@pytest.mark.parametrize("shape", [(8, 6, 2), (5, 8, 6, 2)], ids=["image", "clip"])
def test_frequencies_are_scipys_orthonormal_dct(shape):
    z = np.random.default_rng(0).standard_normal((3, *shape))
    axes = tuple(range(1, len(shape)))
    expected = fft.dctn(z, axes=axes, norm="ortho")[:, :4, :4]
    if len(shape) == 4:
        expected = expected[:, :, :, :4]
    np.testing.assert_allclose(DctBasis(shape, 4).project(z), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 6, 2), (5, 8, 6, 2)], ids=["image", "clip"])
def test_embedding_then_projecting_gives_the_coordinates_back(shape):
    basis = DctBasis(shape, 4)
    u = jax.random.normal(jax.random.key(0), (3, *basis.coordinates))
    fresh = jax.random.normal(jax.random.key(1), (3, *shape))
    np.testing.assert_allclose(basis.project(basis.replace_low(u, fresh)), u, atol=2e-6)
    # What is above the k lowest frequencies stays that of the fresh noise.
    other = basis.replace_low(basis.project(fresh), fresh)
    np.testing.assert_allclose(other, fresh, atol=2e-6)


def test_noise_of_the_low_frequencies_is_standard_normal_at_the_start():
    # Bar 5, D = 256. The slow test has the bar's 2e5 draws and limit.
    basis = DctBasis(SHAPE, 5)
    _, z = _draw(noise_policy.standard(basis), basis, 3_000)
    covariance = np.cov(z.reshape(len(z), -1).T)
    assert np.abs(covariance - np.eye(256)).max() < 0.13
    assert stats.kstest(np.asarray(z).ravel()[::97], "norm").pvalue > 1e-3


@pytest.mark.slow
def test_noise_of_the_low_frequencies_is_standard_normal_to_two_hundredths():
    basis = DctBasis(SHAPE, 5)
    _, z = _draw(noise_policy.standard(basis), basis, 200_000)
    covariance = np.cov(z.reshape(len(z), -1).T)
    assert np.abs(covariance - np.eye(256)).max() < 0.02


def _draw(policy, basis, count):
    keys = jax.random.split(jax.random.key(1), count)
    return jax.jit(lambda: noise_policy.sample(policy, basis, keys))()


def test_with_all_frequencies_dct_is_the_pixels_rotated():
    # Bar 5: the same u, and a z that is u turned by the orthogonal transform.
    dct, pixel = DctBasis((4, 4, 2), 4), PixelBasis((4, 4, 2))
    policy = random_policy((4, 4, 2))
    u, z = _draw(policy, dct, 3)
    same_u, same_z = _draw(policy, pixel, 3)
    np.testing.assert_allclose(u, same_u, rtol=1e-6)
    np.testing.assert_array_equal(same_u, same_z)
    np.testing.assert_allclose(fft.idctn(u, axes=(1, 2), norm="ortho"), z, atol=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_log_prob_is_scipys(reduction):
    policy = random_policy((3, 2))
    u = np.random.default_rng(1).standard_normal((5, 3, 2)).astype(np.float32)
    expected = stats.norm.logpdf(u, policy.mean, policy.std).reshape(5, -1)
    expected = expected.mean(1) if reduction == "mean" else expected.sum(1)
    np.testing.assert_allclose(noise_policy.log_prob(policy, u, reduction), expected, rtol=1e-5)


def test_divergences():
    policy = random_policy((6,))
    mean, std = np.asarray(policy.mean, np.float64), np.asarray(policy.std, np.float64)
    kl = 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std))
    official = np.mean(mean**2 + (std - 1) ** 2)
    for kind, reduction, expected in (
        ("gaussian", "sum", kl.sum()),
        ("gaussian", "mean", kl.mean()),
        ("official", "sum", official),
        ("official", "mean", official),
    ):
        value = noise_policy.divergence(policy, kind, reduction)
        assert value == pytest.approx(expected, rel=1e-5)
    start = noise_policy.standard(PixelBasis((6,)))
    assert noise_policy.divergence(start, "gaussian", "sum") == 0


@pytest.mark.parametrize("basis", [PixelBasis((8, 8, 1)), DctBasis((8, 8, 1), 3)])
def test_the_norm_ratio_is_that_of_drawn_noise(basis):
    policy = random_policy(basis.coordinates)
    _, z = _draw(policy, basis, 1_000)
    expected = np.mean(np.square(z))
    assert noise_policy.norm_ratio(policy, basis) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_norm_is_preserved_whatever_the_mean(scale):
    policy = random_policy((8, 8, 1))
    policy = NoisePolicy(scale * policy.mean, policy.std)
    kept = noise_policy.preserve_norm(policy)
    assert noise_policy.norm_ratio(kept, PixelBasis((8, 8, 1))) == pytest.approx(1, abs=1e-5)
    assert np.mean(np.square(kept.mean)) <= 0.9 + 1e-6
    # The mean keeps its direction, and its length where there is room for it.
    cosine = np.vdot(kept.mean, policy.mean) / np.linalg.norm(kept.mean)
    assert cosine == pytest.approx(np.linalg.norm(policy.mean), rel=1e-5)
    if scale == 0.3:
        np.testing.assert_array_equal(kept.mean, policy.mean)


def test_no_gradient_passes_through_a_draw():
    basis, keys = PixelBasis((3,)), jax.random.split(jax.random.key(0), 4)

    def total(policy):
        return noise_policy.sample(policy, basis, keys)[1].sum()

    assert not np.any(jax.grad(total)(random_policy((3,))).mean)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("fourier", (8, 8, 1), "field basis = 'fourier': must be pixel or dct:k"),
        ("dct:0", (8, 8, 1), "field basis = 'dct:0': must be pixel or dct:k"),
        (
            "dct:9",
            (8, 16, 1),
            "field basis = 'dct:9': k must be at most 8, the latent's",
        ),
        ("dct:9", (8, 16, 16, 3), "field basis = 'dct:9': k must be at most 8"),
        ("dct:2", (64,), r"field basis = 'dct:2': needs a latent of height.*shape \(64,\)"),
    ],
)
def test_impossible_bases_are_refused(name, shape, message):
    with pytest.raises(ValueError, match=message):
        noise_policy.make_basis(name, shape)
