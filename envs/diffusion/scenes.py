"""Scenes of animals with captions, drawn on the fly: a biased world for a model to learn. Spec 3.2.

One to four coloured silhouettes stand in a place. Green dogs, moons and groups of four are rare in
what the model sees, which is what makes a prompt hard for it later. Everything is a pure function
of a description and a key. Axes: S side of the canvas, N silhouettes, s side of a silhouette on the
canvas, L tokens; there are 4 animals at most.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from numpy.typing import NDArray

from ai_econ_jax.envs.diffusion import prompts
from ai_econ_jax.envs.diffusion.image_data import ImageData
from ai_econ_jax.envs.diffusion.prompts import COLOURS, MAX_ANIMALS, NUM_NATURAL, PLACES, Wanted
from ai_econ_jax.envs.diffusion.silhouettes import ANIMALS

# Red, green, blue of 255, in the order of PLACES and COLOURS.
PLACE_RGB = np.array(
    [(96, 150, 72), (128, 128, 132), (140, 190, 235), (214, 184, 128), (236, 240, 245)], np.float32
)
COLOUR_RGB = np.array(
    [
        (120, 78, 42),
        (28, 26, 24),
        (244, 242, 238),
        (112, 112, 112),
        (24, 190, 60),
        (30, 70, 220),
        (214, 32, 38),
        (240, 110, 180),
        (250, 210, 40),
    ],
    np.float32,
)
# Sides of a silhouette when there are 1, 2, or 3 and more.
SIDES = {16: (9, 7, 6), 32: (16, 13, 11)}
_GRADIENT, _NOISE = 12.0, 4.0  # of the background, of 255
_NUM_DISCS, _DISC_SHADE = 3, 12.0  # darker spots of the moon; fainter than any animal
_DISC_RADIUS = (0.06, 0.13)  # of the canvas
_MOON, _SNOW = PLACES.index("moon"), PLACES.index("snow")
# Animals that cannot be told from where they stand are not drawn: white on snow, gray on the moon.
_VISIBLE = np.ones((len(PLACES), len(COLOURS)), bool)
_VISIBLE[_SNOW, COLOURS.index("white")] = False
_VISIBLE[_MOON, COLOURS.index("gray")] = False


@dataclasses.dataclass(frozen=True)
class Prior:
    """How often scenes are what they are."""

    # One animal, two of a kind, two kinds, three of a kind, four.
    kinds: tuple[float, ...]
    natural: float  # share of natural colours
    places: tuple[float, ...]  # of PLACES


SKEWED = Prior((0.62, 0.16, 0.18, 0.03, 0.01), 0.97, (0.55, 0.03, 0.15, 0.15, 0.12))
UNIFORM = Prior((0.2,) * 5, NUM_NATURAL / len(COLOURS), (0.2,) * 5)
_KIND_COUNT = np.array([1, 2, 2, 3, 4])
_TWO_KINDS = 2


@struct.dataclass
class Stamps:
    """Silhouettes at the sizes of a canvas, sorted by species."""

    alpha: jax.Array  # f32[3, N, s, s], in [0, 1], empty beyond a smaller size
    first: jax.Array  # i32[10], row where a species begins
    number: jax.Array  # i32[10], of its rows


@struct.dataclass
class Scene:
    """What is to be seen."""

    place: jax.Array  # i32[], of PLACES
    count: jax.Array  # i32[], animals
    species: jax.Array  # i32[4], of ANIMALS; the first `count` count
    colour: jax.Array  # i32[4], of COLOURS


def make_stamps(data: ImageData, size: int) -> Stamps:
    """Silhouettes f32[N, 28, 28, 1] of a part of the data, averaged over areas to fit a canvas.

    Raises:
      ValueError: A species has no silhouette.
    """
    order = np.argsort(data.labels, kind="stable")
    number = np.bincount(data.labels, minlength=len(ANIMALS))
    if not number.all():
        missing = ANIMALS[int(np.argmin(number))]
        raise ValueError(f"the silhouettes have no {missing}")
    masks = (data.images[order, :, :, 0] + 1) / 2
    largest = SIDES[size][0]
    alpha = np.zeros((3, len(masks), largest, largest), np.float32)
    for i, side in enumerate(SIDES[size]):
        shrink = _area_matrix(masks.shape[1], side)
        alpha[i, :, :side, :side] = shrink @ masks @ shrink.T
    first = np.concatenate([[0], np.cumsum(number)[:-1]])
    return Stamps(jnp.asarray(alpha), jnp.asarray(first), jnp.asarray(number))


def _area_matrix(before: int, after: int) -> NDArray:
    """Weights f32[after, before] of the mean over the stretch that each new cell covers."""
    edges = np.arange(after + 1) * before / after
    cells = np.arange(before)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return (np.clip(overlap, 0, None) * after / before).astype(np.float32)


def draw_scene(key: jax.Array, prior: Prior, asked_place: jax.Array | NDArray | int = -1) -> Scene:
    """A scene of a prior, or of one place unless that is -1. Each animal has its own colour."""
    kind_key, place_key, species_key, other_key, natural_key, colour_key = jax.random.split(key, 6)
    kind = jax.random.choice(kind_key, len(prior.kinds), p=jnp.array(prior.kinds))
    place = jax.random.choice(place_key, len(PLACES), p=jnp.array(prior.places))
    asked_place = jnp.asarray(asked_place)
    place = jnp.where(asked_place >= 0, asked_place, place)
    species = jax.random.randint(species_key, (), 0, len(ANIMALS))
    other = (species + jax.random.randint(other_key, (), 1, len(ANIMALS))) % len(ANIMALS)
    second = jnp.where(kind == _TWO_KINDS, other, species)
    natural = jax.random.bernoulli(natural_key, prior.natural, (MAX_ANIMALS, 1))
    allowed = (jnp.arange(len(COLOURS)) < NUM_NATURAL) == natural
    allowed &= jnp.asarray(_VISIBLE)[place]
    colour = jax.random.categorical(colour_key, jnp.where(allowed, 0.0, -jnp.inf))
    return Scene(
        place=place,
        count=jnp.asarray(_KIND_COUNT)[kind],
        species=jnp.stack([species, second, species, species]),
        colour=colour,
    )


def draw_wanted(key: jax.Array, prior: Prior, wanted: Wanted) -> Scene:
    """A scene that a prompt asks for; what it leaves open is drawn from a prior."""
    drawn = draw_scene(key, prior, wanted.place)  # which decides what colours can be seen

    def filled(asked: NDArray, free: jax.Array) -> jax.Array:
        return jnp.where(jnp.asarray(asked) >= 0, asked, free)

    return Scene(
        place=drawn.place,
        count=filled(wanted.count, drawn.count),
        species=filled(wanted.species, drawn.species),
        colour=filled(wanted.colour, drawn.colour),
    )


def with_other_animals(scene: Scene, shift: jax.Array) -> Scene:
    """The same scene of species that stand `shift` i32[] further in ANIMALS."""
    return dataclasses.replace(scene, species=(scene.species + shift) % len(ANIMALS))


def render(key: jax.Array, scene: Scene, stamps: Stamps, size: int) -> jax.Array:
    """An image f32[S, S, 3] in [-1, 1] of a scene, on a canvas of 16 or 32.

    An animal's pixel is ``alpha colour (0.85 + 0.15 alpha) + (1 - alpha) background``. Boxes of
    animals never overlap, so the sum over animals is the picture.
    """
    place_key, stamp_key, jitter_key = jax.random.split(key, 3)
    corner = jnp.asarray(_corners(size))[scene.count - 1]
    # All move together, so that they never touch and can be counted.
    corner = corner + jax.random.randint(jitter_key, (2,), -1, 2)
    box = jnp.minimum(scene.count, 3) - 1  # index of the size
    corner = jnp.clip(corner, 0, size - jnp.asarray(SIDES[size])[box])
    stamp = draw_stamps(stamp_key, scene, stamps)
    return paint(background(place_key, scene.place, size), stamp, corner, scene.colour)


def draw_stamps(key: jax.Array, scene: Scene, stamps: Stamps) -> jax.Array:
    """Silhouettes f32[4, s, s] of a scene's animals; those beyond its number are empty."""
    box = jnp.minimum(scene.count, 3) - 1  # index of the size
    row = stamps.first[scene.species] + jax.random.randint(
        key, (MAX_ANIMALS,), 0, stamps.number[scene.species]
    )
    there = jnp.arange(MAX_ANIMALS) < scene.count
    return stamps.alpha[box, row] * there[:, None, None]


