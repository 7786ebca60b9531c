import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scenes
from scipy import ndimage

from ai_econ_jax.envs.diffusion import prompts, scenes
from ai_econ_jax.envs.diffusion.image_data import ImageData
from ai_econ_jax.envs.diffusion.prompts import ANIMALS, COLOURS, NUM_NATURAL, PLACES
from ai_econ_jax.envs.diffusion.scenes import SKEWED, UNIFORM, Scene
from ai_econ_jax.envs.diffusion.worlds import SCENES

STAMPS = scenes.make_stamps(tiny_scenes.silhouettes(), 16)


@functools.partial(jax.jit, static_argnums=(1, 2))
def draw(key, count, prior):
    return SCENES.draw(key, count, prior, STAMPS, 16)


def share(values, kinds):
    return np.bincount(np.asarray(values).ravel(), minlength=kinds) / np.size(values)


def test_scenes_are_as_biased_as_their_prior():
    count = 20_000
    scene = jax.jit(jax.vmap(lambda key: scenes.draw_scene(key, SKEWED)))(
        jax.random.split(jax.random.key(0), count)
    )
    error = 4 * 0.5 / count**0.5  # of a share
    assert np.abs(share(scene.place, 5) - np.array(SKEWED.places)).max() < error
    two_kinds = np.asarray(scene.species[:, 0] != scene.species[:, 1])
    assert abs(two_kinds.mean() - 0.18) < error
    assert np.abs(share(scene.count, 5)[1:] - [0.62, 0.34, 0.03, 0.01]).max() < error
    assert np.abs(share(scene.species[:, 0], 10) - 0.1).max() < error
    assert abs((np.asarray(scene.colour) < NUM_NATURAL).mean() - 0.97) < error
    hidden = {("snow", "white"), ("moon", "gray")}
    shown = {
        (PLACES[p], COLOURS[c])
        for p, some in zip(scene.place.tolist(), scene.colour.tolist(), strict=True)
        for c in some
    }
    assert not shown & hidden


def sentence(tokens):
    assert tokens[0] == prompts.WORDS.index("<bos>")
    told = [prompts.WORDS[token] for token in tokens[1:]]
    end = told.index("<eos>")
    assert set(told[end + 1 :]) <= {"<pad>"}
    return " ".join(told[:end])


def test_captions_tell_what_is_there_and_can_be_parsed():
    drawn = draw(jax.random.key(1), 400, UNIFORM)
    scene, _, captions = jax.tree.map(np.asarray, drawn)
    colours_told = []
    for i in range(400):
        told = sentence(captions[i])
        wanted = prompts.parse(told)
        count = int(scene.count[i])
        assert wanted.place == scene.place[i] and wanted.count == count, told
        assert list(wanted.species[:count]) == scene.species[i, :count].tolist(), told
        if count == 1 and wanted.colour[0] >= 0:
            assert wanted.colour[0] == scene.colour[i, 0], told
        if count > 1:
            assert (wanted.colour == -1).all()
        elif scene.colour[i, 0] >= NUM_NATURAL:
            assert wanted.colour[0] >= 0
        else:
            colours_told.append(wanted.colour[0] >= 0)
    assert 0.2 < np.mean(colours_told) < 0.8
    np.testing.assert_array_equal(captions[0], prompts.Tokenizer().encode(sentence(captions[0])))


