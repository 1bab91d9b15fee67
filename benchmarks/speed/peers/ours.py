"""This package as a measured system: the step of `urlvr_jax/main.py` with a toy reward. Started by run.py."""

from __future__ import annotations

import os
import sys

from protocol import Server, check_tokens, clock, quickest, read_job, toy_reward, work_done

server = Server()
job = read_job(sys.argv[1])
if job.devices > 1:
    flag = f"--xla_force_host_platform_device_count={job.devices}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from urlvr_jax import __version__, validation  # noqa: E402
from urlvr_jax import config as config_lib  # noqa: E402
from urlvr_jax.learning.advantages import step_advantages  # noqa: E402
from urlvr_jax.models import folders  # noqa: E402
from urlvr_jax.runtime import opening  # noqa: E402
from urlvr_jax.runtime.engine import Engine  # noqa: E402
from urlvr_jax.runtime.random_keys import random_key  # noqa: E402
from urlvr_jax.types import STATISTICS, Prompts, Rollouts  # noqa: E402


def configuration():
    """The spec as a configuration of the package."""
    c = config_lib.default()
    settings = {
        "steps": 10**6,
        "seed": job.seed,
        "model.path": job.model,
        "model.compute_dtype": job.dtype,
        "data.prompts_per_step": job.prompts,
        "data.prompt_buckets": (job.prompt_tokens.shape[1],),
        "rollout.group": job.samples,
        "rollout.temperature": job.temperature,
        "rollout.max_new_tokens": job.new_tokens,
        "rollout.response_buckets": (job.new_tokens,),
        "loss.clip_low": job.clip_eps,
        "loss.clip_high": job.clip_eps,
        "optim.lr": job.lr,
        "optim.micro_rows": job.micro_batch,
        "mesh.data": job.devices,
        "eval.every": 0,
    }
    if not job.stops:  # every row is as long as the next: nothing to refill, nothing to pack
        settings |= {"rollout.slots": 0, "optim.micro_prompts": 0}
    c.update_from_flattened_dict(settings | job.config)
    validation.validate(c, jax.device_count())
    return c


class System:
    def __init__(self):
        self.c = configuration()
        self.folder, self.model_config, self.tokenizer = opening.open_model(self.c)
        self.engine = Engine(self.c, self.model_config, self.tokenizer.stop_ids)
        self.reset()
        ids = tuple(map(str, range(job.prompts)))
        self.prompts = Prompts(ids, tuple(job.texts), job.prompt_tokens, job.prompt_lengths)
        self.count = 0

    def reset(self) -> None:
        """The weights of the folder and a fresh optimizer."""
        self.state = None
        params = folders.load(self.folder, self.model_config)
        self.state = self.engine.new_state(self.engine.place(params))

    def rollout(self):
        self.count += 1
        key = random_key(self.c.seed, "rollout", self.count)
        shape = self.engine.rollout_shape(self.prompts.tokens.shape[1])
        return self.engine.sample(self.engine.to_rollout(self.state.params), self.prompts, key, shape)

    def advantages(self, rollouts):
        cut = [row[:n] for row, n in zip(rollouts.tokens, rollouts.lengths, strict=True)]
        reward = np.array(toy_reward(self.tokenizer.decode(cut)), np.float32)
        return step_advantages(self.c, reward.reshape(job.prompts, job.samples), None, rollouts)

    def update(self, rollouts, advantages):
        logp, metrics = rollouts.stats["logp"], []
        for batch in self.engine.minibatches(self.prompts, rollouts, advantages, logp, np.zeros_like(logp)):
            self.state, one = self.engine.update(self.state, batch)
            metrics.append(one)
        metrics = jax.device_get(metrics)
        if any(m["actor/skipped_updates"] for m in metrics):
            raise AssertionError("an update was not finite")

    def step(self) -> dict:
        def whole():
            rollout_s, rollouts = clock(self.rollout)
            advantages = self.advantages(rollouts)
            return rollout_s, clock(lambda: self.update(rollouts, advantages))[0], rollouts

        step_s, (rollout_s, update_s, rollouts) = clock(whole)
        if not job.stops:
            check_tokens(job, rollouts.tokens)
        return {"rollout": rollout_s, "update": update_s, "step": step_s, **work_done(rollouts.lengths)}

    def score(self) -> dict:
        rollouts = recorded(job.probe, job.probe_lengths)
        seconds, stats = clock(lambda: self.engine.score(self.state.params, self.prompts, rollouts))
        mean = float(stats["logp"][rollouts.mask].mean(dtype=np.float64))
        return {"score": seconds, "probe_logp": mean, **work_done(job.probe_lengths)}

    def record(self, file: str) -> dict:
        """Rollouts of the folder's weights and their advantages, for `agree`."""
        self.reset()
        rollouts = self.rollout()
        np.savez(
            file, tokens=rollouts.tokens, lengths=rollouts.lengths, advantages=self.advantages(rollouts)
        )
        return {}

    def agree(self, file: str, out: str) -> dict:
        """The folder's weights after one update on recorded rollouts, under Hugging Face's names."""
        self.reset()
        with np.load(file) as given:
            self.update(recorded(given["tokens"], given["lengths"]), given["advantages"])
        params = {n: np.asarray(x) for n, x in self.state.params.items()}
        names = folders.their_names(params, self.model_config)
        np.savez(out, **{names[n][0]: x.T if names[n][1] else x for n, x in params.items()})
        return {}

    def ceilings(self) -> dict:
        """FLOP/s of a square product, and bytes/s of reading and writing an array far beyond the caches."""
        size = 2048 if jax.default_backend() == "cpu" else 8192
        a = jnp.ones((size, size), job.dtype)
        product, add = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1, donate_argnums=0)
        big = [jnp.zeros(2**26, jnp.float32)]

        def in_place():
            big[0] = add(big[0]).block_until_ready()

        return {
            "flops": 2 * size**3 / quickest(lambda: product(a, a).block_until_ready()),
            "bytes": 2 * big[0].nbytes / quickest(in_place),
        }


def recorded(tokens, lengths) -> Rollouts:
    zeros = np.zeros(tokens.shape, np.float32)
    return Rollouts(tokens, lengths, np.ones(len(tokens), bool), {n: zeros for n in STATISTICS})


system = System()
server.send(
    versions={"urlvr_jax": __version__, "jax": jax.__version__},
    device=f"{job.devices} {jax.devices()[0].device_kind}",
)
names = ("score", "step", "record", "agree", "ceilings")
server.serve({name: getattr(system, name) for name in names})
