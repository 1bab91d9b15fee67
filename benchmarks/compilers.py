"""What the compilers say of the paper's setting with all its layers, on machines that are not here, beside the plan.

    python benchmarks/compilers.py --cuda PYTHON --tpu PYTHON --out result.json    hours on two cores
    python benchmarks/compilers.py --cuda PYTHON --only h100-8,h100-16

PYTHON: interpreters of environments with `pip install 'urlvr_jax[cuda]'` and `'urlvr_jax[tpu]'`; their compilers are
needed, not the machines. Each setting is a process of `plan --compile --json`; what is done is printed and written at
once, and left out when the same --out is given again. Bytes a device, estimate over compiler, seconds of processor
time to compile, and of a rollout the kernels and copies of a decoded token. No time on a device is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
DAPO, GIB = "experiments/paper/dapo.py", 2**30
WITHIN = 0.15  # of the compiler's bytes an estimate should be

# Written before they were compiled: machine -> (configuration, keys).
SETTINGS = {
    "h100-8": (f"{DAPO}:h100-8", {"model.scan": True, "rollout.rescore": True}),
    "h100-16": (f"{DAPO}:h100-8", {"model.scan": True, "optim.micro_rows": 16}),
    "h100-1": (
        "experiments/lora.py:qwen3-8b",
        {"model.scan": True, "rollout.slots": 96, "rollout.pages": 1200},
    ),
    "h200-1": (DAPO, {"model.scan": True, "rollout.slots": 96, "optim.micro_rows": 4}),
    "v5e-16": (f"{DAPO}:v5e-16", {}),
    "v5p-16": (DAPO, {"model.scan": True, "rollout.slots": 512, "optim.micro_rows": 8}),
}


def asked(name: str, python: str) -> dict:
    """The plan and the compiler's words on one setting, or {"error"}."""
    path, keys = SETTINGS[name]
    command = [python, "-m", "urlvr_jax.main", "plan", "--config", path, "--hardware", name]
    command += ["--compile", "--json", *(f"--config.{key}={value}" for key, value in keys.items())]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        return {"error": done.stderr.strip()[-2000:]}
    found = json.loads(done.stdout)
    return found | {"processor_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def lines_of(name: str, found: dict) -> list[str]:
    """Rows of the table."""
    if "error" in found:
        return [f"| {name} | {found['error'].splitlines()[-1]:.200} |"]
    lines = []
    for phase, said in found["compiled"].items():
        if "error" in said:
            lines.append(f"| {name} | {phase} | refused: {said['error'].splitlines()[0]:.120} |")
            continue
        token = said["token"]
        kernels = f"{token['kernels_a_layer']} a layer, {token['copied_bytes']} B copied" if token else "–"
        moved = sum(entry["bytes"] for entry in said["collectives"].values())
        lines.append(
            f"| {name} | {phase} | {said['total'] / GIB:.2f} | {said['estimate'] / GIB:.2f} | {said['ratio']:.2f}"
            f"{'' if abs(said['ratio'] - 1) <= WITHIN else ' (!)'} | {said['seconds']:.0f} | {moved / 2**20:.0f} | {kernels} |"
        )
    return lines


def main(options) -> int:
    out = pathlib.Path(options.out)
    found = json.loads(out.read_text()) if out.exists() else {}
    print(
        "| machine | program | compiler, GiB | estimate | ratio | compiled in, s | collectives, MiB | a token |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name in options.only.split(",") if options.only else SETTINGS:
        python = options.tpu if name.startswith("v") else options.cuda
        if name not in found and python:
            found[name] = asked(name, python)
            out.write_text(json.dumps(found, indent=1))
        if name in found:
            print("\n".join(lines_of(name, found[name])), flush=True)
    return int(any("error" in each for each in found.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cuda", default="", help="an interpreter whose jax compiles for NVIDIA GPUs")
    parser.add_argument("--tpu", default="", help="one whose jax compiles for TPUs")
    parser.add_argument("--only", default="", help="machines, with commas between")
    parser.add_argument("--out", default="compilers.json", help="result, and what is not to be done again")
    sys.exit(main(parser.parse_args()))
