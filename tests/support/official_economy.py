"""Runs the official AI Economist and writes down all that a lockstep comparison needs.

Everything random in the official environment is drawn here and recorded, so that ours can be given
the same noise. Needs the extra ``oracle`` and ``ai-economist==1.7.1`` (see the Makefile).
"""

import contextlib
import dataclasses
import io

import numpy as np

setattr(np, "int", int)  # an alias that numpy dropped and the package uses  # noqa: B010
with contextlib.redirect_stdout(io.StringIO()):  # it reports on GPUs
    from ai_economist import foundation
    from ai_economist.foundation.base.base_env import BaseEnvironment
    from ai_economist.foundation.components import move as official_move

_COMPONENTS = {
    "build": "Build",
    "trade": "ContinuousDoubleAuction",
    "gather": "Gather",
    "tax": "PeriodicBracketTax",
    "wealth_redistribution": "WealthRedistribution",
}
_TAX_MODELS = {
    "planner": "model_wrapper",
    "us_federal": "us-federal-single-filer-2018-scaled",
    "fixed": "fixed-bracket-rates",
    "flat": "fixed-bracket-rates",
    "saez": "saez",
    "disabled": "model_wrapper",
}
_GOALS = {
    "equality_times_productivity": "coin_eq_times_productivity",
    "inverse_income_coin": "inv_income_weighted_coin_endowments",
    "inverse_income_utility": "inv_income_weighted_utility",
}
RESOURCES = ("Stone", "Wood")


def make(config, **numbers):
    """The official environment for our ``config`` and arguments of ``make_params``."""

    def number(name, default):
        return numbers.get(name, default)

    cap = number("cap_schedule", None)
    tax = {
        "disable_taxes": config.tax_model == "disabled",
        "tax_model": _TAX_MODELS[config.tax_model],
        "period": number("tax_period", 100),
        "rate_min": config.rate_min,
        "rate_max": config.rate_max,
        "rate_disc": config.rate_step,
        "n_brackets": config.num_brackets,
        "top_bracket_cutoff": config.top_cutoff,
        "bracket_spacing": config.bracket_spacing.replace("_", "-"),
        "pareto_weight_type": config.pareto_weights,
        "saez_fixed_elas": number("saez_elasticity", None),
        "tax_annealing_schedule": None if cap is None else list(cap),
    }
    if config.tax_model in ("fixed", "flat"):
        brackets = 7 if config.bracket_spacing == "us_federal" else config.num_brackets
        tax["fixed_bracket_rates"] = list(np.broadcast_to(number("fixed_rates", None), brackets))
    arguments = {
        "build": {
            "payment": number("payment", 10),
            "payment_max_skill_multiplier": number("max_skill", 3),
            "skill_dist": config.skill_law,
            "build_labor": number("build_labor", 10.0),
        },
        "trade": {
            "max_bid_ask": config.max_price,
            "order_labor": number("order_labor", 0.25),
            "order_duration": number("order_duration", 50),
            "max_num_orders": config.max_orders,
        },
        "gather": {
            "move_labor": number("move_labor", 1.0),
            "collect_labor": number("gather_labor", 1.0),
            "skill_dist": config.bonus_law,
        },
        "tax": tax,
        "wealth_redistribution": {},
    }
    scenario = {
        "scenario_name": "layout_from_file/simple_wood_and_stone",
        "fixed_four_skill_and_loc": config.fixed_four,
    }
    if config.layout_kind == "split":
        scenario |= {
            "scenario_name": "split_layout/simple_wood_and_stone",
            "water_row": config.split_row,
            "skill_rank_of_top_agents": list(config.top_ranks),
        }
    from ai_econ_jax.envs.gather_trade_build.world import build_world

    world = build_world(config)
    with contextlib.redirect_stdout(io.StringIO()):
        return foundation.make_env_instance(
            **scenario,
            env_layout_file=f"{config.layout}.txt",
            components=[(_COMPONENTS[name], arguments[name]) for name in config.components],
            n_agents=config.num_workers,
            world_size=[world.height, world.width],
            episode_length=config.episode_length,
            multi_action_mode_agents=config.multi_action,
            multi_action_mode_planner=True,
            flatten_observations=True,
            flatten_masks=True,
            allow_observation_scaling=config.observation_scaling,
            dense_log_frequency=None,
            full_observability=config.full_observability,
            mobile_agent_observation_range=config.observation_radius,
            planner_gets_spatial_info=config.planner_sees_map,
            resource_regen_prob=number("regeneration", 0.01),
            starting_agent_coin=number("starting_coin", 0.0),
            isoelastic_eta=number("eta", 0.23),
            energy_cost=number("labor_cost", 0.21),
            energy_warmup_constant=number("warmup_constant", 0.0),
            energy_warmup_method=config.warmup_method,
            planner_reward_type=_GOALS[config.planner_goal],
            mixing_weight_gini_vs_coin=1.0 - number("equality_weight", 1.0),
        )


