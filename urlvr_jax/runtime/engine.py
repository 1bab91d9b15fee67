"""The compiled functions of an experiment, and the host's side of calling them.

Every declared bucket is compiled before the first step. What runs in a step is then only a choice
among executables by the current batch's widths; nothing compiles after the first step.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax import validation
from urlvr_jax.data import padding
from urlvr_jax.devices import settle
from urlvr_jax.learning import objective, optimizer
from urlvr_jax.learning.step import TrainState, UpdateConfig, update
from urlvr_jax.measure import anchors, probe
from urlvr_jax.models import lora, transformer
from urlvr_jax.rewards import supplied
from urlvr_jax.rollout import paged, paged_sizes, sample
from urlvr_jax.rollout import slots as slots_lib
from urlvr_jax.runtime import adapters, sharding
from urlvr_jax.runtime.counting import Stage, counted, unwatched
from urlvr_jax.scoring import score
from urlvr_jax.scoring.packing import Layout, PackShape, pack
from urlvr_jax.types import STATISTICS, Batch, Prompts, Rollouts

EVALUATION_WAVES = 4  # rows of an evaluation call, in rows in flight: so that slots refill


def compiled(mesh, jitted, *args):
    """Trace for this mesh, compile, and hand the compiler's memory back: glibc would keep 0.1 to 0.2 GiB a program."""
    with sharding.tracing_for(mesh):
        lowered = jitted.lower(*args)
    executable = lowered.compile()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)
    return executable


class SampleShape(NamedTuple):
    """What is fixed of a rollout when it is compiled."""

    prompts: int
    width: int  # columns of the prompts
    group: int  # responses a prompt
    slots: int  # rows decoded at once
    temperature: float
    top_p: float
    max_new_tokens: int
    top_k: int = 0  # 0 = all tokens

    @property
    def rows(self) -> int:
        return self.prompts * self.group


class Packed(NamedTuple):
    """A mini-batch and where its tokens stand: `layouts` has a leading axis of micro-batches."""

    batch: Batch
    layouts: Layout
    count: jax.Array  # int32, micro-batches in use


