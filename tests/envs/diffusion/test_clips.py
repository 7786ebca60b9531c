import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scenes

from ai_econ_jax.envs.diffusion import clip_judge, clip_prompts, clips, scene_judge, scenes
from ai_econ_jax.envs.diffusion.clip_judge import ClipJudge
from ai_econ_jax.envs.diffusion.clip_prompts import TOKENIZER, VELOCITY, WORDS
from ai_econ_jax.envs.diffusion.prompts import ANIMALS, COLOURS, PLACES
from ai_econ_jax.envs.diffusion.scene_judge import SceneJudge
from ai_econ_jax.envs.diffusion.worlds import CLIPS

STAMPS = scenes.make_stamps(tiny_scenes.silhouettes(), 16)
GRASS = PLACES.index("grass")


@pytest.fixture(scope="module")
def drawn():
    draw = jax.jit(lambda key: CLIPS.draw(key, 200, clips.UNIFORM, STAMPS, 16))
    return jax.tree.map(np.asarray, draw(jax.random.key(0)))


@pytest.fixture(scope="module")
def judge():
    template = jax.eval_shape(lambda key: scene_judge.init(key, 16), jax.random.key(0))
    return ClipJudge(SceneJudge(tiny_scenes.random_like(template)))


def test_the_animal_moves_by_a_pixel_a_frame_and_is_whole_in_all(drawn):
    clip, frames, _ = drawn
    assert frames.shape == (200, 8, 16, 16, 3) and np.abs(frames).max() <= 1
    background = scenes.PLACE_RGB[clip.scene.place][:, None, None, None] + scenes.slope(16)
    difference = np.linalg.norm((frames + 1) * 127.5 - background, axis=-1)
    area = (difference > 32).sum((2, 3))
    # Made-up animals are boxes; where they stand, noise decides on a pixel or two.
    assert (area.max(1) - area.min(1) <= 6).mean() > 0.95
    slope = clip_judge.velocity(frames)
    np.testing.assert_allclose(slope, VELOCITY[clip.motion], atol=0.15)


def test_captions_tell_what_is_to_be_seen(drawn):
    clip, _, captions = drawn
    told = {"colour": 0, "motion": 0}
    for i in range(200):
        words = [WORDS[token] for token in captions[i]]
        text = " ".join(word for word in words if not word.startswith("<"))
        np.testing.assert_array_equal(captions[i], TOKENIZER.encode(text))
        wanted = clip_prompts.parse(text)
        species, colour = clip.scene.species[i, 0], clip.scene.colour[i, 0]
        assert wanted.scene.species[0] == species and wanted.scene.place == clip.scene.place[i]
        assert wanted.scene.colour[0] in (-1, colour) and wanted.motion in (-1, clip.motion[i])
        assert wanted.scene.colour[0] >= 0 or colour < 4
        assert wanted.motion >= 0 or clip.motion[i] == 1
        told["colour"] += wanted.scene.colour[0] >= 0 and colour < 4
        told["motion"] += wanted.motion >= 0 and clip.motion[i] == 1
    natural = (clip.scene.colour[:, 0] < 4).sum()
    assert abs(told["colour"] / natural - 0.5) < 0.2
    assert abs(told["motion"] / (clip.motion == 1).sum() - 0.5) < 0.3


def test_most_animals_of_the_skewed_world_move_from_right_to_left():
    draw = jax.jit(jax.vmap(lambda key: clips.draw_clip(key, clips.SKEWED)))
    clip = draw(jax.random.split(jax.random.key(1), 4000))
    share = np.bincount(clip.motion, minlength=5) / 4000
    np.testing.assert_allclose(share, clips.SKEWED.motions, atol=0.025)
    assert (clip.scene.count == 1).all()


def test_true_clips_of_a_prompt_show_it():
    wanted = clip_prompts.parse("a green dog moving from left to right on the grass")
    draw = jax.jit(lambda key: CLIPS.renders(key, 20, wanted, STAMPS, 16))
    frames = np.asarray(draw(jax.random.key(2)))
    assert (clip_judge.motions(frames) == 0).all()
    found = scene_judge.find_animals(clip_judge.fold(frames))
    assert (found.place == GRASS).all()
    assert np.mean(found.colour == COLOURS.index("green")) > 0.95


def moving(*corners, side=4, colour="red"):
    """A clip of a box with these corners (down, across); None for an empty frame."""
    frames = np.broadcast_to(
        scenes.PLACE_RGB[GRASS] + scenes.slope(16), (len(corners), 16, 16, 3)
    ).copy()
    for frame, corner in zip(frames, corners, strict=True):
        if corner is not None:
            down, across = corner
            rgb = scenes.COLOUR_RGB[COLOURS.index(colour)]
            frame[down : down + side, across : across + side] = rgb
    return (frames / 127.5 - 1)[None]


