import numpy as np
import pytest

from ai_econ_jax.envs.diffusion import prompts
from ai_econ_jax.envs.diffusion.prompts import ANIMALS, COLOURS, PLACES, PromptError, Tokenizer

TOKENIZER = Tokenizer()


def words(tokens):
    return [prompts.WORDS[token] for token in tokens]


def test_a_prompt_begins_ends_and_is_padded():
    tokens = TOKENIZER.encode("A green dog on the grass.")
    assert tokens.dtype == np.int32 and len(prompts.WORDS) <= 48
    told = ["<bos>", "a", "green", "dog", "on", "the", "grass", "<eos>"]
    assert words(tokens) == told + ["<pad>"] * 4
    assert words(TOKENIZER.null) == ["<bos>", "<null>", "<eos>"] + ["<pad>"] * 9


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("  ", "the prompt is empty"),
        ("a gren dog", "prompt 'a gren dog': unknown word 'gren'; nearest: green"),
        ("a <null> dog", "unknown word '<null>'"),
        ("a dog and a dog and a dog and a dog", "has 11 words, at most 10 fit"),
    ],
)
def test_what_cannot_be_understood_is_named(prompt, message):
    with pytest.raises(PromptError, match=message):
        TOKENIZER.encode(prompt)


def asked(prompt):
    wanted = prompts.parse(prompt)
    count = int(wanted.count)
    animals = [
        (ANIMALS[kind], COLOURS[colour] if colour >= 0 else None)
        for kind, colour in zip(wanted.species[:count], wanted.colour[:count], strict=True)
    ]
    assert (wanted.species[count:] == -1).all()
    return animals, PLACES[wanted.place] if wanted.place >= 0 else None


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a green dog on the grass", ([("dog", "green")], "grass")),
        ("an elephant", ([("elephant", None)], None)),
        ("a dog and a cat on the grass", ([("dog", None), ("cat", None)], "grass")),
        ("four birds in the sky", ([("bird", None)] * 4, "sky")),
        ("two sheep and a red cow", ([("sheep", None)] * 2 + [("cow", "red")], None)),
        ("three pink bears on the moon", ([("bear", "pink")] * 3, "moon")),
    ],
)
def test_a_prompt_says_what_is_to_be_seen(prompt, expected):
    assert asked(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("on the grass", "cannot read ''; write such as"),
        ("a dogs on the grass", "cannot read 'a dogs'"),
        ("two dog", "cannot read 'two dog'"),
        ("a green on the grass", "cannot read 'a green'"),
        ("a dog on the cat", "'cat' is no place"),
        ("three dogs and two cats", "has 5 animals, at most 4 fit"),
    ],
)
def test_what_is_no_such_sentence_is_refused(prompt, message):
    with pytest.raises(PromptError, match=message):
        prompts.parse(prompt)


def test_every_evaluation_prompt_can_be_told_and_judged():
    told = [prompt for some in prompts.EVALUATION_PROMPTS.values() for prompt in some]
    assert len(set(told)) == 12
    for prompt in told:
        assert TOKENIZER.encode(prompt).shape == (12,) and prompts.parse(prompt).place >= 0
