"""Compile attention's kernels for TPUs or GPUs that are not here, alone and on a mesh, and read what XLA says.

    JAX_PLATFORMS=cpu python benchmarks/speed/attention_kernels.py --hardware v5e-4
    JAX_PLATFORMS=cpu python benchmarks/speed/attention_kernels.py --hardware h100-8

Needs the compiler, from libtpu or from jax's CUDA plugin, and no device. Nothing runs: no time is measured.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import time

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from urlvr_jax.models import attention
from urlvr_jax.models.attention import KV, SameId
from urlvr_jax.models.flash_parts import Part
from urlvr_jax.planning.compile import devices_of
from urlvr_jax.planning.machines import machine
from urlvr_jax.runtime import sharding

KERNELS = re.compile('custom_call_target="(tpu_custom_call|__gpu.xla.gpu.triton)"')
HEADS, KV_HEADS, PROMPT, WIDTH = 16, 8, 1024, 7168  # of Qwen3-1.7B


def compiled(fn, mesh, *args) -> dict:
    """Seconds to compile, kernels in the program, temporary MiB a device."""
    start = time.perf_counter()
    with sharding.tracing_for(mesh):
        executable = jax.jit(fn).lower(*args).compile()
    return {
        "compile_s": round(time.perf_counter() - start, 1),
        "kernels": len(KERNELS.findall(executable.as_text())),
        "temp_mib": round(executable.memory_analysis().temp_size_in_bytes / 2**20, 1),
    }


def kernels(mesh, width: int, dtype: str, rows: int, prompts: int, columns: int):
    """Output and gradients of attention alone: `rows` rows of a unit, its prompts side by side."""
    of = lambda *s, dtype=dtype: jax.ShapeDtypeStruct(s, dtype, sharding=sharding.replicated(mesh))
    ints = functools.partial(of, dtype="int32")
    keys, own = of(1, KV_HEADS, prompts * PROMPT, width), of(rows, KV_HEADS, columns, width)
    ids = [(ints(1, prompts * PROMPT), ints(rows, columns)), (ints(rows, columns), ints(rows, columns))]
    q = of(rows, HEADS, columns, width)

    def run(q, kvs, ids, do):
        def attend(q, kvs):
            parts = [Part(*kv, *i) for kv, i in zip(kvs, ids, strict=True)]
            return attention.kernel_for(sharding.platform())(q, parts, (False, True))

        out, backward = jax.vjp(attend, q, kvs)
        return out, backward(do)

    return compiled(run, mesh, q, [(keys, keys), (own, own)], ids, q)


def on_mesh(mesh, how: str, units: int, rows: int, prompts: int):
    """The same as the model calls it, rows and heads split over the mesh: bfloat16, heads of 128."""
    of = lambda shape, spec, dtype="bfloat16": jax.ShapeDtypeStruct(
        shape, dtype, sharding=NamedSharding(mesh, PartitionSpec(sharding.ROWS[0], *spec))
    )
    kv = lambda n, size: KV(
        of((n, KV_HEADS, 128, size), ("tensor",)), of((n, KV_HEADS, size, 128), ("tensor",))
    )
    ids = lambda n, size: of((n, size), (), "int32")
    q = of((units * rows, WIDTH, HEADS, 128), (None, "tensor"))
    shared, own = kv(units, prompts * PROMPT), kv(units * rows, WIDTH)
    here = ids(units * rows, WIDTH)

    def run(q, kvs, of_prompt, owner, start, do):
        visible = SameId(of_prompt, owner), SameId(start, start, causal=True)
        attend = lambda q, kvs: attention.attend_to(q, list(zip(kvs, visible, strict=True)), how)
        out, backward = jax.vjp(attend, q, kvs)
        return out, backward(do)

    return compiled(run, mesh, q, [shared, own], here, ids(units, prompts * PROMPT), here, q)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hardware", default="v5e-4")
    devices = np.array(devices_of(machine(parser.parse_args().hardware)))
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
        for how in ("xla", "auto"):
            units = shape[0] * shape[1]
            say(mesh=shape, attention=how, units=units, **on_mesh(mesh, how, units, rows=2, prompts=4))


if __name__ == "__main__":
    main()
