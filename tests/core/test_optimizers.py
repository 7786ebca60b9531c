import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ai_econ_jax import optimizers


def test_linear_schedule_falls_from_the_peak_to_zero_and_stays_there():
    rate = optimizers.learning_rate_schedule("linear", 0.8, 4)
    np.testing.assert_allclose(
        [rate(step) for step in range(7)], [0.8, 0.6, 0.4, 0.2, 0.0, 0.0, 0.0], atol=1e-7
    )


def test_cosine_schedule_falls_along_half_a_wave():
    rate = optimizers.learning_rate_schedule("cosine", 0.8, 4)
    expected = 0.4 * (1 + np.cos(np.pi * np.minimum(np.arange(6) / 4, 1)))
    np.testing.assert_allclose([rate(step) for step in range(6)], expected, atol=1e-7)


def test_constant_schedule_is_the_peak():
    assert optimizers.learning_rate_schedule("constant", 0.8, 4) == 0.8


def test_unknown_schedule_names_field_value_and_choices():
    with pytest.raises(ValueError, match="schedule = 'step': must be one of constant, linear, cos"):
        optimizers.learning_rate_schedule("step", 0.8, 4)


def test_adam_clips_the_global_norm_over_all_leaves():
    """Against Adam's formulas; the norm of (3, 4) with (12) is 13."""
    gradients = [{"a": np.array([3.0, 4.0]), "b": np.array(12.0)}, {"a": np.zeros(2), "b": 0.1}]
    optimizer = optimizers.adam(0.01, max_gradient_norm=0.5)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(())}
    state = optimizer.init(params)
    first, second = (jax.tree.map(np.zeros_like, params) for _ in range(2))
    for step, gradient in enumerate(gradients, start=1):
        norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)))
        clipped = jax.tree.map(lambda g: g * min(1.0, 0.5 / norm), gradient)  # noqa: B023
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, clipped)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, clipped)
        expected = jax.tree.map(
            lambda m, v: -0.01 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-5),  # noqa: B023
            first,
            second,
        )
        updates, state = optimizer.update(jax.tree.map(jnp.asarray, gradient), state, params)
        chex.assert_trees_all_close(updates, expected, rtol=1e-4)


def test_small_gradients_show_the_epsilon():
    """Adam's first step is g / (|g| + epsilon)."""
    gradient = jnp.array([1e-5, 1e-3])
    optimizer = optimizers.adam(1.0, max_gradient_norm=0.5)
    updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    np.testing.assert_allclose(updates, [-0.5, -1 / 1.01], rtol=1e-3)


def test_hyperparameters_may_be_traced_and_vmapped():
    gradient = jnp.array([1.0, -2.0])

    def after_three_steps(peak, norm):
        rate = optimizers.learning_rate_schedule("linear", peak, 3)
        optimizer = optimizers.adam(rate, norm)
        params, state = jnp.zeros(2), optimizer.init(jnp.zeros(2))
        for _ in range(3):
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return params

    peaks, norms = jnp.array([0.1, 0.3]), jnp.array([1.0, 1e-5])
    got = jax.jit(jax.vmap(after_three_steps))(peaks, norms)
    expected = jnp.stack([after_three_steps(0.1, 1.0), after_three_steps(0.3, 1e-5)])
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(got[0], [-0.2, 0.2], rtol=1e-3)
    assert jnp.abs(got[1]).max() < 0.4  # a norm of the size of epsilon halves the steps
