import hashlib
import importlib.metadata
import os
import sys
import types

import fake_terrain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.find import noise_policy
from ai_econ_jax.agents.find.noise_policy import DctBasis, NoisePolicy
from ai_econ_jax.envs.diffusion import terrain
from ai_econ_jax.envs.diffusion.host_errors import plain_errors
from ai_econ_jax.envs.diffusion.noise_mdp import DiffusionParams, NoiseEnvironment, Task
from ai_econ_jax.envs.diffusion.schedule import SamplerConfig
from ai_econ_jax.envs.diffusion.terrain import OnnxGenerator, TerrainError, TerrainModel

INSTALL = r"pip install 'ai-econ-jax\[terrain\]' && pip install --no-deps adaptive-terrain-d"


def generate(model, z, difficulty=0.5):
    """Images as every learner draws them."""
    environment = NoiseEnvironment(model, SamplerConfig(num_steps=1), terrain.terrain_hill)
    keys = jax.random.split(jax.random.key(9), len(z))
    params = DiffusionParams((), Task(jnp.float32(difficulty), ()))
    return jax.jit(environment.generate)(keys, z, params)


def noise(*shape):
    return jax.random.normal(jax.random.key(0), (*shape, 128, 128, 1))


def test_an_image_is_what_the_network_makes_of_80_z():
    fake, z = fake_terrain.FakeGenerator(), noise(3)
    images = generate(TerrainModel(fake), z, 0.75)
    ((noisy, sigma, difficulty),) = fake.calls
    np.testing.assert_array_equal(noisy, np.float32(80) * np.moveaxis(z, -1, 1))
    assert {array.dtype for array in (noisy, sigma, difficulty)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(sigma, [80] * 3)
    np.testing.assert_array_equal(difficulty, [0.75] * 3)
    # The one step of the sampler leaves it as it is, to the bit.
    expected = fake_terrain.FakeGenerator()(noisy, sigma, difficulty)
    np.testing.assert_array_equal(images, np.moveaxis(expected, 1, -1).astype(np.float32))


def test_seeds_and_prompts_go_over_in_one_call():
    fake, z = fake_terrain.FakeGenerator(), noise(2, 3)
    model, difficulties = TerrainModel(fake), jnp.array([[0.1] * 3, [0.9] * 3])

    def denoise(z, difficulty):
        return model.denoise((), difficulty, z, jnp.zeros(3, jnp.int32))

    images = jax.jit(jax.vmap(denoise))(z, difficulties)
    assert [len(noisy) for noisy, *_ in fake.calls] == [6]
    for i, difficulty in enumerate((0.1, 0.9)):
        alone = generate(TerrainModel(fake_terrain.FakeGenerator()), z[i], difficulty)
        np.testing.assert_allclose(images[i], alone, atol=1e-5)


def test_low_frequencies_of_the_policy_are_those_that_the_network_gets():
    basis = DctBasis((128, 128, 1), 8)
    policy = NoisePolicy(3 * jnp.ones((8, 8, 1)), 0.1 * jnp.ones((8, 8, 1)))
    u, z = noise_policy.sample(policy, basis, jax.random.split(jax.random.key(1), 4))
    fake = fake_terrain.FakeGenerator()
    generate(TerrainModel(fake), z)
    given = np.moveaxis(fake.calls[0][0], 1, -1) / 80
    np.testing.assert_allclose(basis.project(jnp.asarray(given)), u, atol=1e-4)
    rest = given - np.asarray(basis.replace_low(u, jnp.zeros(z.shape)))
    assert np.square(rest).sum() == pytest.approx(4 * (128**2 - 64), rel=0.02)


def test_the_reward_is_the_hill_by_hand():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 128, 128, 1)).astype(np.float32)
    images[1] += 0.5
    rewards = jax.jit(terrain.terrain_hill)((), images)
    for reward, image in zip(rewards, images, strict=True):
        inside, outside = [], []
        for row in range(128):
            for column in range(128):
                far = (row - 63.5) ** 2 + (column - 63.5) ** 2 > 32**2
                (outside if far else inside).append(float(image[row, column, 0]))
        hill = sum(inside) / len(inside) - sum(outside) / len(outside)
        assert reward == pytest.approx((hill - 0.0237) / 0.0525, abs=1e-4)
    assert len(inside) == 3228  # about pi 32^2


class FakeRuntime(types.ModuleType):
    """What of onnxruntime is used; a session returns its noise, and counts images."""

    def __init__(self):
        super().__init__("onnxruntime")
        self.sizes, self.options, self.entries, self.sessions = [], None, {}, 0

    def SessionOptions(self):
        return types.SimpleNamespace(add_session_config_entry=self.entries.__setitem__)

    def InferenceSession(self, path, options, providers):
        assert providers == ["CPUExecutionProvider"]
        if not path.endswith(".onnx"):
            raise RuntimeError("not a\n  network")
        self.options, self.sessions = options, self.sessions + 1

        def run(outputs, feeds):
            assert outputs == ["denoised"] and list(feeds) == ["noisy", "sigma", "difficulty"]
            self.sizes.append(len(feeds["noisy"]))
            return [feeds["noisy"] + feeds["difficulty"][:, None, None, None]]

        return types.SimpleNamespace(run=run)


