"""The compiled functions of an experiment, and the host's side of calling them.

Every declared bucket is compiled before the first step. What runs in a step is then only a choice
among executables by the current batch's widths; nothing compiles after the first step.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax import data, optim, sample, score, sharding
from urlvr_jax.models import transformer
from urlvr_jax.train_step import TrainState, UpdateConfig, update
from urlvr_jax.types import STATISTICS, Batch, Prompts, Rollouts

_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


class CompileCounter:
    """Counts what XLA is asked to compile from now on."""

    def __init__(self):
        self.count, self.seconds = 0, 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, seconds: float, **_):
        if event == _COMPILE_EVENT:
            self.count += 1
            self.seconds += seconds


def random_key(seed: int, stream: str, step: int):
    """The key of one (seed, stream, step); rows and positions are folded in further down."""
    key = jax.random.fold_in(jax.random.key(seed), data.STREAMS[stream])
    return jax.random.fold_in(key, step)


class Engine:
    """Rollout, score and update of one configuration on one mesh."""

    def __init__(self, c, model_config, stop_ids):
        self.c = c
        self.mesh = sharding.make_mesh(c.mesh.data, c.mesh.fsdp, c.mesh.tensor)
        self.graph, self.shapes = transformer.structure(model_config)
        self.rows = sharding.rows(self.mesh)
        self.replicated = sharding.replicated(self.mesh)
        self.training = sharding.training_layout(self.mesh, self.shapes)
        self.rollout = sharding.rollout_layout(self.mesh, self.shapes)
        self.optimizer = optim.optimizer(c.optim, config_lib.total_updates(c))
        self.stop_ids = np.array(stop_ids, np.int32)
        self._samplers, self._scorers, self._updaters = {}, {}, {}
        to_compute = lambda p: {n: x.astype(model_config.compute_dtype) for n, x in p.items()}
        self.to_rollout = jax.jit(to_compute, out_shardings=self.rollout)

    # ---- state ------------------------------------------------------------------------------

    def place(self, params: dict) -> dict:
        """Host parameters -> the training layout."""
        return sharding.put(dict(params), {n: self.training[n] for n in params})

    def new_state(self, params: dict) -> TrainState:
        """A fresh train state around placed parameters."""
        init = jax.jit(
            lambda p: TrainState(p, self.optimizer.init(p), jnp.int32(0)),
            out_shardings=self.state_layout(),
        )
        return init(params)

    def state_shapes(self) -> TrainState:
        return jax.eval_shape(lambda p: TrainState(p, self.optimizer.init(p), jnp.int32(0)), self.shapes)

    def state_layout(self) -> TrainState:
        return sharding.tree_layout(self.mesh, self.state_shapes(), self.training)

    # ---- rollouts ---------------------------------------------------------------------------

    def sampler(self, prompts: int, width: int, group: int, slots: int, temperature, top_p):
        """The compiled rollout of one shape."""
        shape = (prompts, width, group, slots, float(temperature), float(top_p))
        if shape not in self._samplers:
            fn = functools.partial(
                sample.sample,
                self.graph,
                group=group,
                slots=slots,
                max_new_tokens=self.c.rollout.max_new_tokens,
                temperature=float(temperature),
                top_p=float(top_p),
                constrain=lambda x: jax.lax.with_sharding_constraint(x, self.rows),
            )
            ints = lambda *s, layout: jax.ShapeDtypeStruct(s, jnp.int32, sharding=layout)
            params = {
                n: jax.ShapeDtypeStruct(s.shape, self.c.model.compute_dtype, sharding=self.rollout[n])
                for n, s in self.shapes.items()
            }
            key = jax.eval_shape(lambda: jax.random.key(0))
            self._samplers[shape] = (
                jax.jit(fn, out_shardings=self.replicated)
                .lower(
                    params,
                    ints(prompts, width, layout=self.rows),
                    ints(prompts, layout=self.rows),
                    jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=self.replicated),
                    ints(len(self.stop_ids), layout=self.replicated),
                )
                .compile()
            )
        return self._samplers[shape]

    def prompts_in_flight(self, k: int) -> int:
        """Questions decoded at once with k samples each: as many rows as a training step has."""
        shards = self.c.mesh.data * self.c.mesh.fsdp
        return max(1, config_lib.slots(self.c) // k // shards) * shards

    def sample(self, params, prompts: Prompts, key, *, group=None, slots=None, temperature, top_p=1.0):
        """Roll out `group` responses a prompt with rollout-layout parameters -> Rollouts."""
        count, width = prompts.tokens.shape
        group = group or self.c.rollout.group
        run = self.sampler(count, width, group, slots or count * group, temperature, top_p)
        key = jax.device_put(key, self.replicated)
        tokens, lengths = sharding.put((prompts.tokens, prompts.lengths), self.rows)
        out = run(params, tokens, lengths, key, sharding.put(self.stop_ids, self.replicated))
        out = sharding.to_host(out)
        stats = {name: out[name] for name in STATISTICS}
        return Rollouts(out["tokens"], out["length"], out["ended"], stats)

    # ---- scoring ----------------------------------------------------------------------------

    def scorer(self, width: int):
        """The compiled scoring pass of one prompt width, over all rows in slots at a time."""
        if width not in self._scorers:
            c, group = self.c, self.c.rollout.group
            at_once = max(1, config_lib.slots(c) // group)

            def run(params, prompt_tokens, prompt_lengths, tokens):
                one = lambda a: score.score(self.graph, params, *a, c.rollout.temperature)
                chunks = prompt_tokens.shape[0] // at_once
                split = lambda x: x.reshape(chunks, -1, *x.shape[1:])
                out = jax.lax.map(one, jax.tree.map(split, (prompt_tokens, prompt_lengths, tokens)))
                return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), out)

            ints = lambda *s: jax.ShapeDtypeStruct(s, jnp.int32, sharding=self.rows)
            prompts, rows = c.data.prompts_per_step, config_lib.rows_per_step(c)
            args = (ints(prompts, width), ints(prompts), ints(rows, c.rollout.max_new_tokens))
            jitted = jax.jit(run, out_shardings=self.replicated)
            self._scorers[width] = jitted.lower(self._abstract_params(), *args).compile()
        return self._scorers[width]

    def score(self, params, prompts: Prompts, rollouts: Rollouts) -> dict[str, np.ndarray]:
        """Teacher-forced statistics `[B, T]` of a step's rollouts, zero past each row's length."""
        args = sharding.put((prompts.tokens, prompts.lengths, rollouts.tokens), self.rows)
        out = sharding.to_host(self.scorer(prompts.tokens.shape[1])(params, *args))
        return {name: np.where(rollouts.mask, x, np.float32(0)) for name, x in out.items()}

    def _abstract_params(self):
        return {
            n: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=self.training[n])
            for n, s in self.shapes.items()
        }

    # ---- updates ----------------------------------------------------------------------------

    def update_config(self) -> UpdateConfig:
        c = self.c
        return UpdateConfig(
            temperature=c.rollout.temperature,
            clip_low=c.loss.clip_low,
            clip_high=c.loss.clip_high,
            dual_clip=c.loss.dual_clip,
            aggregation=c.loss.aggregation,
            norm_length=c.rollout.max_new_tokens,
            kl_in_loss=(c.kl.estimator, c.kl.coef) if c.kl.coef and c.kl.place == "loss" else None,
            on_policy=config_lib.updates_per_step(c) == 1,
            clip_norm=c.optim.clip_norm,
            micro_rows=config_lib.micro_rows(c),
        )

    def updater(self, prompt_width: int, width: int):
        """The compiled update of one (prompt, response) bucket; donates the state."""
        shape = (prompt_width, width)
        if shape not in self._updaters:
            prompts = config_lib.minibatch_prompts(self.c)
            rows = prompts * config_lib.train_group(self.c)
            of = lambda dtype, *s: jax.ShapeDtypeStruct(s, dtype, sharding=self.rows)
            batch = Batch(
                of(jnp.int32, prompts, prompt_width),
                of(jnp.int32, prompts),
                of(jnp.int32, rows, width),
                of(jnp.int32, rows),
                *(of(jnp.float32, rows, width) for _ in range(3)),
            )
            layout = self.state_layout()
            state = jax.tree.map(
                lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where),
                self.state_shapes(),
                layout,
            )
            fn = functools.partial(update, self.graph, self.optimizer, self.update_config())
            jitted = jax.jit(fn, donate_argnums=0, out_shardings=(layout, self.replicated))
            self._updaters[shape] = jitted.lower(state, batch).compile()
        return self._updaters[shape]

    def minibatches(self, prompts: Prompts, rollouts: Rollouts, advantages, old_logp, ref_logp):
        """Host arrays of a step -> placed `Batch`es, `epochs` times over all mini-batches.

        Rows past `train_group` of each group voted but are not trained. Columns are cut to the
        narrowest response bucket that holds the step's longest row.
        """
        c = self.c
        group, kept = c.rollout.group, config_lib.train_group(c)
        width = data.bucket(max(1, int(rollouts.lengths.max())), c.rollout.response_buckets)
        trained = lambda x: x.reshape(-1, group, *x.shape[1:])[:, :kept]
        rows = [trained(x)[:, :, :width] for x in (rollouts.tokens, advantages, old_logp, ref_logp)]
        lengths = trained(rollouts.lengths)
        each = config_lib.minibatch_prompts(c)
        for _ in range(c.optim.epochs):
            for start in range(0, len(prompts.ids), each):
                part = slice(start, start + each)
                tokens, advantage, old, ref = (
                    x[part].reshape(-1, width).astype(d)
                    for x, d in zip(rows, (np.int32, *(np.float32,) * 3), strict=True)
                )
                batch = Batch(
                    prompts.tokens[part],
                    prompts.lengths[part],
                    tokens,
                    lengths[part].reshape(-1),
                    advantage,
                    old,
                    ref,
                )
                yield sharding.put(batch, self.rows)

    def update(self, state: TrainState, batch: Batch):
        """One optimizer update; the state given is donated."""
        return self.updater(batch.prompt_tokens.shape[1], batch.tokens.shape[1])(state, batch)

    def compile_all(self, *, sampling: bool, scoring: bool) -> None:
        """Compile every declared bucket."""
        c = self.c
        for prompt_width in c.data.prompt_buckets:
            if sampling:
                self.sampler(
                    c.data.prompts_per_step, prompt_width, c.rollout.group, config_lib.slots(c),
                    c.rollout.temperature, 1.0,
                )  # fmt: skip
            if c.eval.every:
                count, k = self.prompts_in_flight(c.eval.k), c.eval.k
                self.sampler(count, prompt_width, k, count * k, c.eval.temperature, c.eval.top_p)
            if scoring:
                self.scorer(prompt_width)
            for width in c.rollout.response_buckets:
                self.updater(prompt_width, width)
