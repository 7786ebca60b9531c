import numpy as np
import pytest

from ai_econ_jax.envs.diffusion import clip_prompts, prompts
from ai_econ_jax.envs.diffusion.clip_prompts import MOTIONS, TOKENIZER, WORDS
from ai_econ_jax.envs.diffusion.prompts import ANIMALS, COLOURS, PLACES, PromptError


def asked(prompt):
    wanted = clip_prompts.parse(prompt)
    assert wanted.scene.count == 1 and wanted.motion.dtype == np.int32
    named = ((wanted.scene.colour[0], COLOURS), (wanted.scene.species[0], ANIMALS))
    parts = (*named, (wanted.motion, MOTIONS), (wanted.scene.place, PLACES))
    return tuple(names[number] if number >= 0 else None for number, names in parts)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a dog moving from left to right on the grass", (None, "dog", MOTIONS[0], "grass")),
        ("A green cat moving from right to left.", ("green", "cat", MOTIONS[1], None)),
        ("an elephant standing still", (None, "elephant", MOTIONS[4], None)),
        ("a bird moving up in the sky", (None, "bird", MOTIONS[2], "sky")),
        ("a cow moving down", (None, "cow", MOTIONS[3], None)),
        ("a pink bear on the moon", ("pink", "bear", None, "moon")),
    ],
)
def test_a_prompt_says_who_moves_how_and_where(prompt, expected):
    assert asked(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "the prompt is empty"),
        ("a dog running on the grass", "unknown word 'running'"),
        ("two dogs on the grass", "unknown word 'two'"),
        ("a dog moving on the grass", "cannot read 'moving'; a motion is one of: moving from left"),
        ("a dog moving up moving down", "cannot read 'moving up'; a motion is one of"),
        ("a moving up dog on the grass", "cannot read 'moving up'; a motion is one of.*behind"),
        ("a dog moving from right to right", "cannot read 'moving from right to right'"),
        ("moving up", "cannot read ''; write such as: a green dog moving up"),
    ],
)
def test_what_cannot_be_understood_is_named(prompt, message):
    with pytest.raises(PromptError, match=message):
        clip_prompts.parse(prompt)


def test_the_longest_caption_fits_and_words_are_few():
    tokens = TOKENIZER.encode("a green dog moving from left to right on the grass")
    assert tokens.shape == (13,) and WORDS[tokens[-1]] == "<eos>"
    assert len(WORDS) == len(set(WORDS)) <= 48
    assert len(prompts.Tokenizer().words) == 46  # those of scenes are what they were


def test_every_evaluation_prompt_can_be_told_and_judged():
    for prompt in (p for some in clip_prompts.EVALUATION_PROMPTS.values() for p in some):
        assert TOKENIZER.encode(prompt).shape == (13,)
        assert clip_prompts.parse(prompt).scene.place >= 0
    for prompt in clip_prompts.EVALUATION_PROMPTS["displacement"]:
        assert clip_prompts.parse(prompt).motion == 0