@pytest.fixture
def runtime(monkeypatch):
    made = FakeRuntime()
    monkeypatch.setitem(sys.modules, "onnxruntime", made)
    return made


def test_any_number_of_images_is_run_eight_at_a_time_in_order(runtime, tmp_path):
    generator = OnnxGenerator(tmp_path / "some.onnx")
    noisy = np.random.default_rng(0).standard_normal((19, 1, 128, 128), np.float32)
    difficulty = np.arange(19, dtype=np.float32)
    images = generator(noisy, np.full(19, 80, np.float32), difficulty)
    assert runtime.sizes == [8, 8, 3]
    np.testing.assert_array_equal(images, noisy + difficulty[:, None, None, None])
    generator(noisy, np.full(19, 80, np.float32), difficulty)
    assert runtime.sessions == 1  # a file is read once
    assert runtime.entries == {"session.intra_op.allow_spinning": "0"}
    processors = getattr(os, "sched_getaffinity", lambda process: range(os.cpu_count()))
    assert runtime.options.intra_op_num_threads == len(processors(0))


def test_equal_files_are_equal_models():
    # The model is a static argument: another object of the same file must compile nothing new.
    one, other = (TerrainModel(OnnxGenerator(terrain.pathlib.Path("a"))) for _ in range(2))
    assert one == other and hash(one) == hash(other)


class Package:
    """A distribution with the given files."""

    def __init__(self, *paths):
        self.paths = paths

    def files(self, name):
        assert name == "adaptive-terrain-diffusion"
        return [types.SimpleNamespace(name=p.name, locate=lambda p=p: p) for p in self.paths]


def install(monkeypatch, *paths):
    monkeypatch.setattr(importlib.metadata, "files", Package(*paths).files)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.3")


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    """The package with a file of the right name."""
    path = tmp_path / "terrain_consistency_unet_difficulty100.onnx"
    path.write_bytes(b"no network")
    install(monkeypatch, tmp_path / "other.py", path)
    return path


def test_the_weights_are_the_digest_of_the_file(runtime, damaged, monkeypatch):
    digest = hashlib.sha256(b"no network").hexdigest()
    monkeypatch.setattr(terrain, "_SHA256", digest)
    model, weights = terrain.load()
    assert model == TerrainModel(OnnxGenerator(damaged))
    assert bytes(np.asarray(weights)).hex() == digest


def test_a_missing_package_says_what_to_install(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    message = f"model terrain needs adaptive-terrain-diffusion: {INSTALL}"
    with pytest.raises(TerrainError, match=message):
        terrain.load()


def test_a_missing_runtime_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(TerrainError, match=rf"model terrain needs onnxruntime \(.*\): {INSTALL}"):
        terrain._session(tmp_path / "missing.onnx")


def test_a_package_without_the_file_is_named(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path / "other.onnx")
    with pytest.raises(TerrainError, match=r"diffusion 0\.3 has no file terrain_cons.*==0\.4\.2"):
        terrain.load()


def test_another_file_is_refused(runtime, damaged):
    message = r"100\.onnx: has SHA-256 bd108b5c39016c09.*, expected 95be54b4.*; install adapt.*==0"
    with pytest.raises(TerrainError, match=message):
        terrain.load()
    assert runtime.sessions == 0


def test_what_the_runtime_refuses_is_one_line(runtime, tmp_path):
    with pytest.raises(TerrainError, match=r"a\.txt: onnxruntime cannot run it \(not a network\)"):
        terrain._session(tmp_path / "a.txt")


def test_a_failure_in_the_middle_of_a_program_is_one_line(runtime, tmp_path):
    def fail(outputs, feeds):
        raise RuntimeError("no\n  memory")

    runtime.InferenceSession = lambda *_, **__: types.SimpleNamespace(run=fail)
    model = TerrainModel(OnnxGenerator(tmp_path / "failing.onnx"))
    message = r"^\S*failing\.onnx: onnxruntime cannot run it \(no memory\)$"
    with pytest.raises(TerrainError, match=message), plain_errors():
        jax.block_until_ready(generate(model, jnp.zeros((1, 128, 128, 1))))


def test_the_model_of_the_package_is_the_file_run_directly():
    onnxruntime = pytest.importorskip("onnxruntime", reason="extra terrain is not installed")
    try:
        files = importlib.metadata.files("adaptive-terrain-diffusion")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("adaptive-terrain-diffusion is not installed")
    (path,) = (str(file.locate()) for file in files if file.name.endswith(".onnx"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    z = noise(2)
    images = np.asarray(generate(terrain.load()[0], z, 0.3))
    assert images.shape == (2, 128, 128, 1) and abs(images).max() <= 1
    assert images.std() > 0.02  # terrain, not a plain
    for image, own in zip(images, np.asarray(z), strict=True):
        (expected,) = session.run(
            ["denoised"],
            {
                "noisy": 80 * own.reshape(1, 1, 128, 128),
                "sigma": np.array([80], np.float32),
                "difficulty": np.array([0.3], np.float32),
            },
        )
        np.testing.assert_allclose(image[..., 0], expected[0, 0], atol=1e-4)