class Engine:
    """Rollout, score and update of one configuration on one mesh, of all devices if none are given."""

    def __init__(self, c, model_config, stop_ids, devices=None):
        c, _ = settle(c, len(devices or jax.devices()))
        self.c, self.model_config = c, model_config
        self.mesh = sharding.make_mesh(c.mesh.data, c.mesh.fsdp, c.mesh.tensor, devices)
        self.platform = self.mesh.devices.flat[0].platform
        validation.validate_heads(model_config.attention, model_config.head_dim, self.platform)
        self.graph, self.shapes = transformer.structure(model_config)
        self.rollout_graph, self.rollout_shapes = self.graph, self.shapes
        if model_config.lora:
            self.rollout_graph, self.rollout_shapes = transformer.structure(lora.plain(model_config))
        self.rows_sharding = sharding.rows(self.mesh)
        self.micro_sharding = sharding.micro_batches(self.mesh)
        self.replicated = sharding.replicated(self.mesh)
        self.training_layout = sharding.training_layout(self.mesh, self.shapes)
        self.rollout_layout = sharding.rollout_layout(self.mesh, self.rollout_shapes)
        self.optimizer = optimizer.optimizer(c.optim, config_lib.total_updates(c))
        self.stop_ids = np.array(stop_ids, np.int32)
        self._samplers = {}
        self._scorers = {}
        self._updaters = {}
        to_compute = lambda p: {n: x.astype(model_config.compute_dtype) for n, x in p.items()}
        self._to_rollout = jax.jit(to_compute, out_shardings=self.rollout_layout)
        if model_config.lora:
            layouts = self.training_layout, self.rollout_layout
            self._merged = adapters.Merged(model_config, self.shapes, *layouts)
            self._base = adapters.Base(self.shapes, self.training_layout)

    # ---- state ------------------------------------------------------------------------------

    def place(self, params: dict) -> dict:
        """Host parameters -> the training layout."""
        return sharding.put(dict(params), {n: self.training_layout[n] for n in params})

    def adapted(self, params: dict) -> dict:
        """Placed parameters of the base -> what is trained: with fresh adapters, if `model.lora` says so. Takes them over."""
        if self.model_config.lora is None:
            return params
        return adapters.fresh(params, self.shapes, self.training_layout, self.c.seed)

    def new_state(self, params: dict) -> TrainState:
        """A fresh train state that takes over placed parameters: the first update donates them."""
        init = jax.jit(self.optimizer.init, out_shardings=self.state_layout().opt_state)
        return TrainState(params, init(lora.trained(params)), sharding.put(np.int32(0), self.replicated))

    def state_shapes(self) -> TrainState:
        fresh = lambda p: TrainState(p, self.optimizer.init(lora.trained(p)), jnp.int32(0))
        return jax.eval_shape(fresh, self.shapes)

    def state_layout(self) -> TrainState:
        return sharding.tree_layout(self.mesh, self.state_shapes(), self.training_layout)

    # ---- rollouts ---------------------------------------------------------------------------

    def to_rollout(self, params: dict) -> dict:
        """Training layout -> rollout layout and compute dtype; the same arrays where both are the same. Adapters are merged."""
        if self.model_config.lora:
            return self._merged.of(params)
        same = all(
            x.dtype == self.c.model.compute_dtype
            and x.sharding.is_equivalent_to(self.rollout_layout[n], x.ndim)
            for n, x in params.items()
        )
        return params if same else self._to_rollout(params)

    def rollout_shape(self, width: int) -> SampleShape:
        """A step's rollouts, from prompts in a bucket of `width` columns."""
        c = self.c
        return SampleShape(
            c.data.prompts_per_step, width, c.rollout.group, config_lib.slots(c), c.rollout.temperature, 1.0,
            c.rollout.max_new_tokens,
        )  # fmt: skip

    def evaluation_shape(
        self, width: int, k: int, temperature: float, top_p: float, top_k: int = 0
    ) -> SampleShape:
        """A call of an evaluation with k samples a question: several times the rows in flight."""
        shards = config_lib.shards(self.c)
        count = max(1, EVALUATION_WAVES * config_lib.slots(self.c) // k // shards) * shards
        slots = min(config_lib.slots(self.c), count * k)
        return SampleShape(count, width, k, slots, temperature, top_p, self.c.rollout.max_new_tokens, top_k)

    def verification_shape(self, width: int, rows: int) -> SampleShape:
        """`verify.votes` verdicts on each of `rows` responses."""
        v = self.c.verify
        slots = min(self.c.rollout.slots or rows * v.votes, rows * v.votes)
        return SampleShape(rows, width, v.votes, slots, v.temperature, 1.0, v.max_new_tokens)

    def sampler(self, shape: SampleShape):
        """The compiled rollout of one shape."""
        if shape not in self._samplers:
            run = self._decoder(shape)

            def fn(params, tokens, lengths, key, stop_ids, limits):
                key = jax.random.wrap_key_data(key)
                return run(self.rollout_graph, params, tokens, lengths, key, stop_ids, limits=limits)

            ints = lambda *s, layout: jax.ShapeDtypeStruct(s, jnp.int32, sharding=layout)
            params = {
                n: jax.ShapeDtypeStruct(
                    s.shape, self.c.model.compute_dtype, sharding=self.rollout_layout[n]
                )
                for n, s in self.rollout_shapes.items()
            }
            key = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
            self._samplers[shape] = compiled(
                self.mesh,
                jax.jit(fn, out_shardings=self.replicated),
                params,
                ints(shape.prompts, shape.width, layout=self.rows_sharding),
                ints(shape.prompts, layout=self.rows_sharding),
                jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=self.replicated),
                ints(len(self.stop_ids), layout=self.replicated),
                ints(shape.rows, layout=self.rows_sharding),
            )
        return self._samplers[shape]

    def _decoder(self, shape: SampleShape):
        """`sample.sample` or `paged.sample`, made for this shape."""
        c = self.c
        options = dict(
            group=shape.group,
            slots=shape.slots,
            max_new_tokens=shape.max_new_tokens,
            temperature=float(shape.temperature),
            top_p=float(shape.top_p),
            top_k=shape.top_k,
        )
        if config_lib.decodes_from_pages(c, self.platform):
            return functools.partial(paged.sample, page=c.rollout.page, pages=self.pages(shape), **options)
        return functools.partial(
            sample.sample,
            queues=config_lib.shards(c),
            block=slots_lib.block_width(shape.max_new_tokens, shape.slots < shape.rows, self.platform),
            constrain=lambda x: jax.lax.with_sharding_constraint(x, self.rows_sharding),
            **options,
        )

    def pages(self, shape: SampleShape) -> int:
        """Pages a device that this rollout's rows and prompts can use, at most those of the configuration."""
        shards = config_lib.shards(self.c)
        return paged_sizes.pages_for(
            self.c.rollout.pages, shape.prompts // shards, shape.width, shape.slots // shards,
            shape.max_new_tokens, self.c.rollout.page,
        )  # fmt: skip

    def start_sample(self, params, prompts: Prompts, key, shape: SampleShape, real: int | None = None):
        """Begin rolling out responses to `prompts` with rollout-layout parameters; see `finish_sample`.

        Only the first `real` prompts are rolled out (default: all); the others have length 0. ValueError where
        the prompts are not of the shape.
        """
        if prompts.tokens.shape != (shape.prompts, shape.width):
            raise ValueError(
                f"prompts {list(prompts.tokens.shape)}, but this rollout was made for "
                f"[{shape.prompts}, {shape.width}]: data.prompts_per_step prompts, padded to its width"
            )
        rows = np.arange(shape.rows)
        rolled_out = rows < (shape.prompts if real is None else real) * shape.group
        limits = np.where(rolled_out, shape.max_new_tokens, 0).astype(np.int32)
        key = sharding.place_key(key, self.replicated)
        tokens, lengths, limits = sharding.put(
            (prompts.tokens, prompts.lengths, limits), self.rows_sharding
        )
        stop_ids = sharding.put(self.stop_ids, self.replicated)
        return self.sampler(shape)(params, tokens, lengths, key, stop_ids, limits)

    def finish_sample(self, out) -> Rollouts:
        """Wait for what `start_sample` began."""
        out = sharding.to_host(out)
        if self.model_config.lora:
            self._merged.drop()
        stats = {name: out[name] for name in STATISTICS}
        put_back = int(np.sum(out["put_back"])) if "put_back" in out else None
        return Rollouts(out["tokens"], out["length"], out["ended"], stats, put_back)

    def sample(
        self, params, prompts: Prompts, key, shape: SampleShape, real: int | None = None
    ) -> Rollouts:
        """`start_sample`, `finish_sample`."""
        return self.finish_sample(self.start_sample(params, prompts, key, shape, real))

    # ---- scoring ----------------------------------------------------------------------------

    def score_shape(self) -> PackShape:
        """Like the update's micro-batches, but with every vote."""
        c = self.c
        return PackShape.of(
            c.rollout.group, config_lib.score_rows(c), config_lib.micro_prompts(c), config_lib.shards(c)
        )

    def scorer(self, prompt_width: int, width: int, few: bool = False):
        """The compiled scoring pass of one (prompt, response) bucket: of a step's rollouts, or of a few rows."""
        bucket = (prompt_width, width, few)
        if bucket not in self._scorers:
            prompts = self.few_rows if few else self.c.data.prompts_per_step
            group = 1 if few else self.c.rollout.group
            rows, shape = prompts * group, self.few_shape() if few else self.score_shape()
            fn = functools.partial(score.score_all, self.graph, temperature=self.c.rollout.temperature)
            ints = functools.partial(self._abstract, jnp.int32)
            args = (ints(prompts, prompt_width), ints(prompts), ints(rows, width))
            layouts = self._abstract_layouts(shape, prompts, group, width)
            jitted = jax.jit(fn, out_shardings=self.replicated)
            self._scorers[bucket] = compiled(
                self.mesh, jitted, self._abstract_params(), *args, layouts, ints()
            )
        return self._scorers[bucket]

    def score(self, params, prompts: Prompts, rollouts: Rollouts) -> dict[str, np.ndarray]:
        """Teacher-forced statistics `[B, T]` of a step's rollouts, zero past each row's length."""
        width = self.response_bucket(rollouts)
        out = self.score_rows(params, prompts, rollouts.tokens[:, :width], rollouts.lengths)
        full = ((0, 0), (0, self.c.rollout.max_new_tokens - width))
        return {name: np.pad(x, full) for name, x in out.items()}

    def score_rows(self, params, prompts: Prompts, tokens, lengths) -> dict[str, np.ndarray]:
        """Teacher-forced statistics like tokens, int `[B, W]` of lengths `[B]` after `prompts`, W a declared width."""
        lengths = lengths.reshape(-1, self.c.rollout.group)
        placed = self._placed(prompts.tokens, prompts.lengths, tokens, lengths, self.score_shape())
        return sharding.to_host(self.scorer(prompts.tokens.shape[1], tokens.shape[1])(params, *placed))

    def _placed(self, prompts, prompt_lengths, tokens, lengths, shape: PackShape) -> tuple:
        """What a scorer takes after the parameters, of responses int `[B, T]` of lengths `[P, G]`."""
        width = tokens.shape[1]
        layouts, count = pack(lengths, width, width, shape)
        given = sharding.put((prompts, prompt_lengths, tokens), self.replicated)
        layouts = sharding.put(layouts, self.micro_sharding)
        return *given, layouts, sharding.put(np.int32(count), self.replicated)

    @property
    def few_rows(self) -> int:
        """Rows of `score_few`: ROWS of the anchors, or a few more so that every shard has as many."""
        shards = config_lib.shards(self.c)
        return -(-anchors.ROWS // shards) * shards

    def few_shape(self) -> PackShape:
        """One response a prompt, and no more rows at once than elsewhere."""
        shards = config_lib.shards(self.c)
        rows = min(self.few_rows, max(1, config_lib.micro_rows(self.c) // shards) * shards)
        return PackShape.of(1, rows, rows, shards)

    def few_widths(self) -> tuple[int, int]:
        """Columns of the prompts and of the responses of `score_few`."""
        return max(self.c.data.prompt_buckets), config_lib.response_buckets(self.c)[0]

    def place_few(self, prompts: list[list[int]], responses: list[list[int]]) -> tuple:
        """`few_rows` responses at most, each to its own prompt, for `score_few`."""
        prompt_width, width = self.few_widths()
        spare = self.few_rows - len(prompts)
        full = lambda rows, width: np.array(
            [[*row, *[0] * (width - len(row))] for row in rows] + [[0] * width] * spare, np.int32
        )
        count = lambda rows, least: np.array([*map(len, rows), *[least] * spare], np.int32)
        given = full(prompts, prompt_width), count(prompts, 1), full(responses, width)
        return self._placed(*given, count(responses, 0)[:, None], self.few_shape())

    def score_few(self, params, placed: tuple):
        """Begin scoring -> log-probabilities `[few_rows, T]`, on the device."""
        return self.scorer(*self.few_widths(), True)(params, *placed)["logp"]

    def base(self, params: dict, held: dict | None = None) -> dict:
        """The frozen base: what is held beside the policy, or the policy without its adapters."""
        return self._base.of(params) if self.model_config.lora else held

    def response_bucket(self, rollouts: Rollouts) -> int:
        """The narrowest declared width that holds the longest response."""
        return padding.bucket(max(1, int(rollouts.lengths.max())), config_lib.response_buckets(self.c))

    def _abstract(self, dtype, *shape):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self.replicated)

    def _abstract_layouts(self, shape: PackShape, prompts: int, group: int, width: int) -> Layout:
        most = shape.most(prompts, group)
        of = lambda *s: jax.ShapeDtypeStruct(s, jnp.int32, sharding=self.micro_sharding)
        return Layout(of(most, shape.units, shape.rows, width), of(most, shape.units, shape.prompts))

    def _abstract_params(self):
        return {
            n: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=self.training_layout[n])
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
        )

    def pack_shape(self) -> PackShape:
        c = self.c
        return PackShape.of(
            config_lib.train_group(c), config_lib.micro_rows(c), config_lib.micro_prompts(c),
            config_lib.shards(c),
        )  # fmt: skip

    def updater(self, prompt_width: int, width: int):
        """The compiled update of one (prompt, response) bucket; donates the state."""
        bucket = (prompt_width, width)
        if bucket not in self._updaters:
            prompts, group = config_lib.minibatch_prompts(self.c), config_lib.train_group(self.c)
            rows = prompts * group
            of = self._abstract
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
            layouts = self._abstract_layouts(self.pack_shape(), prompts, group, width)
            fn = functools.partial(update, self.graph, self.optimizer, self.update_config())
            jitted = jax.jit(fn, donate_argnums=0, out_shardings=(layout, self.replicated))
            self._updaters[bucket] = compiled(self.mesh, jitted, state, batch, layouts, of(jnp.int32))
        return self._updaters[bucket]

    def minibatches(self, prompts: Prompts, rollouts: Rollouts, advantages, old_logp, ref_logp):
        """Host arrays of a step -> placed `Packed` mini-batches, `epochs` times over all of them.

        Rows past `train_group` of each group voted but are not trained. Columns are cut to the
        narrowest response bucket that holds the step's longest row. None where no update can move the policy.
        """
        if not objective.can_move(self.c, advantages):
            return
        c = self.c
        group = c.rollout.group
        kept = config_lib.train_group(c)
        width = self.response_bucket(rollouts)
        trained = lambda x: x.reshape(-1, group, *x.shape[1:])[:, :kept]
        rows = [trained(x)[:, :, :width] for x in (rollouts.tokens, advantages, old_logp, ref_logp)]
        lengths = trained(rollouts.lengths)
        each = config_lib.minibatch_prompts(c)
        for _ in range(c.optim.epochs):
            for start in range(0, len(prompts.ids), each):
                part = slice(start, start + each)
                layouts, count = pack(lengths[part], width, width, self.pack_shape())
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
                batch, count = sharding.put((batch, np.int32(count)), self.replicated)
                yield Packed(batch, sharding.put(layouts, self.micro_sharding), count)

    def update(self, state: TrainState, packed: Packed):
        """One optimizer update; the state given is donated."""
        batch = packed.batch
        return self.updater(batch.prompt_tokens.shape[1], batch.tokens.shape[1])(state, *packed)

    def compile_all(
        self, stage: Stage = unwatched, *, sampling: bool, scoring: bool, needs: Collection[str] = ()
    ) -> None:
        """Compile every declared bucket. needs: what rewards ask for, some of which takes programs of its own."""
        self._compile(self._declared(sampling, scoring, needs), stage)

    def compile_verifier(self, stage: Stage = unwatched) -> None:
        """Compile the second generation, of whoever judges."""
        c = self.c
        shapes = [self.verification_shape(w, config_lib.rows_per_step(c)) for w in c.verify.prompt_buckets]
        self._compile([(self.sampler, shape) for shape in shapes], stage)

    def _compile(self, programs, stage: Stage) -> None:
        for build, *args in counted(list(programs), stage("compiling", "programs")):
            build(*args)

    def _declared(self, sampling: bool, scoring: bool, needs: Collection[str]):
        """Each program of the configuration: what compiles it, and for what."""
        c = self.c
        if sampling and c.collapse.watch:
            yield self.scorer, *self.few_widths(), True
        for prompt_width in c.data.prompt_buckets:
            if sampling:
                yield self.sampler, self.rollout_shape(prompt_width)
            if c.eval.every:
                shape = self.evaluation_shape(
                    prompt_width, c.eval.k, c.eval.temperature, c.eval.top_p, c.eval.top_k
                )
                yield self.sampler, shape
            if c.labels.probe:
                yield self.sampler, self.evaluation_shape(prompt_width, **probe.how(c))
            for width in config_lib.continuation_buckets(c) if supplied.asks_rows(needs) else ():
                yield self.scorer, prompt_width, width
            for width in config_lib.response_buckets(c):
                if scoring or supplied.asks_base_stats(needs) or supplied.asks_states(needs):
                    yield self.scorer, prompt_width, width
                yield self.updater, prompt_width, width
