"""Categorical policies with action masks, on distrax's distributions."""

from collections.abc import Sequence

import chex
import distrax
import jax
import jax.numpy as jnp
import numpy as np

# Added to the logit of an invalid action. In float32 its probability is then exactly 0, and unlike
# -inf it keeps log-probabilities, entropies and their gradients finite.
_INVALID_LOGIT = -1e7


def sample_by_inverse_cdf(uniform: jax.Array, logits: jax.Array) -> jax.Array:
    """Draws from categorical distributions with one uniform number each.

    The first action whose cumulative probability exceeds `uniform`. An action of probability 0 is
    never drawn, whatever the rounding of the cumulative sum; like any draw from 23-bit uniform
    numbers, this does not resolve probabilities below about 1e-7.

    Args:
      uniform: f32[...] in [0, 1], broadcastable with the batch shape of `logits`.
      logits: f32[..., A].

    Returns:
      Actions int32[...]; -1, as in distrax, where a logit is NaN.
    """
    probs = jax.nn.softmax(logits)
    possible = probs > 0
    cumulative = jnp.cumsum(probs, axis=-1)
    # The parallel cumulative sum may end above or below 1 and may step back by a rounding error.
    total = jnp.max(jnp.where(possible, cumulative, 0), axis=-1)
    threshold = jnp.minimum(uniform, jnp.nextafter(total, 0))
    drawn = jnp.argmax(possible & (cumulative > threshold[..., None]), axis=-1)
    return jnp.where(total > 0, drawn, -1).astype(jnp.int32)


class InverseCDFCategorical(distrax.Categorical):
    """A distrax categorical that samples with one random number a row instead of one an action.

    On two CPU cores 4096 rows of 101 actions take 3 ms instead of 13 ms, 4096 rows of 10 actions
    0.5 ms instead of 1.3 ms. Log-probability and entropy are those of distrax for finite logits, at
    half its cost, the gradient included: the logits are normalised once, not once for each.
    """

    def __init__(self, logits: jax.Array):
        """Takes finite logits f32[..., A]; events are int32[...]."""
        super().__init__(logits=logits, dtype=jnp.int32)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        uniform = jax.random.uniform(key, (n, *self.logits.shape[:-1]))
        return sample_by_inverse_cdf(uniform, self.logits)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability f32[...] of actions int[...]; -inf where there is no such action."""
        chosen = jnp.expand_dims(value, -1) == jnp.arange(self.num_categories)
        log_prob = jnp.sum(jnp.where(chosen, self.logits, 0), axis=-1)
        return jnp.where((value < 0) | (value >= self.num_categories), -jnp.inf, log_prob)

    def entropy(self) -> jax.Array:
        """Entropy f32[...] in nats."""
        return -jnp.sum(jnp.exp(self.logits) * self.logits, axis=-1)


def masked_categorical(logits: jax.Array, mask: jax.Array | None = None) -> InverseCDFCategorical:
    """Categorical distribution in which invalid actions have probability 0.

    Args:
      logits: f32[..., A].
      mask: bool or 0/1 numbers [..., A], true where the action is valid; all valid when None. At
        least one action of each row must be valid.

    Returns:
      Distribution with events int32[...].
    """
    if mask is not None:
        chex.assert_equal_shape([logits, mask])
        logits = logits + jnp.where(mask, 0.0, _INVALID_LOGIT)
    return InverseCDFCategorical(logits)


class MultiHeadCategorical(distrax.Independent):
    """Several categorical actions at once, independent given the state, from one flat vector.

    Log-probability and entropy are sums over the heads; events are int32[..., heads].
    """

    def __init__(self, logits: jax.Array, head_sizes: Sequence[int], mask: jax.Array | None = None):
        """Splits logits and mask into heads.

        Args:
          logits: f32[..., sum(head_sizes)], head after head.
          head_sizes: number of actions of each head.
          mask: as in `masked_categorical`, of the shape of `logits`.
        """
        chex.assert_axis_dimension(logits, -1, sum(head_sizes))
        if mask is None:
            mask = jnp.ones(logits.shape, bool)
        sizes = np.asarray(head_sizes)
        if (sizes == sizes[0]).all():
            shape = (*logits.shape[:-1], len(sizes), int(sizes[0]))
            heads = masked_categorical(logits.reshape(shape), mask.reshape(shape))
        else:
            # Heads are padded to the widest with invalid actions, which take no part in sampling,
            # log-probability or entropy. Costs a gather, and a scatter in the gradient.
            position = np.arange(sizes.max())
            exists = position < sizes[:, None]
            index = np.where(exists, (np.cumsum(sizes) - sizes)[:, None] + position, 0)
            valid = mask[..., index].astype(bool) & exists
            heads = masked_categorical(logits[..., index], valid)
        super().__init__(heads, reinterpreted_batch_ndims=1)
