"""The compiler's own bytes a device for a run's programs, beside the estimate.

In: a configuration and devices, which need not be here. Out: for each program its `memory_analysis()`, the
estimate, their ratio, and the collectives in it. Nothing is run and no weights are read.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator

import jax
from jax.experimental import topologies

from urlvr_jax import config as config_lib
from urlvr_jax import validation
from urlvr_jax.devices import settle
from urlvr_jax.errors import UserError
from urlvr_jax.planning import program_text
from urlvr_jax.planning.machines import Machine
from urlvr_jax.planning.memory import PROGRAMS, open_model, phases
from urlvr_jax.planning.report import in_words
from urlvr_jax.runtime.engine import Engine

A_HOST = 8  # GPUs of a host

# What XLA has to know of an H100 or H200 (SXM) to compile for it.
GPU = """gpu_device_info {{
threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
memory_bandwidth: {bandwidth:.0f} l2_cache_size: 52428800
clock_rate_ghz: 1.98 device_memory_size: {memory:.0f} shared_memory_per_block_optin: 232448
cuda_compute_capability {{ major: 9 }} registers_per_core_limit: 65536 registers_per_block_limit: 65536 }}
runtime_version {{ major: 12 minor: 8 }} platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 8 }}
device_description_str: "NVIDIA {name}" """


def devices_of(machine: Machine | None) -> list:
    """Devices to compile for: a machine's, which need not be here, or without one this process's own.

    Raises UserError where the installed jax cannot compile for the machine.
    """
    if machine is None:
        return jax.devices()
    jax.config.update("jax_platforms", "cpu")  # leave this host's accelerators alone
    extra = {"tpu": "tpu", "gpu": "cuda"}[machine.chip.platform]
    try:
        devices = (_tpu if extra == "tpu" else _gpu)(machine)
    except (RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"--compile for {machine.name} needs its compiler, not the machine: pip install "
            f"'urlvr_jax[{extra}]' (jax says: {error!s:.300})"
        ) from None
    if len(devices) != machine.devices:
        raise UserError(
            f"--compile for {machine.name}: this compiler counts {len(devices)} devices, the plan "
            f"{machine.devices}"
        )
    return devices


def _tpu(machine: Machine) -> list:
    """A TPU slice by its layout: 4x4, 2x2x4; sizes are 1 or powers of two from 4."""
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # its lock is for chips; there are none
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # nor is a cloud's metadata server
    sides = [2, 2] if machine.kind in ("v5e", "v6e") else [2, 2, 1]
    host = {}
    if machine.devices == 1:
        sides = [1, 1]
        host = {"chips_per_host_bounds": (1, 1, 1)}
    while math.prod(sides) < machine.devices:
        shortest = max(i for i, side in enumerate(sides) if side == min(sides))
        sides[shortest] *= 2
    if math.prod(sides) != machine.devices:
        raise UserError(f"--compile for {machine.name}: give a slice of 1, 4, 8, 16, ... chips")
    layout = "x".join(map(str, sides))
    return topologies.get_topology_desc(f"{machine.kind}:{layout}", "tpu", **host).devices


def _gpu(machine: Machine) -> list:
    """GPUs in hosts of eight: `1x2x8` is two hosts."""
    hosts = max(1, machine.devices // A_HOST)
    chip = machine.chip
    target = GPU.format(bandwidth=chip.bandwidth, memory=chip.memory, name=machine.kind.upper())
    layout = f"1x{hosts}x{machine.devices // hosts}"
    return topologies.get_topology_desc(machine.kind, "cuda", target_config=target, topology=layout).devices


def programs(c, devices: list) -> Iterator[tuple[str, dict]]:
    """(phase, what the compiler says) of each program in its largest buckets, as soon as it is compiled.

    Bytes a device: "argument", "output", "alias" (results in the place of arguments), "temp", their
    "total", and the "estimate"; "ratio" is estimate / total. "collectives", and of a rollout "token": see `program_text`. Where XLA
    refuses, mostly for want of memory, "error" stands instead. Raises ConfigError for a mesh that does
    not fit the devices.
    """
    platform = devices[0].platform
    c, _ = settle(c, len(devices))
    validation.validate(c, len(devices), platform)
    model = open_model(c)
    engine = Engine(c, model.config, [0], devices)
    for phase in phases(c):
        estimate = sum(PROGRAMS[phase](c, model, platform).values())
        began = time.perf_counter()
        try:
            executable = _executable(engine, phase)
        except jax.errors.JaxRuntimeError as error:
            found = {"estimate": estimate, "error": f"{error!s:.1000}"}
        else:
            found = {**sizes(executable), "estimate": estimate}
            found["ratio"] = estimate / found["total"]
            hlo = executable.as_text()
            found["collectives"] = program_text.collectives(hlo)
            found["token"] = program_text.token_loop(hlo)
        yield phase, found | {"seconds": time.perf_counter() - began}


def _executable(engine: Engine, phase: str):
    c = engine.c
    prompt_width = c.data.prompt_buckets[-1]
    if phase == "rollout":
        return engine.sampler(engine.rollout_shape(prompt_width))
    compiled = engine.scorer if phase == "score" else engine.updater
    return compiled(prompt_width, config_lib.response_buckets(c)[-1])


def sizes(executable) -> dict[str, int]:
    """Bytes a device of a compiled program, by kind."""
    m = executable.memory_analysis()
    found = {
        "argument": m.argument_size_in_bytes,
        "output": m.output_size_in_bytes,
        "alias": m.alias_size_in_bytes,
        "temp": m.temp_size_in_bytes,
    }
    return found | {"total": found["argument"] + found["output"] - found["alias"] + found["temp"]}


def text(phase: str, found: dict) -> str:
    """A program's lines of the verb `plan`."""
    estimate = in_words(found["estimate"])
    if "error" in found:
        return f"{phase}: estimate {estimate} a device; the compiler refuses: {found['error']}"
    own_results = found["output"] - found["alias"]
    lines = [
        f"{phase}: compiler {in_words(found['total'])} a device, estimate {estimate}, "
        f"ratio {found['ratio']:.2f}; compiled in {found['seconds']:.0f} s",
        f"    {in_words(found['argument'])} arguments, {in_words(own_results)} results, "
        f"{in_words(found['temp'])} temporaries",
    ]
    for kind, moved in found["collectives"].items():
        lines.append(f"    {moved['count']} x {kind}, {in_words(moved['bytes'])} together")
    if token := found["token"]:
        lines.append(
            f"    a decoded token: {token['kernels']} kernels, {token['kernels_a_layer']} a layer, "
            f"{in_words(token['copied_bytes'])} copied, {token['collectives']} collectives"
        )
    return "\n".join(lines)
