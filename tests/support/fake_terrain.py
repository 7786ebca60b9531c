"""A generator of terrain that is linear in the lowest frequencies of its noise, for tests."""

from ai_econ_jax.agents.find.noise_policy import dct_rows

_ROWS = dct_rows(128, 4)
_SCALE = 3.2  # so that hills deviate about as the real generator's


class FakeGenerator:
    """Remembers what it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, noisy, sigma, difficulty):
        self.calls.append((noisy, sigma, difficulty))
        low = _ROWS @ (noisy / sigma[:, None, None, None]) @ _ROWS.T
        heights = _SCALE * _ROWS.T @ low @ _ROWS
        return heights + (difficulty[:, None, None, None] - 0.5)