@dataclasses.dataclass
class Episode:
    """One official episode. Arrays have a leading axis of steps; ``states`` starts at the reset."""

    start: dict  # state that ours must be given at the reset
    noise: dict
    actions: dict
    states: dict
    observations: dict
    rewards: dict
    num_trades: int


def record_episode(environment, config, rng, policy, prepare=None):
    """Plays one official episode.

    Args:
      environment: From ``make``.
      config: Ours.
      rng: numpy Generator of everything random.
      policy: ``(rng, masks of all workers, step) -> actions`` of the workers.
      prepare: Called with the environment after its reset, to change its state.
    """
    sites = _sites(config)
    drawn = _Injection(environment, rng, sites)
    with drawn:
        observed = environment.reset()
        if prepare is not None:
            prepare(environment)
            observed = environment._generate_observations(True, True)
        start = _start(environment, drawn.order)
        states, observations = [_state(environment)], [_observation(observed, config)]
        noise, actions, rewards, num_trades = [], [], [], 0
        for step in range(config.episode_length):
            masks = observations[-1]["worker_mask"]
            workers = policy(rng, masks, step)
            planner = _planner_action(rng, observations[-1]["planner_mask"], environment)
            drawn.next_step(config)
            act = {str(i): _as_official(workers[i]) for i in range(config.num_workers)}
            act["p"] = _as_official(planner)
            observed, reward, _, _ = environment.step(act)
            noise.append(drawn.used(config))
            actions.append({"workers": workers, "planner": planner})
            states.append(_state(environment))
            observations.append(_observation(observed, config))
            rewards.append(
                {
                    "workers": np.array([reward[str(i)] for i in range(config.num_workers)]),
                    "planner": np.array(reward["p"]),
                }
            )
            auction = environment.get_component("ContinuousDoubleAuction")
            num_trades += len(auction.executed_trades[-1])
    return Episode(
        start=start,
        noise=_stack(noise),
        actions=_stack(actions),
        states=_stack(states),
        observations=_stack(observations),
        rewards=_stack(rewards),
        num_trades=num_trades,
    )


class _Injection:
    """Stands in for the official sources of randomness while an episode is recorded."""

    def __init__(self, environment, rng, sites):
        self.environment, self.rng, self.sites = environment, rng, sites
        self.order = None
        self.saez = np.zeros(1)
        self.gather = self.regeneration = None

    def __enter__(self):
        self.saved = (np.random.rand, np.random.uniform, official_move.rand)
        self.saved_package = BaseEnvironment._package
        np.random.rand = self._field
        np.random.uniform = self._uniform
        official_move.rand = lambda: self.gather[self.current]
        self.environment.world.get_random_order_agents = self._in_order
        # As the original, but without rounding to 32 bits.
        BaseEnvironment._package = staticmethod(_package)
        self.order = self.rng.permutation(self.environment.n_agents)
        np.random.seed(self.rng.integers(2**31))  # noqa: NPY002
        return self

    def __exit__(self, *error):
        np.random.rand, np.random.uniform, official_move.rand = self.saved
        BaseEnvironment._package = staticmethod(self.saved_package)
        del self.environment.world.get_random_order_agents

    def next_step(self, config):
        self.order = self.rng.permutation(config.num_workers)
        self.gather = self.rng.random(config.num_workers)
        shape = (2, *self.environment.world_size)
        self.regeneration = self.rng.random(shape)
        self.fields = [self.regeneration[1], self.regeneration[0]]  # Wood first
        tax = self.environment._components_dict.get("PeriodicBracketTax")
        self.saez = self.rng.random(1 if tax is None else tax.n_brackets)

    def used(self, config):
        return {
            "gather_order": self.order.astype(np.int32),
            "gather": self.gather,
            "regeneration": self.regeneration.reshape(-1)[self.sites],
            "saez": self.saez,
        }

    def _in_order(self):
        for index in self.order:
            self.current = index
            yield self.environment.world.agents[index]

    def _field(self, *shape):
        return self.fields.pop(0)

    def _uniform(self, low=0.0, high=1.0, size=None):
        return low + self.saez * (high - low)


def _package(obs_dict, keep_as_is, flatten, wrap_as_list):
    packed = {k: obs_dict[k] for k in keep_as_is}
    parts = [[obs_dict[k]] if wrap_as_list[k] else obs_dict[k] for k in flatten]
    packed["flat"] = np.concatenate([np.asarray(part, np.float64) for part in parts])
    return packed


def _sites(config):
    from ai_econ_jax.envs.gather_trade_build.world import build_world

    return build_world(config).sites


