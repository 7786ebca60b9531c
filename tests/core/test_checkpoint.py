import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from ai_econ_jax import checkpoint


@struct.dataclass
class State:
    params: dict
    moments: optax.OptState
    key: jax.Array
    keys: jax.Array
    done: jax.Array
    step: int


def make_state(value=1.0):
    params = {"dense": {"kernel": jnp.full((4, 3), value), "bias": jnp.zeros(3, jnp.bfloat16)}}
    return State(
        params=params,
        moments=optax.chain(optax.clip(1.0), optax.adam(1e-3)).init(params),
        key=jax.random.key(7),
        keys=jax.random.split(jax.random.key(8, impl="rbg"), 5),
        done=jnp.array([True, False]),
        step=3,
    )


def assert_same_bits(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for leaf, twin in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert jnp.asarray(leaf).dtype == jnp.asarray(twin).dtype
        assert checkpoint.to_host(leaf).tobytes() == checkpoint.to_host(twin).tobytes()


def test_every_leaf_comes_back_with_its_bits_and_keys_still_draw_the_same(tmp_path):
    state = make_state(np.float32(0.1))
    checkpoint.save(tmp_path, 5, state)
    step, restored = checkpoint.restore(tmp_path, make_state(0.0))
    assert step == 5
    assert_same_bits(restored, state)
    assert jax.random.key_impl(restored.keys) == jax.random.key_impl(state.keys)
    assert jax.random.uniform(restored.key) == jax.random.uniform(state.key)


def test_unusual_floats_keep_their_bits(tmp_path):
    state = {"x": jnp.array([np.nan, -0.0, np.inf, 1e-45], jnp.float32)}
    checkpoint.save(tmp_path, 0, state)
    assert_same_bits(checkpoint.restore(tmp_path, state)[1], state)


def test_leaves_without_elements_come_back(tmp_path):
    state = {"none": jnp.zeros((0, 3), jnp.int32), "keys": jax.random.split(jax.random.key(0), 0)}
    checkpoint.save(tmp_path, 0, state)
    restored = checkpoint.restore(tmp_path, state)[1]
    assert_same_bits(restored, state)
    assert restored["keys"].shape == (0,)


def test_template_may_be_abstract(tmp_path):
    state = jax.tree.map(jnp.asarray, make_state())
    checkpoint.save(tmp_path, 0, state)
    abstract = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, make_state()))
    assert_same_bits(checkpoint.restore(tmp_path, abstract)[1], state)


def test_restored_arrays_are_as_free_to_move_between_devices_as_the_template(tmp_path):
    device = jax.devices()[0]
    state = {"free": jnp.ones(2), "held": jax.device_put(jnp.ones(2), device)}
    checkpoint.save(tmp_path, 0, state)
    restored = checkpoint.restore(tmp_path, state)[1]
    assert not restored["free"].committed
    assert restored["held"].committed


def test_newest_three_stay(tmp_path):
    for step in (9, 10, 11, 100, 12):
        checkpoint.save(tmp_path, step, {"x": jnp.ones(2)})
    assert checkpoint.steps(tmp_path) == [11, 12, 100]
    checkpoint.save(tmp_path, 101, {"x": jnp.ones(2)}, keep=1)
    assert checkpoint.steps(tmp_path) == [101]
    assert [place.name for place in tmp_path.iterdir()] == ["101"]


def test_saving_a_step_again_replaces_it(tmp_path):
    checkpoint.save(tmp_path, 1, {"x": jnp.zeros(2)})
    checkpoint.save(tmp_path, 1, {"x": jnp.ones(2)})
    assert checkpoint.load_arrays(tmp_path)["x"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"a": {"b": jnp.ones((2, 4))}}, r"leaf a/b is float32\[2, 3\], in the state .*\[2, 4\]"),
        ({"a": {"b": jnp.ones((2, 3), int)}}, r"leaf a/b is float32.*in the state int32"),
        ({"a": {"b": jnp.ones((2, 3)), "c": jnp.ones(1)}}, "leaf a/c is only in the state"),
        ({"a": {}}, "leaf a/b is only in the checkpoint"),
        ({"a": {"b": jax.random.split(jax.random.key(0), (2, 3))}}, r"in the state key<fry>\[2, 3"),
    ],
)
def test_state_of_another_shape_is_an_error_naming_the_leaf_and_both(tmp_path, template, message):
    checkpoint.save(tmp_path, 1, {"a": {"b": jnp.ones((2, 3))}})
    with pytest.raises(checkpoint.CheckpointError, match=message):
        checkpoint.restore(tmp_path, template)


def test_keys_of_another_kind_are_an_error(tmp_path):
    checkpoint.save(tmp_path, 1, {"key": jax.random.key(0)})
    with pytest.raises(checkpoint.CheckpointError, match=r"key is key<fry>.*state key<rbg>"):
        checkpoint.restore(tmp_path, {"key": jax.random.key(0, impl="rbg")})


@pytest.mark.parametrize("directory", ["", "missing"])
def test_no_checkpoint_is_file_not_found(tmp_path, directory):
    assert checkpoint.steps(tmp_path / directory) == []
    with pytest.raises(FileNotFoundError, match=str(tmp_path / directory)):
        checkpoint.restore(tmp_path / directory, {"x": jnp.ones(2)})
    with pytest.raises(FileNotFoundError):
        checkpoint.load_arrays(tmp_path / directory)