def still(count, colour="red", place="sky", species=0):
    return Scene(
        jnp.int32(PLACES.index(place)),
        jnp.int32(count),
        jnp.full(4, species),
        jnp.full(4, COLOURS.index(colour)),
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_canvas_shows_each_animal_once_on_its_background(count):
    # Boxes that are filled: the animal's own colour inside, the place's outside.
    data = tiny_scenes.silhouettes()
    full = ImageData(np.ones_like(data.images), data.labels, ANIMALS)
    stamps = scenes.make_stamps(full, 16)
    keys = jax.random.split(jax.random.key(2), 50)
    images = jax.jit(jax.vmap(lambda key: scenes.render(key, still(count), stamps, 16)))(keys)
    rgb = (np.asarray(images) + 1) * 127.5
    animal = np.abs(rgb - scenes.COLOUR_RGB[COLOURS.index("red")]).max(-1) < 1
    side = scenes.SIDES[16][min(count, 3) - 1]
    np.testing.assert_array_equal(animal.sum((1, 2)), count * side * side)
    background = rgb - scenes.PLACE_RGB[PLACES.index("sky")] - scenes.slope(16)
    noise = background[~animal]
    assert abs(noise.std() - 4) < 0.2 and abs(noise.mean()) < 0.1
    assert {ndimage.label(shown, np.ones((3, 3)))[1] for shown in animal} == {count}
    # Something moves: jitter.
    assert len(np.unique(animal.reshape(50, -1), axis=0)) > 3


def test_a_half_covered_pixel_is_the_formula_s_mix():
    data = tiny_scenes.silhouettes()
    half = ImageData(np.zeros_like(data.images), data.labels, ANIMALS)  # alpha 1/2
    stamps = scenes.make_stamps(half, 16)
    keys = jax.random.split(jax.random.key(3), 300)
    images = jax.jit(jax.vmap(lambda key: scenes.render(key, still(1), stamps, 16)))(keys)
    middle = ((np.asarray(images) + 1) * 127.5)[:, 8, 8].mean(0)
    place, red = scenes.PLACE_RGB[PLACES.index("sky")], scenes.COLOUR_RGB[COLOURS.index("red")]
    expected = 0.5 * red * 0.925 + 0.5 * (place + scenes.slope(16)[8, 0])
    np.testing.assert_allclose(middle, expected, atol=0.6)


def test_shrinking_keeps_the_mean():
    masks = (tiny_scenes.silhouettes().images[:, :, :, 0] + 1) / 2
    for i, side in enumerate(scenes.SIDES[16]):
        small = np.asarray(STAMPS.alpha[i, :, :side, :side])
        np.testing.assert_allclose(small.mean((1, 2)), masks.mean((1, 2)), rtol=1e-5)
        assert not np.asarray(STAMPS.alpha[i, :, side:]).any()


def test_true_images_of_a_prompt_are_what_it_asks_for():
    wanted = prompts.parse("a green dog on the snow")
    keys = jax.random.split(jax.random.key(4), 50)
    draw_wanted = jax.jit(jax.vmap(scenes.draw_wanted, (0, None, None)), static_argnums=1)
    drawn = draw_wanted(keys, SKEWED, wanted)
    assert set(drawn.count.tolist()) == {1} and set(drawn.place.tolist()) == {4}
    assert {ANIMALS[k] for k in drawn.species[:, 0].tolist()} == {"dog"}
    assert {COLOURS[k] for k in drawn.colour[:, 0].tolist()} == {"green"}
    open_colour = prompts.parse("a dog")
    drawn = draw_wanted(keys, SKEWED, open_colour)
    assert len(set(drawn.colour[:, 0].tolist())) > 2 and len(set(drawn.place.tolist())) > 1


@pytest.mark.parametrize(("place", "hidden"), [("moon", "gray"), ("snow", "white")])
def test_true_images_hide_no_animal_in_the_place_that_is_asked_for(place, hidden):
    wanted = prompts.parse(f"a dog on the {place}")
    keys = jax.random.split(jax.random.key(5), 200)
    draw_wanted = jax.jit(jax.vmap(scenes.draw_wanted, (0, None, None)), static_argnums=1)
    drawn = draw_wanted(keys, SKEWED, wanted)
    assert {PLACES[p] for p in drawn.place.tolist()} == {place}
    shown = {COLOURS[c] for c in drawn.colour.ravel().tolist()}
    assert hidden not in shown and set(COLOURS[:NUM_NATURAL]) - {hidden} <= shown


def test_a_species_without_silhouettes_is_named():
    data = tiny_scenes.silhouettes()
    without = ImageData(data.images[data.labels != 4], data.labels[data.labels != 4], ANIMALS)
    with pytest.raises(ValueError, match="the silhouettes have no dog"):
        scenes.make_stamps(without, 16)


def test_rivals_differ_in_the_animal_and_in_nothing_else():
    rivals = jax.jit(lambda key: SCENES.draw_rivals(key, 64, UNIFORM, STAMPS, 16))
    images, captions = (np.asarray(each) for each in rivals(jax.random.key(4)))
    hidden = {*ANIMALS, *prompts.PLURALS, "a", "an"}
    kept = set()
    for group in range(8):
        rows = slice(8 * group, 8 * group + 8)
        told = [sentence(tokens) for tokens in captions[rows]]
        assert len(set(told)) == 8
        rest = {" ".join(w for w in each.split() if w not in hidden) for each in told}
        assert len(rest) == 1
        kept |= rest
        np.testing.assert_array_equal(images[rows][:, 0, 0], images[rows][:1, 0, 0].repeat(8, 0))
        assert len(np.unique(images[rows], axis=0)) > 4  # some made-up animals are alike
    assert len(kept) > 4


def test_with_other_animals_everything_else_stays():
    scene = draw(jax.random.key(5), 50, UNIFORM)[0]
    other = scenes.with_other_animals(scene, 3)
    np.testing.assert_array_equal(other.species, (np.asarray(scene.species) + 3) % 10)
    for name in ("place", "count", "colour"):
        np.testing.assert_array_equal(getattr(other, name), getattr(scene, name))
