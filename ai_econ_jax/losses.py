"""Loss terms of policies and critics, and the means that turn them into one number.

The terms are element-wise: arrays of any one shape ``f32[...]`` go in, the same shape comes out,
and the caller reduces once, with `masked_mean`, so that padded steps, several terms and several
devices all share one denominator. Whatever is a constant of the update (advantages, targets,
anything that is called old) is cut from the gradient here.
"""

import chex
import jax
import jax.numpy as jnp

# Log-ratios are bounded before they are exponentiated. A ratio that overflows gives NaN gradients
# (0 * inf) even where the clip has switched the sample off; at this bound its square, which a
# global gradient norm needs, is still finite in float32.
_MAX_LOG_RATIO = 40.0


def masked_mean(
    x: jax.Array, mask: jax.Array | None = None, axis_name: str | None = None
) -> jax.Array:
    """Weighted mean over all elements, and over the devices of `axis_name` when it is given.

    `sum(mask * x) / sum(mask)`; numerator and denominator are summed over the devices before the
    division, so that shards with different numbers of valid elements give the mean of the whole.
    Elements of weight 0 may hold anything, NaN included. No valid element at all gives 0.

    The loss being that of the whole, the gradient of the whole is the `pmean` of the gradients that
    the devices compute.

    Args:
      x: f32[...].
      mask: weights f32[...] >= 0 or bool[...], of the shape of `x`; all ones when None.
      axis_name: name of the mapped axis that holds the shards.

    Returns:
      f32[].
    """
    if mask is None:
        numerator, denominator = jnp.sum(x), jnp.asarray(x.size, x.dtype)
    else:
        chex.assert_equal_shape([x, mask])
        weights = mask.astype(x.dtype)
        numerator = jnp.sum(jnp.where(weights > 0, x, 0) * weights)
        denominator = jnp.sum(weights)
    if axis_name is not None:
        numerator, denominator = jax.lax.psum((numerator, denominator), axis_name)
    return numerator / jnp.where(denominator > 0, denominator, 1)


def _log_ratio(log_prob: jax.Array, old_log_prob: jax.Array) -> jax.Array:
    """Bounded log of the importance ratio; the gradient reaches `log_prob` only."""
    log_ratio = log_prob - jax.lax.stop_gradient(old_log_prob)
    return jnp.clip(log_ratio, -_MAX_LOG_RATIO, _MAX_LOG_RATIO)


def reinforce_loss(log_prob: jax.Array, advantages: jax.Array) -> jax.Array:
    """Score-function policy gradient, `-A log pi(a)`.

    Williams (1992), https://doi.org/10.1007/BF00992696.

    Args:
      log_prob: f32[...], log-probability of the actions taken, under the policy being trained.
      advantages: f32[...].

    Returns:
      Element-wise loss f32[...].
    """
    chex.assert_equal_shape([log_prob, advantages])
    return -jax.lax.stop_gradient(advantages) * log_prob


def ppo_clip_loss(
    log_prob: jax.Array,
    old_log_prob: jax.Array,
    advantages: jax.Array,
    clip_range: chex.Numeric,
) -> jax.Array:
    """Pessimistic clipped surrogate, `-min(rho A, clip(rho, 1 - eps, 1 + eps) A)`.

    The gradient of a sample is 0 where the ratio has already moved past the clip in the direction
    that its advantage asks for; a sample that moved the wrong way keeps its gradient.
    Schulman et al. (2017), https://arxiv.org/abs/1707.06347, equation 7.

    Args:
      log_prob: f32[...], under the policy being trained.
      old_log_prob: f32[...], under the policy that drew the actions.
      advantages: f32[...].
      clip_range: eps.

    Returns:
      Element-wise loss f32[...].
    """
    chex.assert_equal_shape([log_prob, old_log_prob, advantages])
    advantages = jax.lax.stop_gradient(advantages)
    ratio = jnp.exp(_log_ratio(log_prob, old_log_prob))
    clipped_ratio = jnp.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -jnp.minimum(ratio * advantages, clipped_ratio * advantages)


def ratio_clamp_loss(
    log_prob: jax.Array,
    old_log_prob: jax.Array,
    advantages: jax.Array,
    clip_range: chex.Numeric,
) -> jax.Array:
    """Bare ratio clamp, `-clip(rho, 1 - eps, 1 + eps) A`.

    Unlike `ppo_clip_loss`, outside the clip the gradient is 0 whatever the sign of the advantage.
    FIND, https://arxiv.org/abs/2407.19453, as in its released code; DPOK uses the same form.

    Args:
      log_prob: f32[...], under the policy being trained.
      old_log_prob: f32[...], under the reference policy of the ratio.
      advantages: f32[...].
      clip_range: eps.

    Returns:
      Element-wise loss f32[...].
    """
    chex.assert_equal_shape([log_prob, old_log_prob, advantages])
    ratio = jnp.exp(_log_ratio(log_prob, old_log_prob))
    clipped_ratio = jnp.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -clipped_ratio * jax.lax.stop_gradient(advantages)


