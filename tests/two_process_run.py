"""The learners of test_five_compilations.py, and their run on two processes of one device each.

As a script, one process of the run:

    python two_process_run.py COORDINATOR PROCESS_ID OUTPUT

On a cluster a user's program is the same: ``initialize_distributed("auto")``, a mesh over all
devices of all hosts, and ``shard_map`` of the update. Every host runs the same program on the same
key.
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import chex
import distrax
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ai_econ_jax import devices, ppo
from ai_econ_jax.agents.ai_economist.config import RoleConfig, TwoLevelConfig
from ai_econ_jax.agents.ai_economist.two_level import TwoLevel
from ai_econ_jax.environment import AutoReset
from ai_econ_jax.envs.gymnax_adapter import GymnaxEnvironment
from ai_econ_jax.envs.one_step_economy import make_params
from ai_econ_jax.envs.one_step_economy.environment import OneStepEconomy, one_step_params
from ai_econ_jax.networks import ActorCritic

AXIS = "devices"


@dataclasses.dataclass(frozen=True)
class Case:
    """A learner, and what of its state is cut along the leading axis over devices."""

    init: Callable[[jax.Array], Any]
    update: Callable[..., tuple[Any, Any]]
    params: Callable[[Any], Any]  # what must be equal
    num_updates: int
    sharded_fields: tuple[str, ...] = ()

    def per_field(self, state: Any, sharded: Any, replicated: Any) -> Any:
        """A prefix of the state's tree: ``sharded`` or ``replicated`` in place of each field."""
        fields = [field.name for field in dataclasses.fields(state)]
        return type(state)(
            **{name: sharded if name in self.sharded_fields else replicated for name in fields}
        )


def one_step() -> Case:
    """Workers and planner learn, two minibatches each; phase 2 begins at the third update."""
    role = RoleConfig(num_epochs=2, num_minibatches=2)
    config = TwoLevelConfig(
        workers=role,
        planner=role,
        num_environments=8,
        shuffle_blocks=4,
        phase1_updates=2,
        phase2_updates=2,
        random_schedule_share=0.25,
    )
    economy = make_params([1.0, 1.5, 2.0], [0.0, 8.0, 20.0], labor_cost=0.04, max_hours=20)
    learner = TwoLevel(config, OneStepEconomy(0.25), economy)
    return Case(
        init=lambda key: learner.init(key, one_step_params(economy)),
        update=learner.update,
        params=lambda state: (state.workers.policy.params, state.planner.policy.params),
        num_updates=4,
    )


def cartpole() -> Case:
    """PPO whose batch of environments is cut over devices."""
    import gymnax  # touches the devices, so only after initialize_distributed

    environment, env_params = gymnax.make("CartPole-v1")
    learner = ppo.make_ppo(
        AutoReset(GymnaxEnvironment(environment)),
        ActorCritic(num_logits=2),
        lambda logits, observation: distrax.Categorical(logits),
        ppo.BatchConfig(num_environments=4, num_steps=16, num_epochs=2, num_minibatches=2),
        num_updates=4,
    )
    hyperparameters = ppo.Hyperparameters()
    return Case(
        init=lambda key: learner.init(key, hyperparameters, env_params),
        update=learner.update,
        params=lambda state: state.policy.params,
        num_updates=3,
        sharded_fields=("environments",),
    )


CASES = {"one_step": one_step, "cartpole": cartpole}


def train(case: Case, update: Callable[[Any], tuple[Any, Any]], state: Any) -> tuple[Any, Any]:
    """The parameters after the case's updates, on the host, and the metrics of the last one."""
    for _ in range(case.num_updates):
        state, metrics = update(state)
    return jax.tree.map(np.asarray, (case.params(state), metrics))


def on_a_mesh(case: Case, mesh: jax.sharding.Mesh) -> tuple[Any, Any]:
    """The run by ``shard_map``: each device steps its environments, gradients are averaged."""

    def init() -> Any:
        return case.init(jax.random.key(0))

    specs = case.per_field(jax.eval_shape(init), PartitionSpec(AXIS), PartitionSpec())
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
    state = jax.jit(init, out_shardings=shardings)()
    update = jax.shard_map(
        functools.partial(chex.assert_max_traces(case.update, n=1), axis_name=AXIS),
        mesh=mesh,
        in_specs=(specs,),
        out_specs=(specs, PartitionSpec()),
        check_vma=False,
    )
    return train(case, jax.jit(update), state)


def main(coordinator: str, process_id: str, output: str) -> None:
    devices.initialize_distributed(coordinator, num_processes=2, process_id=int(process_id))
    assert jax.process_count() == 2 and jax.local_device_count() == 1
    mesh = jax.make_mesh((2,), (AXIS,))
    for name, make in CASES.items():
        params, _ = on_a_mesh(make(), mesh)
        leaves = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(params))}
        np.savez(pathlib.Path(output) / f"{name}-{process_id}.npz", **leaves)


if __name__ == "__main__":
    main(*sys.argv[1:])