def paint(
    background: jax.Array, stamp: jax.Array, corner: jax.Array, colour: jax.Array
) -> jax.Array:
    """An image f32[S, S, 3] in [-1, 1].

    Args:
      background: f32[S, S, 3] of 255.
      stamp: f32[4, s, s], silhouettes in [0, 1] that do not overlap on the canvas.
      corner: i32[4, 2], upper left corners of theirs (down, across).
      colour: i32[4], of COLOURS.
    """
    # Column i of an animal's box is column corner + i of the canvas.
    cells = corner[..., None, None] + jnp.arange(stamp.shape[-1])
    onto = (jnp.arange(len(background))[:, None] == cells).astype(jnp.float32)  # [4, 2, S, s]
    alpha = jnp.einsum("nri,nij,ncj->nrc", onto[:, 0], stamp, onto[:, 1])
    rgb = jnp.asarray(COLOUR_RGB)[colour]
    animals = jnp.einsum("nrc,nk->rck", alpha * (0.85 + 0.15 * alpha), rgb)
    image = animals + (1 - alpha.sum(0))[..., None] * background
    return jnp.clip(image / 127.5 - 1, -1.0, 1.0)


def caption(key: jax.Array, scene: Scene) -> jax.Array:
    """Tokens i32[L] that describe a scene.

    The colour of a single animal is told, a natural one every other time; of several animals it
    is not.
    """
    table = prompts.token_table
    animal, plural = table(ANIMALS), table(prompts.PLURALS)
    article = table(tuple("an" if name[0] in "aeiou" else "a" for name in ANIMALS))
    preposition = table(tuple("in" if name == "sky" else "on" for name in PLACES))
    single = {word: table((word,))[0] for word in ("a", "and", "the")}
    first, second = scene.species[0], scene.species[1]
    begin, end, padding = table((prompts.BOS,)), table((prompts.EOS,)), table((prompts.PAD,))
    where = [preposition[scene.place], single["the"], table(PLACES)[scene.place]]

    def sentence(*words: jax.Array) -> jax.Array:
        tokens = jnp.concatenate([begin, jnp.stack([*words, *where]), end])
        return jnp.concatenate([tokens, jnp.repeat(padding, prompts.LENGTH - tokens.size)])

    colour = scene.colour[0]
    told = (colour >= NUM_NATURAL) | jax.random.bernoulli(key, 0.5)
    one = jnp.where(
        told,
        sentence(single["a"], table(COLOURS)[colour], animal[first]),
        sentence(article[first], animal[first]),
    )
    many = sentence(table(prompts.NUMBERS)[scene.count - 2], plural[first])
    both = sentence(article[first], animal[first], single["and"], article[second], animal[second])
    return jnp.where(scene.count == 1, one, jnp.where(first == second, many, both))


