"""Compile attention's kernels for TPUs that are not here, alone and in a layer, and read what XLA says.

    JAX_PLATFORMS=cpu python benchmarks/tpu_attention.py --topology v5e:2x2

Needs libtpu, which brings the compiler, and no TPU. Nothing runs: no time is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from urlvr_jax import score, sharding
from urlvr_jax.models import flash, transformer
from urlvr_jax.score import Layout

# Qwen3-1.7B with one layer and a small vocabulary: what is compared is attention.
LAYER = transformer.ModelConfig(
    vocab_size=1024, d_model=2048, n_layers=1, n_heads=16, n_kv_heads=8, head_dim=128, d_ff=6144,
    rope_theta=1e6, norm_eps=1e-6, tied_head=True, compute_dtype="bfloat16", remat=True,
)  # fmt: skip
PROMPT, WIDTH = 1024, 7168


def compiled(fn, mesh, *args) -> dict:
    """Seconds to compile, kernels in the program, temporary MiB a device."""
    start = time.perf_counter()
    with sharding.tracing_for(mesh):
        executable = jax.jit(fn).lower(*args).compile()
    return {
        "compile_s": round(time.perf_counter() - start, 1),
        "kernels": executable.as_text().count('custom_call_target="tpu_custom_call"'),
        "temp_mib": round(executable.memory_analysis().temp_size_in_bytes / 2**20, 1),
    }


def kernels(mesh, width: int, dtype: str, rows: int, prompts: int, columns: int):
    """Output and gradients of attention alone: `rows` rows of a unit, its prompts side by side."""
    of = lambda *s, dtype=dtype: jax.ShapeDtypeStruct(s, dtype, sharding=sharding.replicated(mesh))
    ints = functools.partial(of, dtype="int32")
    keys, own = of(1, 8, prompts * PROMPT, width), of(rows, 8, columns, width)
    ids = [(ints(1, prompts * PROMPT), ints(rows, columns)), (ints(rows, columns), ints(rows, columns))]
    q = of(rows, 16, columns, width)

    def run(q, kvs, ids, do):
        def attend(q, kvs):
            parts = [flash.Part(*kv, *i) for kv, i in zip(kvs, ids, strict=True)]
            return flash.attend(q, parts, (False, True))

        out, backward = jax.vjp(attend, q, kvs)
        return out, backward(do)

    return compiled(run, mesh, q, [(keys, keys), (own, own)], ids, q)


def layer(mesh, attention: str, units: int, rows: int, prompts: int):
    """Log-probabilities of packed rows and their gradients, through one layer."""
    graph, shapes = transformer.structure(dataclasses.replace(LAYER, attention=attention))
    layout = sharding.training_layout(mesh, shapes)
    params = {n: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=layout[n]) for n, s in shapes.items()}
    of = lambda *s: jax.ShapeDtypeStruct(s, jnp.int32, sharding=sharding.replicated(mesh))
    split = lambda *s: jax.ShapeDtypeStruct(s, jnp.int32, sharding=sharding.rows(mesh))
    places = Layout(split(units, rows, WIDTH), split(units, prompts))

    def loss(params, prompt_tokens, lengths, tokens, layout):
        stats = score.score(graph, params, prompt_tokens, lengths, tokens, 1.0, layout, ("logp",))
        return jnp.sum(stats["logp"], where=layout.source >= 0)

    args = params, of(units * prompts, PROMPT), of(units * prompts), of(units * rows, WIDTH), places
    return compiled(jax.value_and_grad(loss), mesh, *args)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topology", default="v5e:2x2")
    devices = np.array(topologies.get_topology_desc(parser.parse_args().topology, "tpu").devices)
    one = Mesh(devices[:1].reshape(1, 1, 1), sharding.AXES)
    say = lambda **facts: print(json.dumps(facts), flush=True)
    for width, dtype, rows, prompts, columns in (
        (128, "bfloat16", 1, 1, 7168),
        (128, "float32", 1, 1, 7168),
        (64, "bfloat16", 1, 1, 7168),
        (64, "float32", 1, 1, 7168),
        (128, "bfloat16", 4, 4, 7168),
        (128, "bfloat16", 1, 1, 32768),
    ):
        sizes = dict(head_dim=width, dtype=dtype, rows=rows, prompts=prompts, columns=columns)
        say(**sizes, **kernels(one, width, dtype, rows, prompts, columns))
    for shape in ((1, 1, 1), (1, len(devices), 1), (1, len(devices) // 2, 2)):
        mesh = Mesh(devices[: int(np.prod(shape))].reshape(shape), sharding.AXES)
        for attention in ("xla", "auto"):
            units = shape[0] * shape[1]
            say(
                mesh=shape,
                attention=attention,
                units=units,
                rows=2,
                prompts=4,
                **layer(mesh, attention, units, 2, 4),
            )


if __name__ == "__main__":
    main()
