"""Gymnasium's toy-text problems (FrozenLake, CliffWalking, Taxi) as exact arrays.

They publish their law as `env.unwrapped.P[state][action]`, a list of
`(probability, next state, reward, terminated)`. Spec section 3.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from ai_econ_jax.envs.tabular.mdp import Problem
from ai_econ_jax.envs.tabular.problem import ProblemError, make_problem

Table = dict[int, dict[int, list[tuple[float, int, float, bool]]]]


def load_gym(
    env_id: str, horizon: int, *, baseline: npt.ArrayLike | None = None, **options: Any
) -> Problem:
    """A toy-text problem over `horizon` steps.

    What terminates goes on in an absorbing state of reward 0, so every episode has H steps. Rewards
    are mapped to [0, 1] and `Problem.value_in_original_units` maps values back, exactly.

    Args:
      env_id: Such as `FrozenLake-v1`. Where that version is gone, the newest one is taken, with a
        warning; the problem carries the name of what was taken.
      horizon: H.
      baseline: As in `make_problem`.
      **options: Of the environment, such as `is_slippery=False`, `map_name="8x8"`.

    Raises:
      ProblemError: Gymnasium is not installed, the environment is unknown or publishes no law.
    """
    environment = _make(env_id, options)
    inner = environment.unwrapped
    table = getattr(inner, "P", None)
    if not isinstance(table, dict):
        raise ProblemError(
            f"gym env {env_id!r} is not a toy-text table: FrozenLake, CliffWalking, Taxi work"
        )
    initial = np.asarray(inner.initial_state_distrib, np.float64)
    transition, reward = arrays_of_table(table, initial)
    return make_problem(
        environment.spec.id,
        transition,
        reward,
        initial,
        horizon=horizon,
        baseline=baseline,
        rescale=True,
    )


def arrays_of_table(table: Table, initial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transitions f64[S, A, S] and expected rewards f64[S, A] of a toy-text table.

    Several entries for the same next state add up. A state that an episode ends in is absorbing
    with reward 0.

    Raises:
      ProblemError: An episode that starts from `initial` f64[S] can pass through a state in which
        others end, so that no table of states alone has this law.
    """
    num_states, num_actions = len(table), len(table[0])
    transition = np.zeros((num_states, num_actions, num_states))
    reward = np.zeros((num_states, num_actions))
    final = np.zeros(num_states, bool)
    passed = np.zeros((num_states, num_states), bool)  # from, to: entered and not ended
    for state, actions in table.items():
        for action, outcomes in actions.items():
            for probability, following, paid, terminated in outcomes:
                transition[state, action, following] += probability
                reward[state, action] += probability * paid
                if probability > 0 and terminated:
                    final[following] = True
                elif probability > 0:
                    passed[state, following] = True
    transition[final] = np.eye(num_states)[final][:, None]
    reward[final] = 0

    reached = initial > 0
    for _ in range(num_states):
        reached = reached | (reached @ (transition.max(1) > 0))
    ambiguous = final & (initial > 0) | (passed[reached & ~final].any(0) & final)
    if ambiguous.any():
        state = int(np.argmax(ambiguous))
        raise ProblemError(f"state {state} is entered both with and without the episode's end")
    return transition, reward


def _make(env_id: str, options: dict[str, Any]) -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise ProblemError(
            "gymnasium is not installed, and --gym_env needs it: pip install 'ai-econ-jax[gym]'"
        ) from error
    errors = gymnasium.error
    try:
        return gymnasium.make(env_id, **options)
    except (errors.VersionNotFound, errors.DeprecatedEnv):
        newest = _newest_version(env_id, gymnasium.registry)
        warnings.warn(f"{env_id} is not registered, {newest} is taken", stacklevel=3)
        return gymnasium.make(newest, **options)
    except errors.Error as error:
        first_line = str(error).splitlines()[0]
        raise ProblemError(f"gym env {env_id!r} cannot be made: {first_line}") from error
    except TypeError as error:  # an option that the environment does not know
        raise ProblemError(f"gym env {env_id!r} cannot be made with {options}: {error}") from error


def _newest_version(env_id: str, registry: Any) -> str:
    stem = env_id.rpartition("-v")[0]
    versions = [int(name.rpartition("-v")[2]) for name in registry if name.startswith(stem + "-v")]
    return f"{stem}-v{max(versions)}"
