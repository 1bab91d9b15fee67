"""The verb `plan` beside the compiler's own count of memory.

    python benchmarks/checks/plan_against_compiler.py            all rows, a process each; v5e rows need libtpu, no TPU
    python benchmarks/checks/plan_against_compiler.py --held-out rows fixed before any was compiled: six of a CPU, one of a v5e
    python benchmarks/checks/plan_against_compiler.py NAME ...   some of them

A row compiles rollout, scoring and update of one configuration on pretended devices and prints, for each, the compiler's
bytes a device (arguments + results - aliased + temporaries), the plan's, and their ratio.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = 2**20


class Row(NamedTuple):
    devices: str  # a number of pretended CPUs, or a TPU topology
    model: dict
    changes: dict


def lengths(prompt: int, width: int, **changes) -> dict:
    return {
        "data.prompt_buckets": (prompt,), "rollout.max_new_tokens": width, "rollout.response_buckets": (width,),
        "rollout.rescore": True, **{k.replace("__", "."): v for k, v in changes.items()},
    }  # fmt: skip


QWEN2 = dict(vocab_size=50000, d_model=768, n_layers=6, n_heads=12, n_kv_heads=2, head_dim=64, d_ff=2048,
             attention_bias="qkv", qk_norm="none", tied_head=True)  # fmt: skip
OLMO2 = dict(vocab_size=32000, d_model=1024, n_layers=3, n_heads=16, n_kv_heads=16, head_dim=64, d_ff=2816,
             qk_norm="whole", norm_after=True, tied_head=False)  # fmt: skip
QWEN3 = dict(vocab_size=40960, d_model=1280, n_layers=10, n_heads=10, n_kv_heads=5, head_dim=128, d_ff=3584,
             tied_head=True)  # fmt: skip
LLAMA = dict(vocab_size=64000, d_model=1536, n_layers=4, n_heads=12, n_kv_heads=4, head_dim=128, d_ff=5120,
             qk_norm="none", tied_head=False)  # fmt: skip
ROWS = {
    "qwen2, 2 x data": Row("2", QWEN2, lengths(64, 640, data__prompts_per_step=16, rollout__group=8,
        rollout__slots=32, optim__micro_rows=16, optim__micro_prompts=2, mesh__data=2)),
    "olmo2, 4 x fsdp": Row("4", OLMO2, lengths(256, 1024, data__prompts_per_step=16, rollout__group=4,
        rollout__slots=24, optim__micro_rows=16, optim__micro_prompts=4, mesh__fsdp=4)),
    "qwen3, 2 x data, 2 x fsdp, remat": Row("4", QWEN3 | dict(remat=True, scan=True), lengths(128, 1536,
        data__prompts_per_step=8, rollout__group=16, rollout__slots=16, optim__micro_rows=16,
        optim__micro_prompts=4, mesh__data=2, mesh__fsdp=2)),
    "llama, 2 x tensor": Row("2", LLAMA, lengths(192, 768, data__prompts_per_step=4, rollout__group=8,
        rollout__slots=16, optim__micro_rows=8, optim__micro_prompts=1, mesh__tensor=2)),
    "llama, 8 x fsdp, remat": Row("8", LLAMA | dict(d_model=896, n_heads=14, n_kv_heads=2, head_dim=64, d_ff=3072,
        n_layers=8, remat=True, scan=True), lengths(96, 768, data__prompts_per_step=16, rollout__group=4,
        rollout__slots=16, optim__micro_rows=8, optim__micro_prompts=8, mesh__fsdp=8)),
    "qwen3, 2 x fsdp, 2 x tensor": Row("4", QWEN3 | dict(n_layers=4, n_kv_heads=2), lengths(160, 1200,
        data__prompts_per_step=8, rollout__group=8, rollout__slots=32, optim__micro_rows=8, optim__micro_prompts=2,
        mesh__fsdp=2, mesh__tensor=2)),
    "v5e: llama, 4 x fsdp, remat": Row("v5e:2x2", LLAMA | dict(n_layers=2, remat=True, compute_dtype="bfloat16", attention="xla"),
        lengths(512, 2048, data__prompts_per_step=16, rollout__group=8, rollout__slots=32, optim__micro_rows=8,
        optim__micro_prompts=4, mesh__fsdp=4)),
    "v5e: qwen3, 2 x data, 2 x fsdp, remat": Row("v5e:2x2", QWEN3 | dict(n_layers=3, remat=True, scan=True, compute_dtype="bfloat16", attention="xla"),
        lengths(256, 3072, data__prompts_per_step=8, rollout__group=8, rollout__slots=16, optim__micro_rows=4,
        optim__micro_prompts=4, mesh__data=2, mesh__fsdp=2)),
    # These six were held out once; the formulas have seen them since.
    "qwen2, 1 device, short rows": Row("1", QWEN2 | dict(vocab_size=36000, d_model=640, n_layers=4,
        n_heads=10, d_ff=1792), lengths(128, 448, data__prompts_per_step=8, rollout__group=6,
        optim__micro_rows=12, optim__micro_prompts=2)),
    "olmo2, 2 x fsdp, remat": Row("2", OLMO2 | dict(vocab_size=50000, d_model=768, n_layers=4, n_heads=12,
        n_kv_heads=12, d_ff=2304, remat=True), lengths(64, 1280, data__prompts_per_step=8, rollout__group=5,
        rollout__slots=20, optim__micro_rows=10, optim__micro_prompts=2, mesh__fsdp=2)),
    "llama, 2 x data, 2 x tensor": Row("4", LLAMA | dict(vocab_size=30000, d_model=1024, n_layers=5,
        n_heads=16, n_kv_heads=8, head_dim=64, d_ff=3584), lengths(320, 896, data__prompts_per_step=12,
        rollout__group=4, rollout__slots=12, optim__micro_rows=8, optim__micro_prompts=2, mesh__data=2, mesh__tensor=2)),
    "qwen3, 4 x data, remat": Row("4", QWEN3 | dict(vocab_size=24000, d_model=896, n_layers=7, n_heads=14,
        n_kv_heads=2, head_dim=64, d_ff=2560, remat=True, scan=True), lengths(96, 2048, data__prompts_per_step=8,
        rollout__group=12, rollout__slots=24, optim__micro_rows=12, optim__micro_prompts=4, mesh__data=4)),
    "qwen3, 2 x data, 2 x fsdp, 2 x tensor": Row("8", QWEN3 | dict(vocab_size=60000, d_model=1024,
        n_layers=5, n_heads=8, n_kv_heads=4, d_ff=3072), lengths(192, 704, data__prompts_per_step=8,
        rollout__group=8, rollout__slots=32, optim__micro_rows=8, optim__micro_prompts=4, mesh__data=2, mesh__fsdp=2,
        mesh__tensor=2)),
    "llama, 4 x fsdp, wide vocabulary": Row("4", LLAMA | dict(vocab_size=128000, d_model=512, n_layers=6,
        n_heads=8, n_kv_heads=4, head_dim=64, d_ff=1792), lengths(224, 576, data__prompts_per_step=12,
        rollout__group=8, rollout__slots=48, optim__micro_rows=16, optim__micro_prompts=4, mesh__fsdp=4)),
    # So were these.
    "olmo2, 2 x data, 2 x fsdp": Row("4", OLMO2 | dict(vocab_size=48000, d_model=896, n_heads=14, n_kv_heads=14,
        d_ff=2432), lengths(128, 1088, data__prompts_per_step=8, rollout__group=8, rollout__slots=16,
        optim__micro_rows=8, optim__micro_prompts=4, mesh__data=2, mesh__fsdp=2)),
    "llama, 2 x fsdp, 2 x tensor, remat": Row("4", LLAMA | dict(vocab_size=72000, d_model=768, n_heads=12,
        n_kv_heads=4, head_dim=64, d_ff=2688, remat=True), lengths(256, 960, data__prompts_per_step=8, rollout__group=4,
        rollout__slots=16, optim__micro_rows=8, optim__micro_prompts=2, mesh__fsdp=2, mesh__tensor=2)),
    "qwen2, 2 x fsdp, short rows": Row("2", QWEN2 | dict(vocab_size=30000, d_model=896, n_layers=4, n_heads=14,
        d_ff=2304), lengths(96, 512, data__prompts_per_step=8, rollout__group=8, rollout__slots=32,
        optim__micro_rows=16, optim__micro_prompts=2, mesh__fsdp=2)),
    "qwen3, 1 device, remat": Row("1", QWEN3 | dict(vocab_size=56000, d_model=768, n_layers=6, n_heads=6,
        n_kv_heads=3, d_ff=2048, remat=True, scan=True), lengths(192, 1664, data__prompts_per_step=6, rollout__group=4,
        optim__micro_rows=4, optim__micro_prompts=1)),
    "llama, 4 x tensor": Row("4", LLAMA | dict(vocab_size=36000, d_model=1024, n_heads=16, head_dim=64,
        d_ff=4096), lengths(64, 832, data__prompts_per_step=8, rollout__group=6, rollout__slots=24,
        optim__micro_rows=6, optim__micro_prompts=1, mesh__tensor=4)),
    "qwen3, 2 x data, 4 x fsdp, remat": Row("8", QWEN3 | dict(vocab_size=64000, d_model=1024, n_layers=8,
        n_heads=16, n_kv_heads=8, head_dim=64, d_ff=2816, remat=True, scan=True), lengths(160, 1280,
        data__prompts_per_step=16, rollout__group=4, rollout__slots=32, optim__micro_rows=16, optim__micro_prompts=8,
        mesh__data=2, mesh__fsdp=4)),
}  # fmt: skip

# Fixed, and committed, before any of them was compiled; no formula has seen them.
HELD_OUT = {
    "held out: qwen2, 2 x data, 2 x fsdp": Row("4", QWEN2 | dict(vocab_size=44000, d_model=832, n_layers=5, n_heads=13,
        n_kv_heads=1, d_ff=2240), lengths(160, 720, data__prompts_per_step=8, rollout__group=6, rollout__slots=24,
        optim__micro_rows=12, optim__micro_prompts=4, mesh__data=2, mesh__fsdp=2)),
    "held out: olmo2, 1 device, remat": Row("1", OLMO2 | dict(vocab_size=28000, d_model=768, n_layers=5, n_heads=12,
        n_kv_heads=12, d_ff=2048, remat=True), lengths(96, 1408, data__prompts_per_step=6, rollout__group=4,
        rollout__slots=12, optim__micro_rows=4, optim__micro_prompts=1)),
    "held out: llama, 2 x tensor, wide vocabulary": Row("2", LLAMA | dict(vocab_size=96000, d_model=640, n_layers=4,
        n_heads=10, n_kv_heads=2, head_dim=64, d_ff=2240), lengths(128, 640, data__prompts_per_step=8, rollout__group=4,
        rollout__slots=16, optim__micro_rows=8, optim__micro_prompts=2, mesh__tensor=2)),
    "held out: qwen3, 4 x fsdp, remat": Row("4", QWEN3 | dict(vocab_size=52000, d_model=1152, n_layers=6, n_heads=9,
        n_kv_heads=3, d_ff=3200, remat=True, scan=True), lengths(224, 1792, data__prompts_per_step=8, rollout__group=4,
        rollout__slots=16, optim__micro_rows=8, optim__micro_prompts=4, mesh__fsdp=4)),
    "held out: llama, 2 x data, 2 x fsdp, 2 x tensor, remat": Row("8", LLAMA | dict(vocab_size=40000, d_model=896,
        n_layers=5, n_heads=14, n_kv_heads=2, head_dim=64, d_ff=3072, remat=True), lengths(192, 1152,
        data__prompts_per_step=8, rollout__group=8, rollout__slots=16, optim__micro_rows=8, optim__micro_prompts=4,
        mesh__data=2, mesh__fsdp=2, mesh__tensor=2)),
    "held out: qwen3, 8 x data, short rows": Row("8", QWEN3 | dict(vocab_size=20000, d_model=640, n_layers=5, n_heads=10,
        n_kv_heads=5, head_dim=64, d_ff=1920), lengths(64, 384, data__prompts_per_step=16, rollout__group=8,
        rollout__slots=64, optim__micro_rows=32, optim__micro_prompts=8, mesh__data=8)),
    # Beyond the six: a TPU, with the attention kernel.
    "held out: v5e: qwen3, 4 x fsdp, remat, kernel": Row("v5e:2x2", QWEN3 | dict(vocab_size=64000, n_layers=4, d_model=1024,
        n_heads=8, n_kv_heads=4, d_ff=3072, remat=True, scan=True, compute_dtype="bfloat16"), lengths(512, 2048,
        data__prompts_per_step=16, rollout__group=4, rollout__slots=32, optim__micro_rows=8, optim__micro_prompts=4,
        mesh__fsdp=4)),
}  # fmt: skip


def measure(name: str) -> list[dict]:
    """Compile one row; in a process of its own, since devices cannot be pretended twice."""
    from tpu_compile import compile_phase, report

    from urlvr_jax import config as config_lib
    from urlvr_jax.models.transformer import ModelConfig
    from urlvr_jax.planning import memory
    from urlvr_jax.runtime.engine import Engine

    row, out = (ROWS | HELD_OUT)[name], []
    c = config_lib.default()
    c.update_from_flattened_dict(row.changes)
    for key in ("remat", "scan", "compute_dtype"):
        c.model[key] = row.model.get(key, c.model[key])
    if row.devices.isdigit():
        import jax

        platform, devices = "cpu", jax.devices()
    else:
        from jax.experimental import topologies

        platform, devices = "tpu", topologies.get_topology_desc(row.devices, "tpu").devices
    config_lib.validate(c, len(devices))
    model = memory.Model(ModelConfig(rope_theta=1e6, norm_eps=1e-6, **row.model))
    engine = Engine(c, model.config, [0], devices)
    for phase in ("update", "score", "rollout"):
        planned = dict(memory.PHASES[phase](c, model, platform))
        planned.pop("optimizer", None) if phase == "score" else None
        compiled = report(compile_phase(engine, c, phase))["total"]
        total = sum(planned.values())
        out.append(
            {"row": name, "phase": phase, "compiled": compiled, "planned": total, "ratio": total / compiled,
             "parts": planned}
        )  # fmt: skip
        print(json.dumps(out[-1]), flush=True)
    return out


def main() -> None:
    if sys.argv[1:2] == ["--row"]:
        measure(sys.argv[2])
        return
    names = {(): list(ROWS), ("--held-out",): list(HELD_OUT)}.get(tuple(sys.argv[1:]), sys.argv[1:])
    table = [
        "| configuration | phase | compiler, MiB | plan, MiB | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in names:
        devices = (ROWS | HELD_OUT)[name].devices
        if not devices.isdigit() and importlib.util.find_spec("libtpu") is None:
            print(f"{name}: left out, libtpu is not installed")
            continue
        environment = dict(
            os.environ, JAX_PLATFORMS="cpu", PYTHONPATH=str(ROOT), ALLOW_MULTIPLE_LIBTPU_LOAD="1"
        )
        if devices.isdigit():
            environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        done = subprocess.run(
            [sys.executable, __file__, "--row", name],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for line in done.stdout.splitlines():
            x = json.loads(line)
            table.append(
                f"| {name} | {x['phase']} | {x['compiled'] / MIB:.0f} | {x['planned'] / MIB:.0f} | {x['ratio']:.2f} |"
            )
            print(line, flush=True)
    print("\n".join(table))


if __name__ == "__main__":
    main()
