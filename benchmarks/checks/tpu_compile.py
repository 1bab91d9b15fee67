"""Compile a configuration's rollout and update ahead of time for TPUs that are not here, and read what XLA says.

    python benchmarks/checks/tpu_compile.py --config experiments/paper/dapo.py:v5e-16 --topology v5e:4x4

Needs `pip install 'urlvr_jax[tpu]'` and no TPU: libtpu brings the compiler. For each executable: seconds to compile,
bytes a device by kind against the chip's memory, and the collectives in the compiled program.
`--layers N` cuts the model's depth, `--windows 2` compiles the decoding loop for no past and for the longest past only:
what a loop needs is what its largest branch needs, and each branch takes as long to compile as another.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import re
import time
from collections import Counter

COLLECTIVES = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
ITEM = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1, "f16": 2, "s8": 1, "u8": 1, "f64": 8, "s64": 8}


def load_config(text: str):
    """FILE or FILE:argument -> configuration."""
    file, _, argument = text.partition(":")
    spec = importlib.util.spec_from_file_location("experiment", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(argument) if argument else module.get_config()


def collectives(hlo: str) -> dict[str, dict]:
    """{kind: {"count", "bytes" of the results as written, a loop's once}} of compiled HLO text."""
    count, size = Counter(), Counter()
    for result, kind in re.findall(rf"= (.+?) ({COLLECTIVES})(?:-start)?\(", hlo):
        count[kind] += 1
        for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", result):
            elements = 1
            for d in filter(None, dims.split(",")):
                elements *= int(d)
            size[kind] += elements * ITEM.get(dtype, 4)
    return {kind: {"count": count[kind], "bytes": size[kind]} for kind in sorted(count)}


def report(executable) -> dict:
    """Bytes a device by kind, and the collectives."""
    m = executable.memory_analysis()
    argument, output, temp, alias = (
        m.argument_size_in_bytes, m.output_size_in_bytes, m.temp_size_in_bytes, m.alias_size_in_bytes,
    )  # fmt: skip
    return {
        "argument": argument,
        "output": output,
        "alias": alias,
        "temp": temp,
        "total": argument + output - alias + temp,
        "code": m.generated_code_size_in_bytes,
        "collectives": collectives(executable.as_text()),
    }


def compile_phase(engine, c, phase: str):
    from urlvr_jax import config as config_lib

    prompt_width, width = c.data.prompt_buckets[-1], c.rollout.response_buckets[-1]
    if phase == "rollout":
        return engine.sampler(
            c.data.prompts_per_step, prompt_width, c.rollout.group, config_lib.slots(c),
            c.rollout.temperature, 1.0, c.rollout.max_new_tokens,
        )  # fmt: skip
    return engine.scorer(prompt_width, width) if phase == "score" else engine.updater(prompt_width, width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--topology", default="v5e:4x4")
    parser.add_argument("--phases", default="update,rollout")
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument(
        "--windows", type=int, default=0, help="of a rollout's window sizes only so many, the largest too"
    )
    parser.add_argument("--set", nargs="*", default=[], help="dotted.key=value")
    parser.add_argument("--out", default="")
    parser.add_argument("--hlo", default="", help="folder for the compiled programs' text")
    options = parser.parse_args()

    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # its lock is for chips; there are none
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    from jax.experimental import topologies

    from urlvr_jax import config as config_lib
    from urlvr_jax.planning import memory
    from urlvr_jax.runtime.engine import Engine

    c = load_config(options.config)
    for text in options.set:
        key, value = text.split("=", 1)
        c.update_from_flattened_dict({key: json.loads(value)})
    devices = topologies.get_topology_desc(options.topology, "tpu").devices
    config_lib.validate(c, len(devices))
    model_config = memory.open_model(c).config
    if options.layers:
        model_config = dataclasses.replace(model_config, n_layers=options.layers)
    if options.windows:
        from urlvr_jax.rollout import slots

        every = slots.window_sizes
        slots.window_sizes = lambda blocks: every(blocks)[: options.windows - 1] + [blocks]
    engine = Engine(c, model_config, [0], devices)
    result = {"device": devices[0].device_kind, "devices": len(devices), "layers": model_config.n_layers}
    for phase in options.phases.split(","):
        began = time.perf_counter()
        try:
            executable = compile_phase(engine, c, phase)
        except Exception as error:  # noqa: BLE001  XLA's refusal is the finding
            result[phase] = {"error": str(error)[:3000], "seconds": round(time.perf_counter() - began, 1)}
        else:
            result[phase] = report(executable) | {"seconds": round(time.perf_counter() - began, 1)}
            if options.hlo:
                with open(os.path.join(options.hlo, f"{phase}.txt"), "w") as f:
                    f.write(executable.as_text())
        print(phase, json.dumps(result[phase], indent=1), flush=True)
        if options.out:
            with open(options.out, "w") as f:
                json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