@pytest.mark.parametrize(
    ("corners", "slope", "motion"),
    [
        ([(5, t) for t in range(8)], (0, 1), 0),
        ([(5, 9 - t) for t in range(8)], (0, -1), 1),
        ([(9 - t, 5) for t in range(8)], (-1, 0), 2),
        ([(t, 5) for t in range(8)], (1, 0), 3),
        ([(5, 5)] * 8, (0, 0), 4),
        (
            [(5, 5 + t // 3) for t in range(8)],
            (0, np.polyfit(range(8), np.arange(8) // 3, 1)[0]),
            4,
        ),
        ([(t // 2, t) for t in range(8)], (np.polyfit(range(8), np.arange(8) // 2, 1)[0], 1), 0),
        ([(5, 0), None, None, (5, 3), (5, 4), None, (5, 6), None], (0, 1), 0),
        ([None] * 7 + [(5, 5)], (np.nan, np.nan), -1),
        ([None] * 8, (np.nan, np.nan), -1),
    ],
    ids=["right", "left", "up", "down", "still", "slow", "aslant", "gaps", "once", "nothing"],
)
def test_motion_is_the_slope_of_the_centre(corners, slope, motion):
    clip = moving(*corners)
    np.testing.assert_allclose(clip_judge.velocity(clip)[0], slope, atol=1e-6)
    assert clip_judge.motions(clip).tolist() == [motion]


def test_a_speck_that_stands_still_is_no_animal():
    clip = moving(*[(5, t) for t in range(8)])
    clip[:, :, 13, 13] = -1.0
    np.testing.assert_allclose(clip_judge.velocity(clip)[0], (0, 1), atol=1e-6)
    alone = moving(*[None] * 8)
    alone[:, :, 13, 13] = -1.0
    assert clip_judge.motions(alone).tolist() == [-1]


class Says:
    """A judge of frames that says what it is told to."""

    def __init__(self, right):
        self.right = np.array(right)

    def success(self, images, wanted):
        assert images.shape == (self.right.size, 16, 16, 3)
        return self.right


@pytest.mark.parametrize(
    ("right", "prompt", "expected"),
    [
        ([1, 1, 1, 1, 1, 0, 0, 0], "a dog moving from left to right", True),
        ([1, 1, 1, 1, 0, 0, 0, 0], "a dog moving from left to right", False),
        ([1] * 8, "a dog moving from right to left", False),
        ([1] * 8, "a dog", True),
    ],
    ids=["most", "half", "motion", "any motion"],
)
def test_success_is_most_frames_and_the_motion(right, prompt, expected):
    clip = moving(*[(5, t) for t in range(8)])
    judge = ClipJudge(Says(np.array(right, bool)))
    assert judge.success(clip, clip_prompts.parse(prompt)).tolist() == [expected]


def test_accuracies_are_of_frames_and_of_motions(drawn, judge):
    clip, frames, _ = drawn
    some = jax.tree.map(lambda leaf: leaf[:60], clip)
    told = CLIPS.accuracy(judge, some, jnp.asarray(frames[:60]))
    assert told["motion"] == 1.0
    assert min(told[name] for name in ("place", "count", "colour")) > 0.95
    assert told["species"] < 0.5  # it has learned nothing
    backwards = CLIPS.accuracy(judge, some, jnp.asarray(frames[:60, ::-1]))
    assert backwards["motion"] == pytest.approx(np.mean(some.motion == 4))


def test_rivals_are_four_animals_in_each_of_two_motions():
    rivals = jax.jit(lambda key: CLIPS.draw_rivals(key, 32, clips.UNIFORM, STAMPS, 16))
    frames, captions = (np.asarray(each) for each in rivals(jax.random.key(4)))
    moving = clip_judge.motions(frames).reshape(4, 8)
    np.testing.assert_array_equal(moving[:, 4:], (moving[:, :4] + 1) % 5)
    np.testing.assert_array_equal(moving[:, :4], moving[:, :1].repeat(4, 1))
    animals = np.isin(captions, [WORDS.index(name) for name in ANIMALS])
    assert (animals.sum(1) == 1).all()
    named = captions[animals].reshape(4, 8)
    assert all(len(set(group)) == 4 for group in named)
    np.testing.assert_array_equal(named[:, :4], named[:, 4:])


@pytest.mark.parametrize(("shift", "animal", "motion"), [(0, 0, 0), (3, 3, 0), (6, 2, 1)])
def test_with_others_the_place_and_the_colour_stay(shift, animal, motion):
    clip = jax.vmap(lambda key: clips.draw_clip(key, clips.UNIFORM))(
        jax.random.split(jax.random.key(5), 50)
    )
    other = clips.with_others(clip, shift)
    np.testing.assert_array_equal(
        other.scene.species, (np.asarray(clip.scene.species) + animal) % 10
    )
    np.testing.assert_array_equal(other.motion, (np.asarray(clip.motion) + motion) % 5)
    for name in ("place", "count", "colour"):
        np.testing.assert_array_equal(getattr(other.scene, name), getattr(clip.scene, name))
