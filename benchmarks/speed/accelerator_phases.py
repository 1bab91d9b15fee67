"""Phases of accelerator.py, each system's in a process of its own, and what they are expected to need."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import sys
import tempfile
import time

from report import Cost

GIB = 2**30
LARGE = {
    "model": {
        "vocab_size": 151936, "d_model": 2048, "n_layers": 28, "n_heads": 16, "n_kv_heads": 8,
        "head_dim": 128, "d_ff": 6144,
    },
    "prompts": 64, "group": 8, "prompt_len": 256, "new_tokens": 1024, "dtype": "bfloat16", "micro_rows": 32,
    "remat": True, "batches": (128, 256, 64), "product": 8192, "copy_elements": 2**30, "memory_gib": 0,
}  # fmt: skip
SMALL = {
    "model": {
        "vocab_size": 512, "d_model": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16,
        "d_ff": 128,
    },
    "prompts": 4, "group": 4, "prompt_len": 16, "new_tokens": 24, "dtype": "float32", "micro_rows": 8,
    "remat": True, "batches": (4, 8), "product": 512, "copy_elements": 2**22, "memory_gib": 0.00222,
}  # fmt: skip
FULL_SHARE = 0.9  # of the device's memory that may be planned for
KERNELS = 12  # of a profile that are named


def work_of(small: bool, layers: int, new_tokens: int, scan: bool) -> dict:
    """The work, with so many layers and new tokens where they are not 0."""
    work = dict(SMALL if small else LARGE, scan=scan)
    if layers:
        work["model"] = dict(work["model"], n_layers=layers)
    if new_tokens:
        work["new_tokens"] = new_tokens
    return work


def cost_of(work: dict) -> Cost:
    m = work["model"]
    layer = (
        2 * m["d_model"] * (m["n_heads"] + m["n_kv_heads"]) * m["head_dim"] + 3 * m["d_model"] * m["d_ff"]
    )
    return Cost(
        layers=m["n_layers"],
        layer_parameters=m["n_layers"] * layer,
        head_parameters=m["d_model"] * m["vocab_size"],
        attention_width=m["n_heads"] * m["head_dim"],
        kv_width=2 * m["n_kv_heads"] * m["head_dim"],
        prompts=work["prompts"],
        samples=work["group"],
        prompt_len=work["prompt_len"],
        new_tokens=work["new_tokens"],
        item_bytes=2 if work["dtype"] == "bfloat16" else 4,
    )


def rows_of(work: dict) -> int:
    return work["prompts"] * work["group"]


# ---- memory ---------------------------------------------------------------------------------


def rollout_plan(work: dict, slots: int) -> dict:
    """GiB that exist at once while decoding with so many slots."""
    cost, wide = cost_of(work), work["new_tokens"]
    parameters = cost.layer_parameters + cost.head_parameters
    position = cost.layers * cost.kv_width * cost.item_bytes
    copied = slots if slots < rows_of(work) else 0  # prompts copied to their slots
    parts = {
        "float32 weights": 4 * parameters,
        "Adam": 8 * parameters,
        "rollout weights": cost.item_bytes * parameters,
        "cache": slots * wide * position,
        "window, a copy of the cache": slots * wide * position,
        "prompts": (work["prompts"] + copied) * work["prompt_len"] * position,
        "logits and what is made of them": 4 * 4 * slots * work["model"]["vocab_size"],
    }
    return {name: size / GIB for name, size in parts.items()}


def choose_slots(work: dict, memory_gib: float) -> int:
    """The most slots, halving from all rows, whose plan fits."""
    slots = rows_of(work)
    while slots > 1 and sum(rollout_plan(work, slots).values()) > FULL_SHARE * memory_gib:
        slots //= 2
    return slots


def update_plan(work: dict) -> dict:
    cost = cost_of(work)
    parameters = cost.layer_parameters + cost.head_parameters
    tokens = work["micro_rows"] * work["new_tokens"]
    parts = {
        "float32 weights": 4 * parameters,
        "Adam": 8 * parameters,
        "gradients, sum and micro-batch": 8 * parameters,
        "layers' inputs": cost.layers * tokens * work["model"]["d_model"] * cost.item_bytes,
    }
    return {name: size / GIB for name, size in parts.items()}


def plan_text(title: str, plan: dict) -> str:
    parts = " + ".join(f"{name} {gib:.3g}" for name, gib in plan.items())
    return f"{title}: {parts} = {sum(plan.values()):.4g} GiB"


# ---- the child: this package ----------------------------------------------------------------


class Ours:
    """Phases of this package; made in a process of their own."""

    def __init__(self, work: dict, cache: str):
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")
        import jax
        import numpy as np

        from urlvr_jax import config as config_lib
        from urlvr_jax import validation
        from urlvr_jax.models import transformer
        from urlvr_jax.runtime.engine import Engine
        from urlvr_jax.types import Prompts

        jax.config.update("jax_compilation_cache_dir", cache)
        self.jax, self.np, self.work, self.count, self.calls = jax, np, work, 0, {}
        stats = jax.devices()[0].memory_stats() or {}
        self.memory_gib = work["memory_gib"] or stats.get("bytes_limit", 16 * GIB) / GIB
        self.slots = choose_slots(work, self.memory_gib)
        c = config_lib.default()
        c.update_from_flattened_dict(settings(work, self.slots))
        validation.validate(c, jax.device_count())
        model = transformer.ModelConfig(
            **work["model"], rope_theta=1e6, norm_eps=1e-6, tied_head=True, compute_dtype=work["dtype"],
            remat=work["remat"], scan=work["scan"],
        )  # fmt: skip
        self.c, self.engine = c, Engine(c, model, [work["model"]["vocab_size"]])  # which is no token
        self.make = lambda: transformer.initialise(model, 0)
        self.state = None
        shape = (work["prompts"], work["prompt_len"])
        tokens = np.random.default_rng(0).integers(0, work["model"]["vocab_size"], shape).astype(np.int32)
        names = tuple(map(str, range(len(tokens))))
        self.prompts = Prompts(names, names, tokens, np.full(len(tokens), shape[1], np.int32))

    def _state(self):
        if self.state is None:
            params = self.jax.jit(self.make, out_shardings=self.engine.training_layout)()
            self.state = self.engine.new_state(params)
        return self.state

    def _rollouts(self):
        """Recorded ones, at random: what phases that do not decode work on."""
        from urlvr_jax.types import STATISTICS, Rollouts

        np, rng = self.np, self.np.random.default_rng(1)
        shape = (rows_of(self.work), self.work["new_tokens"])
        tokens = rng.integers(0, self.work["model"]["vocab_size"], shape).astype(np.int32)
        zeros = np.zeros(shape, np.float32)
        lengths = np.full(shape[0], shape[1], np.int32)
        return Rollouts(tokens, lengths, np.zeros(shape[0], bool), {n: zeros for n in STATISTICS})

    def _measured(self, phase: str, fn, enough_s: float = 40) -> dict:
        """Seconds of a cold call and of the quickest of up to two warm ones, unless the cold one is long."""
        seconds = []
        while len(seconds) < 3 and sum(seconds) < enough_s:
            began = time.perf_counter()
            fn()
            seconds.append(time.perf_counter() - began)
            print(f"a call: {seconds[-1]:.2f} s", file=sys.stderr, flush=True)
        self.calls[phase] = fn
        return {"seconds": min(seconds[1:] or seconds), "all_seconds": seconds, **self._memory()}

    def _memory(self) -> dict:
        stats = self.jax.devices()[0].memory_stats() or {}
        return {"peak_gib": stats["peak_bytes_in_use"] / GIB} if "peak_bytes_in_use" in stats else {}

    def _compiled(self, make) -> dict:
        """Compile first, so that calls are not charged for it; what it reserves beyond its arguments."""
        began = time.perf_counter()
        self.jax.block_until_ready(self._state().params)
        print(f"weights drawn in {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
        began = time.perf_counter()
        program = make()
        print(f"compiled in {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
        temporary = program.memory_analysis().temp_size_in_bytes / GIB
        return {"compile_s": time.perf_counter() - began, "temporary_gib": temporary}

    def _best(self, fn, calls: int = 10) -> float:
        """Seconds a call, of the best of three runs of several without a wait between them."""
        fn().block_until_ready()
        best = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            last = [fn() for _ in range(calls)][-1]
            last.block_until_ready()
            best = min(best, (time.perf_counter() - began) / calls)
        return best

    # ---- phases --------------------------------------------------------------------------

    def ceilings(self) -> dict:
        jax, n = self.jax, self.work["product"]
        random = jax.jit(lambda i: jax.random.normal(jax.random.key(i), (n, n), self.work["dtype"]))
        a, b, product = random(0), random(1), jax.jit(jax.numpy.matmul)
        flops = 2 * n**3 / self._best(lambda: product(a, b))
        x = jax.numpy.ones(self.work["copy_elements"], jax.numpy.bfloat16)
        negate = jax.jit(lambda x: -x)
        rate = 2 * x.nbytes / self._best(lambda: negate(x))
        return {
            "flops": flops, "bytes": rate, "device": jax.devices()[0].device_kind, "jax": jax.__version__,
            "memory_gib": self.memory_gib, "slots": self.slots,
        }  # fmt: skip

    def _sample(self):
        from urlvr_jax.runtime.random_keys import random_key

        self.count += 1
        weights = self.engine.to_rollout(self._state().params)
        key = random_key(0, "rollout", self.count)
        shape = self.engine.rollout_shape(self.work["prompt_len"])
        out = self.engine.sample(weights, self.prompts, key, shape)
        if not (out.lengths == self.work["new_tokens"]).all():
            raise AssertionError("a row ended early")
        return out

    def rollout(self) -> dict:
        engine = self.engine
        compiled = self._compiled(lambda: engine.sampler(engine.rollout_shape(self.work["prompt_len"])))
        self.jax.block_until_ready(engine.to_rollout(self._state().params))
        return {**compiled, **self._measured("rollout", self._sample), "slots": self.slots}

    def score(self) -> dict:
        make = lambda: self.engine.scorer(self.work["prompt_len"], self.work["new_tokens"])
        rollouts = self._rollouts()
        run = lambda: self.engine.score(self._state().params, self.prompts, rollouts)
        return {**self._compiled(make), **self._measured("score", run)}

    def _update(self, rollouts, advantages) -> None:
        logp = rollouts.stats["logp"]
        for batch in self.engine.minibatches(
            self.prompts, rollouts, advantages, logp, self.np.zeros_like(logp)
        ):
            self.state, metrics = self.engine.update(self._state(), batch)
            if self.jax.device_get(metrics)["actor/skipped_updates"]:
                raise AssertionError("an update was not finite")

    def update(self) -> dict:
        make = lambda: self.engine.updater(self.work["prompt_len"], self.work["new_tokens"])
        rollouts = self._rollouts()
        advantages = self.np.random.default_rng(2).standard_normal((rows_of(self.work), 1))
        advantages = self.np.broadcast_to(advantages, rollouts.tokens.shape).astype(self.np.float32)
        return {
            **self._compiled(make),
            **self._measured("update", lambda: self._update(rollouts, advantages)),
        }

    def step(self) -> dict:
        from urlvr_jax.learning.advantages import step_advantages

        def one():
            rollouts = self._sample()
            reward = (rollouts.tokens % 2).mean(axis=1, dtype=self.np.float32)
            reward = reward.reshape(-1, self.work["group"])
            self._update(rollouts, step_advantages(self.c, reward, None, rollouts))

        return self._measured("step", one)

    def kernels(self) -> dict:
        """Of one more call of each phase so far: what the device spent most of its time on."""
        found = {}
        for phase, fn in self.calls.items():
            with tempfile.TemporaryDirectory() as folder:
                with self.jax.profiler.trace(folder):
                    fn()
                (trace,) = pathlib.Path(folder).rglob("*.xplane.pb")
                found[phase] = longest_kernels(self.jax.profiler.ProfileData.from_file(str(trace)))
        return {"kernels": found}


def longest_kernels(profile) -> list[dict]:
    """[{"kernel", "count", "seconds"}], longest first, of a device's streams; on a CPU of its threads."""
    planes = list(profile.planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    lines = [line for plane in devices or planes for line in plane.lines]
    streams = [line for line in lines if line.name.startswith("Stream")]
    found = collections.defaultdict(lambda: [0, 0.0])
    for line in streams or lines:
        for event in line.events:
            found[event.name][0] += 1
            found[event.name][1] += event.duration_ns / 1e9
    ranked = sorted(found.items(), key=lambda item: -item[1][1])
    return [{"kernel": name, "count": n, "seconds": s} for name, (n, s) in ranked[:KERNELS]]


def settings(work: dict, slots: int) -> dict:
    """The work as keys of the package's configuration."""
    return {
        "model.compute_dtype": work["dtype"],
        "model.remat": work["remat"],
        "model.scan": work["scan"],
        "data.prompts_per_step": work["prompts"],
        "data.prompt_buckets": (work["prompt_len"],),
        "rollout.group": work["group"],
        "rollout.max_new_tokens": work["new_tokens"],
        "rollout.response_buckets": (work["new_tokens"],),
        "rollout.slots": slots,
        "optim.micro_rows": work["micro_rows"],
        "optim.micro_prompts": 0,  # all rows are full: spare prompts would only be attended to in vain
        "optim.lr": 1e-6,
        "eval.every": 0,
    }


# ---- the child: transformers ----------------------------------------------------------------


class Transformers:
    """`generate` with random weights of the same shape: phases `generate 64`, ..."""

    def __init__(self, work: dict, _cache: str):
        import torch
        import transformers

        self.torch, self.work = torch, work
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cpu" and work["dtype"] == "bfloat16":
            raise SystemExit("torch sees no CUDA device")
        m = work["model"]
        config = transformers.Qwen3Config(
            vocab_size=m["vocab_size"], hidden_size=m["d_model"], num_hidden_layers=m["n_layers"],
            num_attention_heads=m["n_heads"], num_key_value_heads=m["n_kv_heads"], head_dim=m["head_dim"],
            intermediate_size=m["d_ff"], tie_word_embeddings=True, eos_token_id=None, bos_token_id=None,
        )  # fmt: skip
        torch.set_default_dtype(getattr(torch, work["dtype"]))
        with torch.device(self.device):
            self.model = transformers.Qwen3ForCausalLM(config).eval()
        self.versions = {"torch": torch.__version__, "transformers": transformers.__version__}

    def generate(self, batch: str) -> dict:
        torch, work = self.torch, self.work
        shape = (int(batch), work["prompt_len"])
        tokens = torch.randint(0, work["model"]["vocab_size"], shape, device=self.device)

        def run(new_tokens: int):
            with torch.no_grad():
                out = self.model.generate(
                    input_ids=tokens, attention_mask=torch.ones_like(tokens), do_sample=True, top_k=0,
                    top_p=1.0, temperature=1.0, max_new_tokens=new_tokens, pad_token_id=0, eos_token_id=None,
                )  # fmt: skip
            if self.device == "cuda":
                torch.cuda.synchronize()
            if out.shape[1] != work["prompt_len"] + new_tokens:
                raise AssertionError("a row ended early")

        run(8)
        began = time.perf_counter()
        run(work["new_tokens"])
        seconds = time.perf_counter() - began
        peak = torch.cuda.max_memory_allocated() / GIB if self.device == "cuda" else None
        return {"seconds": seconds, "batch": shape[0], "peak_gib": peak, **self.versions}


SYSTEMS = {"ours": Ours, "transformers": Transformers}


def work_as_child(system: str, work: dict, cache: str) -> None:
    """Phases by name from stdin, one JSON line each to stdout."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print
    made = SYSTEMS[system](work, cache)
    for line in sys.stdin:
        name, *arguments = line.split()
        out.write(json.dumps(getattr(made, name)(*arguments)) + "\n")
