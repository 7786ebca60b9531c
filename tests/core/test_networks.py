import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import networks


@pytest.fixture(scope="module")
def actor_critic():
    network = networks.ActorCritic(num_logits=3, hidden=(16, 8))
    return network, network.init(jax.random.key(0), jnp.zeros(5))


def kernels(params):
    """Kernels of the layers of a tower, first to last."""
    return [params[name]["kernel"] for name in sorted(params)]


def test_mlp_is_dense_layers_with_an_activation_after_each_but_the_last():
    network = networks.MLP((7, 4, 2), activation="silu")
    x = jax.random.normal(jax.random.key(1), (6, 5))
    variables = network.init(jax.random.key(0), x)
    params = jax.tree.map(np.asarray, variables["params"])
    y = np.asarray(x)
    for i, name in enumerate(["Dense_0", "Dense_1", "Dense_2"]):
        y = y @ params[name]["kernel"] + params[name]["bias"]
        if i < 2:
            y = y / (1 + np.exp(-y))
    np.testing.assert_allclose(network.apply(variables, x), y, atol=1e-5)


@pytest.mark.parametrize("activation", sorted(networks.ACTIVATIONS))
def test_every_activation_builds_and_they_differ_from_linear(activation):
    network = networks.MLP((4, 1), activation)
    x = jnp.array([[-1.0], [0.0], [1.0]])
    y = network.apply(network.init(jax.random.key(0), x), x)[:, 0]
    assert abs(y[0] + y[2] - 2 * y[1]) > 1e-6 or activation == "tanh"
    assert jnp.isfinite(y).all()


def test_kernels_start_orthogonal_with_their_gains_and_biases_at_zero(actor_critic):
    _, variables = actor_critic
    for tower, output_gain in (("policy", 0.01), ("critic", 1.0)):
        params = variables["params"][tower]
        gains = [np.sqrt(2.0), np.sqrt(2.0), output_gain]
        for kernel, gain in zip(kernels(params), gains, strict=True):
            singular_values = np.linalg.svd(kernel, compute_uv=False)
            np.testing.assert_allclose(singular_values, gain, rtol=1e-4)
        assert all((layer["bias"] == 0).all() for layer in params.values())


def test_towers_share_nothing(actor_critic):
    network, variables = actor_critic
    observation = jax.random.normal(jax.random.key(1), (4, 5))
    by_value = jax.grad(lambda v: network.apply(v, observation)[1].sum())(variables)["params"]
    by_logits = jax.grad(lambda v: (network.apply(v, observation)[0] ** 2).sum())(variables)[
        "params"
    ]
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(by_value["policy"]))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(by_logits["critic"]))
    assert all((kernel != 0).any() for kernel in kernels(by_value["critic"]))
    assert all((kernel != 0).any() for kernel in kernels(by_logits["policy"]))


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_actor_critic_takes_any_batch_shape(actor_critic, batch):
    network, variables = actor_critic
    observation = jax.random.normal(jax.random.key(1), (*batch, 5))
    logits, value = jax.jit(network.apply)(variables, observation)
    assert logits.shape == (*batch, 3) and value.shape == batch
    alone = network.apply(variables, observation, method="value")
    np.testing.assert_allclose(alone, value, rtol=1e-5)


@pytest.mark.parametrize(("stride", "size", "pad"), [(1, 3, 1), (2, 3, 1), (1, 1, 0)])
def test_convolve_is_the_convolution_of_jax(stride, size, pad):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, 6, 8, 3)).astype(np.float32)
    kernel = generator.standard_normal((size, size, 3, 5)).astype(np.float32)
    strides, padding = (stride, stride), ((pad, pad), (pad, pad))
    layout = ("NHWC", "HWIO", "NHWC")
    expected = jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)
    found = networks.convolve(jnp.asarray(x), jnp.asarray(kernel), strides, padding)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