def value_loss(
    values: jax.Array,
    targets: jax.Array,
    old_values: jax.Array | None = None,
    clip_range: chex.Numeric | None = None,
) -> jax.Array:
    """Squared error of a critic, without the factor 1/2, optionally clipped.

    Clipped: `max((V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2)`, the pessimistic form of
    RLlib's PPO: a value that moved more than `c` towards its target stops moving.

    Args:
      values: V, f32[...], of the critic being trained.
      targets: R, f32[...].
      old_values: V_old, f32[...], of the critic that acted; given together with `clip_range`.
      clip_range: c, in units of the return.

    Returns:
      Element-wise loss f32[...].
    """
    chex.assert_equal_shape([values, targets])
    targets = jax.lax.stop_gradient(targets)
    squared_error = jnp.square(values - targets)
    if old_values is None and clip_range is None:
        return squared_error
    if old_values is None or clip_range is None:
        raise ValueError("value_loss needs both of old_values and clip_range, or neither")
    chex.assert_equal_shape([values, old_values])
    old_values = jax.lax.stop_gradient(old_values)
    clipped_values = old_values + jnp.clip(values - old_values, -clip_range, clip_range)
    return jnp.maximum(squared_error, jnp.square(clipped_values - targets))


def expectile_loss(error: jax.Array, expectile: chex.Numeric) -> jax.Array:
    """Asymmetric squared error, `|tau - 1{error < 0}| error^2`.

    With `error = Q - V` its minimiser V is the tau-expectile of Q: the mean at 0.5, towards the
    maximum as tau goes to 1. Kostrikov et al. (2021), https://arxiv.org/abs/2110.06169, equation 5.

    Args:
      error: f32[...], target minus prediction.
      expectile: tau in (0, 1).

    Returns:
      Element-wise loss f32[...].
    """
    weight = jnp.where(error < 0, 1 - expectile, expectile)
    return weight * jnp.square(error)


def exponential_advantage_weights(
    advantages: jax.Array, temperature: chex.Numeric, max_weight: chex.Numeric
) -> jax.Array:
    """Weights of advantage-weighted likelihood, `min(exp(A / temperature), max_weight)`.

    IQL states the inverse: its "temperature 3" is 1/3 here. Peng et al. (2019),
    https://arxiv.org/abs/1910.00177; Kostrikov et al. (2021), https://arxiv.org/abs/2110.06169.

    Args:
      advantages: f32[...].
      temperature: in units of the advantage.
      max_weight: cap.

    Returns:
      Weights f32[...], constants of the update.
    """
    weights = jnp.minimum(jnp.exp(advantages / temperature), max_weight)
    return jax.lax.stop_gradient(weights)


def kl_k1(log_prob: jax.Array, other_log_prob: jax.Array) -> jax.Array:
    """Unbiased estimate of KL(p || q) from actions drawn from p, `log p - log q`; may be negative.

    Args:
      log_prob: log p, f32[...], of actions drawn from p.
      other_log_prob: log q, f32[...], of the same actions.

    Returns:
      Element-wise estimate f32[...].
    """
    chex.assert_equal_shape([log_prob, other_log_prob])
    return log_prob - other_log_prob


def kl_k3(log_prob: jax.Array, other_log_prob: jax.Array) -> jax.Array:
    """Unbiased, non-negative estimate of KL(p || q), `(q/p - 1) - log q/p`.

    http://joschu.net/blog/kl-approx.html. As a penalty (GRPO), p is the policy being trained and q
    the reference; as PPO's diagnostic, p is the policy that acted and q the one being trained.

    Args:
      log_prob: log p, f32[...], of actions drawn from p.
      other_log_prob: log q, f32[...], of the same actions.

    Returns:
      Element-wise estimate f32[...] >= 0.
    """
    chex.assert_equal_shape([log_prob, other_log_prob])
    log_ratio = jnp.clip(other_log_prob - log_prob, -_MAX_LOG_RATIO, _MAX_LOG_RATIO)
    return jnp.expm1(log_ratio) - log_ratio


def outside_clip(
    log_prob: jax.Array, old_log_prob: jax.Array, clip_range: chex.Numeric
) -> jax.Array:
    """1 where the ratio lies outside [1 - eps, 1 + eps], else 0; its mean is the clip fraction.

    Args:
      log_prob: f32[...], under the policy being trained.
      old_log_prob: f32[...], under the policy that drew the actions.
      clip_range: eps.

    Returns:
      Element-wise indicator f32[...].
    """
    chex.assert_equal_shape([log_prob, old_log_prob])
    ratio = jnp.exp(_log_ratio(log_prob, old_log_prob))
    return (jnp.abs(ratio - 1) > clip_range).astype(log_prob.dtype)
