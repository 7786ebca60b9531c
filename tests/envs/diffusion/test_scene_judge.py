import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scenes

from ai_econ_jax.envs.diffusion import folders, prompts, scene_judge, scenes
from ai_econ_jax.envs.diffusion.prompts import ANIMALS, COLOURS, PLACES
from ai_econ_jax.envs.diffusion.scene_judge import SceneJudge, Seen
from ai_econ_jax.envs.diffusion.scenes import UNIFORM
from ai_econ_jax.envs.diffusion.weights import WeightsError
from ai_econ_jax.envs.diffusion.worlds import SCENES


@pytest.fixture(scope="module")
def drawn():
    stamps = scenes.make_stamps(tiny_scenes.silhouettes(), 16)
    draw = jax.jit(lambda key: SCENES.draw(key, 300, UNIFORM, stamps, 16)[:2])
    return jax.tree.map(np.asarray, draw(jax.random.key(0)))


def test_place_number_and_colours_are_read_off_the_pixels(drawn):
    scene, images = drawn
    found = scene_judge.find_animals(images)
    np.testing.assert_array_equal(found.place, scene.place)
    number = np.bincount(found.image, minlength=300)
    assert (number == scene.count).mean() > 0.98
    right = wrong = 0
    for i in np.flatnonzero(number == scene.count):
        told = sorted(found.colour[found.image == i])
        right += told == sorted(scene.colour[i, : scene.count[i]])
        wrong += told != sorted(scene.colour[i, : scene.count[i]])
    assert right / (right + wrong) > 0.97
    assert found.crop.shape[1:] == (11, 11, 1) and 0 <= found.crop.min() <= found.crop.max() <= 1.5


def test_two_animals_are_found_from_left_to_right(drawn):
    scene, images = drawn
    found = scene_judge.find_animals(images)
    for i in np.flatnonzero(scene.count == 2)[:40]:
        np.testing.assert_array_equal(found.colour[found.image == i], scene.colour[i, :2])


def test_the_judge_describes_up_to_four_animals(drawn):
    _, images = drawn
    template = jax.eval_shape(lambda key: scene_judge.init(key, 16), jax.random.key(0))
    judge = SceneJudge(tiny_scenes.random_like(template))
    seen = judge.describe(images)
    there = np.arange(4) < np.minimum(seen.count, 4)[:, None]
    for table in (seen.species, seen.colour):
        assert ((table >= 0) == there).all()
    bare = np.broadcast_to(scenes.PLACE_RGB[2] / 127.5 - 1, (3, 16, 16, 3))
    empty = judge.describe(bare)
    assert (empty.count == 0).all() and (empty.species == -1).all()
    assert [PLACES[p] for p in empty.place] == ["sky"] * 3
    assert not judge.success(bare, prompts.parse("a dog in the sky")).any()


def test_another_number_of_animals_compiles_nothing_new(drawn):
    scene, images = drawn
    template = jax.eval_shape(lambda key: scene_judge.init(key, 16), jax.random.key(0))
    judge = SceneJudge(tiny_scenes.random_like(template))
    single = images[scene.count == 1]
    judge.describe(single[:8])
    compiled = scene_judge.species_logits._cache_size()
    some = judge.describe(single[:5])
    assert (some.count == 1).all() and scene_judge.species_logits._cache_size() == compiled
    crops = scene_judge.find_animals(single[:5]).crop
    names = scene_judge.species_logits(judge.params, jnp.asarray(crops)).argmax(1)
    np.testing.assert_array_equal(some.species[:, 0], names)


def seen(place, *animals):
    rest = [(-1, -1)] * (4 - len(animals))
    pairs = [(ANIMALS.index(kind), COLOURS.index(colour)) for colour, kind in animals]
    species, colour = np.array(pairs + rest).T
    one = np.array([PLACES.index(place)]), np.array([len(animals)])
    return Seen(*one, species[None], colour[None])


GREEN_DOG, BROWN_CAT, BROWN_DOG = ("green", "dog"), ("brown", "cat"), ("brown", "dog")


@pytest.mark.parametrize(
    ("prompt", "shown", "expected"),
    [
        ("a green dog on the grass", seen("grass", GREEN_DOG), True),
        ("a green dog on the grass", seen("sand", GREEN_DOG), False),
        ("a green dog on the grass", seen("grass", BROWN_DOG), False),
        ("a green dog on the grass", seen("grass", GREEN_DOG, BROWN_CAT), False),
        ("a green dog", seen("sand", GREEN_DOG), True),
        ("a dog and a cat", seen("sand", BROWN_CAT, GREEN_DOG), True),
        ("a dog and a cat", seen("sand", BROWN_DOG, GREEN_DOG), False),
        ("a green cat and a dog", seen("sand", BROWN_CAT, GREEN_DOG), False),
        ("two dogs", seen("sand", BROWN_DOG, GREEN_DOG), True),
        ("three dogs", seen("sand", BROWN_DOG, GREEN_DOG), False),
    ],
)
def test_success_is_all_that_the_prompt_names(prompt, shown, expected):
    assert scene_judge.matches(shown, prompts.parse(prompt)).tolist() == [expected]


def test_the_judge_survives_its_file(tmp_path):
    template = jax.eval_shape(lambda key: scene_judge.init(key, 16), jax.random.key(0))
    params = tiny_scenes.random_like(template)
    folders.save_network(tmp_path / "judge", params)
    loaded = scene_judge.load(tmp_path / "judge", 16).params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), loaded, params)
    with pytest.raises(WeightsError, match=r"tensor hidden.weight has shape"):
        scene_judge.load(tmp_path / "judge", 32)
    with pytest.raises(FileNotFoundError):
        scene_judge.load(tmp_path, 16)
    assert jnp.isfinite(loaded["head"]["bias"]).all()
