import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import spaces

INF = np.inf


def samples(space, number=300):
    return jax.jit(jax.vmap(space.sample))(jax.random.split(jax.random.key(0), number))


def test_discrete_samples_are_exactly_its_elements():
    space = spaces.Discrete(5)
    drawn = samples(space)
    assert drawn.shape == (300, *space.shape)
    assert set(drawn.tolist()) == {0, 1, 2, 3, 4}
    assert all(map(space.contains, range(5)))
    assert not space.contains(5) and not space.contains(-1)


def test_multi_discrete_has_a_range_for_each_entry():
    space = spaces.MultiDiscrete((2, 4, 1))
    drawn = samples(space)
    assert drawn.shape == (300, *space.shape)
    assert [set(column) for column in drawn.T.tolist()] == [{0, 1}, {0, 1, 2, 3}, {0}]
    assert jax.vmap(space.contains)(drawn).all()
    assert space.contains(jnp.array([1, 3, 0]))
    assert not space.contains(jnp.array([2, 3, 0]))
    assert not space.contains(jnp.array([1, 3, -1]))


def test_box_samples_fill_the_box():
    space = spaces.Box(jnp.array([-1.0, 2.0]), jnp.array([1.0, 2.5]), (2,))
    drawn = samples(space)
    assert jax.vmap(space.contains)(drawn).all()
    np.testing.assert_allclose(drawn.min(0), [-1.0, 2.0], atol=0.05)
    np.testing.assert_allclose(drawn.max(0), [1.0, 2.5], atol=0.05)
    assert space.contains(jnp.array([1.0, 2.5]))
    assert not space.contains(jnp.array([1.0, 2.6]))
    assert not space.contains(jnp.array([-1.1, 2.0]))
    assert not space.contains(jnp.array([jnp.nan, 2.0]))


@pytest.mark.parametrize(("low", "high"), [(-INF, INF), (0.0, INF)])
def test_unbounded_box_is_sampled_normally(low, high):
    drawn = samples(spaces.Box(low, high, (3,)))
    np.testing.assert_allclose(drawn.std(), 1.0, atol=0.1)


@pytest.mark.parametrize(
    "space", [spaces.Discrete(3), spaces.MultiDiscrete((2, 3)), spaces.Box(0.0, 1.0, (2,))]
)
def test_spaces_are_hashable_so_that_jit_takes_them_as_static(space):
    drawn = jax.jit(lambda space, key: space.sample(key), static_argnums=0)(
        space, jax.random.key(0)
    )
    assert drawn.shape == space.shape
