"""The published models at full size, abstractly: parameters, layout, and one update lowered, not compiled.

    python benchmarks/checks/full_size.py [NAME ...]

Eight pretended devices (data 2, fsdp 2, tensor 2), 64 prompts of up to 1024 tokens, 8 responses each up to
8192 tokens in all or the model's context, bfloat16 compute, `model.remat`, `model.scan`. Nothing is allocated. Exit status 1
if a model takes 20 s of processor time or more.
"""

from __future__ import annotations

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import sys
import time

import numpy as np  # noqa: E402

from urlvr_jax import config as config_lib  # noqa: E402
from urlvr_jax import validation
from urlvr_jax.models import folders  # noqa: E402
from urlvr_jax.runtime import engine, sharding  # noqa: E402

PROMPT, LONGEST, ALLOWED_S = 1024, 8192, 20.0


def only_lowered(mesh, jitted, *args):
    """In place of `engine.compiled`."""
    with sharding.tracing_for(mesh):
        return jitted.lower(*args)


def lower(name: str) -> dict:
    """One update of the model as text, and what it took."""
    began, wall = time.process_time(), time.perf_counter()
    config = folders.model_config(folders.known(name), compute_dtype="bfloat16", remat=True, scan=True)
    response = min(LONGEST, config.max_positions) - PROMPT
    c = config_lib.default()
    c.update_from_flattened_dict(
        {
            "model.remat": True,
            "model.scan": True,
            "model.compute_dtype": "bfloat16",
            "data.prompts_per_step": 64,
            "data.prompt_buckets": (PROMPT,),
            "rollout.max_new_tokens": response,
            "rollout.response_buckets": (response,),
            "optim.micro_rows": 32,
            "mesh.data": 2,
            "mesh.fsdp": 2,
            "mesh.tensor": 2,
        }
    )
    validation.validate(c, 8)
    model = engine.Engine(c, config, (1,))
    text = model.updater(PROMPT, response).as_text()
    return {
        "parameters": sum(int(np.prod(s.shape)) for s in model.shapes.values()),
        "layers": config.n_layers,
        "text_mb": len(text) / 1e6,
        "processor_s": time.process_time() - began,
        "wall_s": time.perf_counter() - wall,
    }


def main(names: list[str]) -> int:
    engine.compiled = only_lowered
    root = folders.known("Qwen2.5-7B").parent
    folders.model_config(folders.known("Qwen2.5-7B"))  # imports
    slow = []
    print("| model | parameters | layers | lowered, MB | processor s | wall s |\n|" + " --- |" * 6)
    for name in names or sorted(p.name for p in root.iterdir()):
        d = lower(name)
        print(
            f"| {name} | {d['parameters']:,} | {d['layers']} | {d['text_mb']:.1f} | {d['processor_s']:.1f} | {d['wall_s']:.1f} |",
            flush=True,
        )
        slow += [name] if d["processor_s"] >= ALLOWED_S else []
    print(f"too slow: {slow}" if slow else f"all below {ALLOWED_S:.0f} s of processor time")
    return bool(slow)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