def largest_file(place):
    return max(
        (p for p in (place / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )


def flip_a_bit(place):
    data = bytearray(largest_file(place).read_bytes())
    data[len(data) // 2] ^= 1
    largest_file(place).write_bytes(bytes(data))


def truncate(place):
    data = largest_file(place).read_bytes()
    largest_file(place).write_bytes(data[: len(data) // 2])


def fill_with_garbage(place):
    largest_file(place).write_bytes(b"\0garbage" * 100)


def remove_a_file(place):
    largest_file(place).unlink()


def remove_the_manifest(place):
    (place / "manifest.json").unlink()


def garble_the_manifest(place):
    (place / "manifest.json").write_bytes(b"\xff\xfe[")


def empty_the_manifest(place):
    (place / "manifest.json").write_text("{}")


def change_the_leaves(place):
    leaves = json.loads((place / "leaves.json").read_text())
    leaves["x"]["shape"] = [31, 32]
    (place / "leaves.json").write_text(json.dumps(leaves))


def remove_all(place):
    shutil.rmtree(place)
    place.mkdir()


DAMAGES = [
    flip_a_bit,
    truncate,
    fill_with_garbage,
    remove_a_file,
    remove_the_manifest,
    garble_the_manifest,
    empty_the_manifest,
    change_the_leaves,
    remove_all,
]


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    for step in (1, 2):
        checkpoint.save(directory, step, {"x": jnp.full((32, 32), step, jnp.float32)})
    return directory


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_is_reported_moved_aside_and_the_one_before_is_used(
    two_checkpoints, tmp_path, damage, caplog
):
    directory = tmp_path / "checkpoints"
    shutil.copytree(two_checkpoints, directory)
    damage(directory / "2")
    damaged = sorted(path.name for path in (directory / "2").rglob("*"))
    with caplog.at_level("WARNING"):
        step, state = checkpoint.restore(directory, {"x": jnp.zeros((32, 32))})
    assert step == 1
    assert (state["x"] == 1).all()
    assert f"{directory / '2'} is damaged" in caplog.text
    assert f"falling back to checkpoint {directory / '1'}" in caplog.text
    assert checkpoint.steps(directory) == [1]
    assert sorted(path.name for path in (directory / "broken-2").rglob("*")) == damaged


def test_second_damage_at_the_same_step_keeps_both_remains(two_checkpoints, tmp_path):
    directory = tmp_path / "checkpoints"
    shutil.copytree(two_checkpoints, directory)
    template = {"x": jnp.zeros((32, 32))}
    for _ in range(2):
        checkpoint.save(directory, 2, template)
        truncate(directory / "2")
        assert checkpoint.restore(directory, template)[0] == 1
    assert sorted(p.name for p in directory.iterdir()) == ["1", "broken-2", "broken-2-2"]


def test_whole_newest_is_used_silently(two_checkpoints, caplog):
    with caplog.at_level("WARNING"):
        assert checkpoint.restore(two_checkpoints, {"x": jnp.zeros((32, 32))})[0] == 2
    assert not caplog.text


def test_all_damaged_is_an_error_and_nothing_is_moved(two_checkpoints, tmp_path):
    directory = tmp_path / "checkpoints"
    shutil.copytree(two_checkpoints, directory)
    for step in checkpoint.steps(directory):
        flip_a_bit(directory / str(step))
    with pytest.raises(checkpoint.CheckpointError, match=r"every checkpoint in .* \[1, 2\]"):
        checkpoint.restore(directory, {"x": jnp.zeros((32, 32))})
    assert checkpoint.steps(directory) == [1, 2]
    with pytest.raises(checkpoint.CheckpointError, match="damaged"):
        checkpoint.load_arrays(directory)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["write_json", "rename", "rmtree"])
def test_death_in_the_middle_of_a_save_leaves_only_whole_checkpoints(tmp_path, moment, monkeypatch):
    state = {"x": jnp.ones((32, 32))}
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, state)

    def die(path, *args, **kwargs):
        if moment == "rmtree":
            if kwargs.get("ignore_errors"):
                return
            next(p for p in pathlib.Path(path).rglob("*") if p.is_file()).unlink()
        raise Killed

    with monkeypatch.context() as patch:
        place = {"write_json": "workdir_lib", "rename": "os", "rmtree": "shutil"}[moment]
        patch.setattr(getattr(checkpoint, place), moment, die)
        with pytest.raises(Killed):
            checkpoint.save(tmp_path, 4, state)
    whole = checkpoint.steps(tmp_path)
    assert whole == ([2, 3, 4] if moment == "rmtree" else [1, 2, 3])
    assert list(tmp_path.glob(".half-*"))
    for step in whole:
        checkpoint.load_arrays(tmp_path, step)
    checkpoint.sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [str(step) for step in whole]


def test_sweep_of_a_missing_directory_does_nothing(tmp_path):
    checkpoint.sweep(tmp_path / "missing")


def test_two_leaves_of_one_path_are_refused(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="share the path a/b"):
        checkpoint.save(tmp_path, 0, {"a": {"b": jnp.ones(1)}, "a/b": jnp.ones(1)})