def _as_official(action):
    return int(action) if np.ndim(action) == 0 else [int(a) for a in action]


def _planner_action(rng, mask, environment):
    tax = environment._components_dict.get("PeriodicBracketTax")
    if mask.size == 1:
        return np.zeros(1, np.int32)
    mask = mask.reshape(tax.n_brackets, -1)
    return np.array([rng.choice(np.flatnonzero(row)) for row in mask], np.int32)


def _start(environment, order):
    agents = environment.world.agents
    return {
        "worker_of_rank": np.array(order, np.int32),
        "location": np.array([agent.loc for agent in agents], np.int32),
        "build_skill": np.array(
            [environment.get_component("Build").sampled_skills[a.idx] for a in agents], float
        ),
        "bonus": np.array([a.state["bonus_gather_prob"] for a in agents], float),
        "build_payment": np.array([a.state["build_payment"] for a in agents], float),
        "coin": np.array([a.state["inventory"]["Coin"] for a in agents], float),
        "inventory": np.array(
            [[a.state["inventory"][r] for r in RESOURCES] for a in agents], np.int32
        ),
    }


def _state(environment):
    world = environment.world
    agents = world.agents
    auction = environment.get_component("ContinuousDoubleAuction")
    tax = environment._components_dict.get("PeriodicBracketTax")

    def per_agent(read):
        return np.array([read(agent) for agent in agents])

    state = {
        "location": per_agent(lambda a: a.loc).astype(np.int32),
        "coin": per_agent(lambda a: float(a.state["inventory"]["Coin"])),
        "escrow_coin": per_agent(lambda a: float(a.state["escrow"]["Coin"])),
        "inventory": per_agent(lambda a: [a.state["inventory"][r] for r in RESOURCES]),
        "escrow": per_agent(lambda a: [a.state["escrow"][r] for r in RESOURCES]),
        "labor": per_agent(lambda a: float(a.state["endogenous"]["Labor"])),
        "build_payment": per_agent(lambda a: float(a.state["build_payment"])),
        "resources": np.stack([world.maps.get(r) for r in RESOURCES]).astype(np.uint8),
        "house_owner": world.maps.get("House", owner=True).astype(np.int8),
        "open_orders": np.array(
            [[auction.n_orders[r][a.idx] for a in agents] for r in RESOURCES], np.int32
        ),
        "asks": np.array([[auction.ask_hists[r][a.idx] for a in agents] for r in RESOURCES]),
        "bids": np.array([[auction.bid_hists[r][a.idx] for a in agents] for r in RESOURCES]),
        "price_history": np.array(
            [[auction.price_history[r][a.idx] for a in agents] for r in RESOURCES]
        ),
        "utility": per_agent(lambda a: environment.curr_optimization_metric[a.idx]),
        "welfare": np.array(environment.curr_optimization_metric["p"]),
    }
    if tax is not None:
        state |= {
            "tax_position": np.array(tax.tax_cycle_pos),
            "rates": np.array(tax.curr_marginal_rates, float),
            "last_coin": np.array(tax.last_coin, float),
            "last_income": np.array(tax.last_income, float),
            "last_marginal_rate": np.array(tax.last_marginal_rate, float),
        }
        if tax.tax_model == "saez":
            samples = np.zeros((500, 2))
            samples[: len(tax._local_saez_buffer)] = tax._local_saez_buffer or np.zeros((0, 2))
            state |= {
                "elasticity": np.array(tax.elas_t),
                "saez_incomes": samples[:, 0],
                "saez_marginal_rates": samples[:, 1],
                "saez_count": np.array(len(tax._local_saez_buffer), np.int32),
                "saez_running_rates": np.array(tax.running_avg_tax_rates),
                "shown_rates": np.array(tax._curr_rates_obs),
            }
    return state


def _observation(observed, config):
    workers = [observed[str(i)] for i in range(config.num_workers)]
    planner = observed["p"]
    result = {
        "map": np.stack([w["world-map"] for w in workers]).astype(np.uint8),
        "index_map": np.stack([w["world-idx_map"] for w in workers]).astype(np.uint8),
        "flat": np.stack([w["flat"] for w in workers]),
        "worker_mask": np.stack([w["action_mask"] for w in workers]) > 0,
        "planner_flat": np.array(planner["flat"]),
        "planner_mask": np.array(planner["action_mask"]) > 0,
    }
    if "p0" in planner:
        result["per_worker"] = np.stack([planner[f"p{i}"] for i in range(config.num_workers)])
    if config.planner_sees_map:
        result["planner_map"] = planner["world-map"].astype(np.uint8)
        result["planner_index_map"] = planner["world-idx_map"].astype(np.uint8)
    return result


def _stack(records):
    return {name: np.stack([record[name] for record in records]) for name in records[0]}
