"""What the verb `plan` prints: an experiment's memory, and the meshes, slots and seconds of a machine."""

from __future__ import annotations

import math

from urlvr_jax import config as config_lib
from urlvr_jax.devices import alone, settle
from urlvr_jax.planning.machines import USABLE, Machine
from urlvr_jax.planning.memory import GIB, MIB, memory, open_model
from urlvr_jax.planning.meshes import meshes, why_not
from urlvr_jax.planning.seconds import expected, seconds
from urlvr_jax.runtime import sharding


def report(c, machine: Machine | None = None, platform: str = "tpu", count: int = 1) -> dict:
    """All numbers of the plan, ready for JSON; sizes in bytes, times in seconds.

    platform: "cpu", "gpu" or "tpu", and count: devices for an axis of -1, where no machine is named.
    """
    model = open_model(c)
    platform = machine.chip.platform if machine else platform
    problem = ""
    try:
        c, said = settle(c, machine.devices if machine else count)
    except config_lib.ConfigError as error:
        c, said, problem = alone(c), [], str(error)
    devices = math.prod(dict(c.mesh).values())
    own = {
        "mesh": dict(c.mesh),
        "slots": config_lib.slots(c),
        "micro_rows": config_lib.micro_rows(c),
        "rounded": said,
        "problem": problem or why_not(c, model, devices, platform),
    }
    if not own["problem"]:
        own["bytes"] = memory(c, model, platform)
        own["peak"] = max(sum(parts.values()) for parts in own["bytes"].values())
    longest = model.config.max_positions
    if longest and c.data.prompt_buckets[-1] + c.rollout.max_new_tokens > longest:
        own["problem"] = (
            f"prompt and response exceed the model's {longest} positions: lower data.prompt_buckets or rollout.max_new_tokens"
        )
    out = {
        "model": c.model.path,
        "parameters": model.parameters,
        "trained": sum(model.trained.values()),
        "rollouts_a_step": config_lib.rows_per_step(c),
        "configured": own,
    }
    if not machine:
        return out
    chip = machine.chip
    if devices == machine.devices and "peak" in own:
        own["fits"] = own["peak"] <= machine.usable
        own["seconds"] = {
            "expected": expected(c, model, chip),
            "longest": seconds(c, model, chip, c.rollout.max_new_tokens),
        }
    out["hardware"] = {"name": machine.name, "devices": machine.devices, **chip._asdict(), "usable": USABLE}
    out["meshes"] = [
        {
            "mesh": choice.mesh,
            "slots": choice.slots,
            "pages": choice.pages,
            "micro_rows": choice.micro_rows,
            "peak": choice.peak,
            "bytes": choice.memory,
            "seconds": choice.seconds,
        }
        for choice in meshes(c, model, machine)
    ]
    return out


def in_words(size: float) -> str:
    """Bytes as GiB, or as MiB where these are few."""
    return f"{size / GIB:.2f} GiB" if size >= 0.1 * GIB else f"{size / MIB:.2f} MiB"


def text(found: dict) -> str:
    """The report to be read."""
    adapters = f", {found['trained']:,} in adapters" if found["trained"] != found["parameters"] else ""
    lines = [
        f"{found['model']}: {found['parameters']:,} parameters{adapters}, {found['rollouts_a_step']} rollouts a step",
        *_configured(found["configured"]),
    ]
    if "hardware" in found:
        lines += _on_machine(found)
    return "\n".join(lines)


def _shape(mesh: dict) -> str:
    return "x".join(str(mesh[axis]) for axis in sharding.AXES)


def _configured(own: dict) -> list[str]:
    lines = [
        f"configured: mesh {_shape(own['mesh'])} (data x fsdp x tensor), {own['slots']} slots, "
        f"{own['micro_rows']} rows a micro-batch"
    ]
    lines += [f"    {line}" for line in own["rounded"]]
    if own["problem"]:
        lines.append(f"    not possible: {own['problem']}")
    for phase, parts in own.get("bytes", {}).items():
        lines.append(f"    {phase}: {in_words(sum(parts.values()))} a device")
        lines += [f"        {in_words(size):>12}  {name}" for name, size in parts.items() if size]
    if "bytes" in own:
        lines.append("    temporaries are an estimate; --compile asks the compiler")
    return lines


def _on_machine(found: dict) -> list[str]:
    own = found["configured"]
    on = found["hardware"]
    lines = []
    if "fits" in own:
        lines.append(
            f"    {'fits' if own['fits'] else 'does not fit'} {on['name']} "
            f"({on['usable']:.0%} of {on['memory'] / GIB:.1f} GiB)"
        )
        for case, phases in own["seconds"].items():
            each = ", ".join(f"{name} {s:.0f}" for name, s in phases.items())
            lines.append(f"    {case} step: {sum(phases.values()):.0f} s ({each})")
    count = len(found["meshes"])
    lines.append(
        f"{on['name']}, {on['devices']} devices: {count} meshes fit; the quickest by prediction:"
        if count
        else f"{on['name']}, {on['devices']} devices: no mesh fits"
    )
    for choice in found["meshes"][:6]:
        lines.append(
            f"    mesh {_shape(choice['mesh']):>8}  {choice['slots']:>4} slots  "
            f"{'pages ' + str(choice['pages']) + '  ' if choice['pages'] else ''}micro_rows "
            f"{choice['micro_rows']:>4}  {in_words(choice['peak']):>10}  "
            f"{sum(choice['seconds'].values()):6.0f} s a step"
        )
    if count:
        best = found["meshes"][0]
        keys = {f"mesh.{axis}": size for axis, size in best["mesh"].items()}
        keys |= {"rollout.slots": best["slots"], "optim.micro_rows": best["micro_rows"]}
        keys |= {"rollout.pages": best["pages"]} if best["pages"] else {}
        lines.append("    " + " ".join(f"--config.{key}={value}" for key, value in keys.items()))
    return lines