def slope(size: int) -> NDArray:
    """How much lighter a background is than its colour, f32[S, 1, 1] of 255, from the top down."""
    return np.linspace(_GRADIENT, -_GRADIENT, size, dtype=np.float32)[:, None, None]


def _corners(size: int) -> NDArray:
    """Upper left corners i32[4, 4, 2] (down, across) of the boxes of 1, 2, 3 and 4 animals."""
    one, two, many = SIDES[size]
    middle = [(size - side) // 2 for side in (one, two, many)]
    near = [size // 4 - -(-side // 2) for side in (one, two, many)]  # of a quarter's middle
    near = [max(0, value) for value in near]
    far = [size - side - value for side, value in zip((one, two, many), near, strict=True)]
    low, high = near[2], far[2]
    unused = (0, 0)
    return np.array(
        [
            [(middle[0], middle[0]), unused, unused, unused],
            [(middle[1], near[1]), (middle[1], far[1]), unused, unused],
            [(low, middle[2]), (high, low), (high, high), unused],
            [(low, low), (low, high), (high, low), (high, high)],
        ]
    )


def background(key: jax.Array, place: jax.Array, size: int) -> jax.Array:
    """f32[S, S, 3] of 255: a colour, lighter at the top, with noise; discs on the moon."""
    noise_key, centre_key, radius_key = jax.random.split(key, 3)
    noise = _NOISE * jax.random.normal(noise_key, (size, size, 3))
    centre = size * jax.random.uniform(centre_key, (_NUM_DISCS, 2))
    low, high = _DISC_RADIUS
    radius = size * jax.random.uniform(radius_key, (_NUM_DISCS,), minval=low, maxval=high)
    cells = jnp.arange(size) + 0.5
    down = jnp.square(cells[:, None] - centre[:, 0])[:, None]  # [S, 1, discs]
    across = jnp.square(cells[:, None] - centre[:, 1])[None]
    inside = jnp.any(down + across < jnp.square(radius), axis=-1) & (place == _MOON)
    return jnp.asarray(PLACE_RGB)[place] + slope(size) + noise - _DISC_SHADE * inside[..., None]
