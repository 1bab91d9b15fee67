"""What one accelerator reaches on a Qwen3-1.7B shape: ceilings, decoding, scoring, updates, beside transformers.

    python benchmarks/accelerator.py --out result.json     one H200, about ten minutes
    python benchmarks/accelerator.py --layers 4            a model of 4 layers, which compiles in a tenth of the time
    python benchmarks/accelerator.py --scan                `model.scan`: score and update compile one layer
    python benchmarks/accelerator.py --new_tokens 512      responses of 512 tokens
    python benchmarks/accelerator.py --alone               without transformers
    python benchmarks/accelerator.py --profile             and the kernels that take the longest
    python benchmarks/accelerator.py --small               the same code on a CPU, a tiny shape, float32

64 prompts of 256 tokens x 8 responses of 1024, random weights, no end token, bfloat16 products. Each phase has
its own time limit, and all together `--minutes`; what is done is printed and written at once, so a run that is
cut short loses only what it had not begun. Phases of one system share a process; one that dies or takes too
long is started again with the phases left.

- decoding is set against the bytes it must read at the measured rate of a copy: the weights once a step, and
  the keys and values of each row (of the prompts once a group where every row has a slot);
- score and update are set against the measured rate of a product: 2 and 6 FLOP a parameter and token, and
  attention; prompts are counted once a group, recomputation not at all.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "speed"), str(HERE.parent)]

from accelerator_phases import (  # noqa: E402
    FULL_SHARE,
    LARGE,
    SYSTEMS,
    cost_of,
    plan_text,
    rollout_plan,
    rows_of,
    update_plan,
    work_as_child,
    work_of,
)

# Limit in seconds of each phase, with all layers. Their order is that of what should not be lost: see `order`.
OURS = {"ceilings": 90, "rollout": 270, "update": 200, "score": 100, "step": 120}
GENERATE_S = 130  # its process takes most of a minute to start
START_S = 40  # of a limit, whatever the number of layers


class Worker:
    """A child process that is asked for one phase after the other."""

    def __init__(self, system: str, asked: list[str], folder: pathlib.Path):
        self.log = folder / f"{system}.log"
        command = [interpreter(system), str(pathlib.Path(__file__).resolve()), "--child", system]
        command += ["--cache", str(folder / "xla"), *asked]
        environment = dict(os.environ, PYTHONUNBUFFERED="1", HF_HUB_OFFLINE="1")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def ask(self, phase: str, limit_s: float) -> dict:
        """The phase's numbers, or {"error"}; after an error this worker is of no use."""
        try:
            self.process.stdin.write(phase + "\n")
            self.process.stdin.flush()
            line = self.lines.get(timeout=limit_s)
        except queue.Empty:
            said = " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-4:])
            return {"error": f"not done in {limit_s:.0f} s; the end of its log: {said}"}
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        self.process.wait()
        return {"error": self.log.read_text(errors="replace").strip()[-1500:]}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def interpreter(system: str) -> str:
    """This one, unless the peers' environment (speed/peers/setup.sh) has torch."""
    from children import interpreter as of_peer
    from specs import HOME

    return of_peer("transformers") if system != "ours" and (HOME / "torch").is_dir() else sys.executable


def with_rates(phase: str, entry: dict, result: dict, work: dict) -> dict:
    """Add tokens/s and the shares of the ceilings."""
    ceilings, cost = result["phases"].get("ceilings", {}), cost_of(work)
    if "seconds" not in entry:
        return entry
    rows, width = entry.get("batch", rows_of(work)), work["new_tokens"]
    tokens, pairs = rows * width, rows * width * (width + 1) // 2
    entry["tokens_per_s"] = tokens / entry["seconds"]
    if "flops" not in ceilings:
        return entry
    if phase in ("score", "update"):
        entry["useful_flops"] = cost.flops(phase, tokens, pairs)
        entry["share_of_product"] = entry["useful_flops"] / entry["seconds"] / ceilings["flops"]
    if phase == "rollout" or "batch" in entry:
        slots = entry.get("slots", rows)
        shared = phase == "rollout" and slots == rows
        steps = width * -(-rows // slots)
        weights = steps * (cost.layer_parameters + cost.head_parameters)
        seen = pairs + (work["prompts"] if shared else rows) * width * (work["prompt_len"] - 1)
        must_read = cost.item_bytes * (weights + cost.layers * cost.kv_width * seen)
        entry |= {"bound_s": must_read / ceilings["bytes"], "ms_a_step": 1e3 * entry["seconds"] / steps}
        entry["share_of_bandwidth"] = entry["bound_s"] / entry["seconds"]
    return entry


def line_of(phase: str, entry: dict) -> str:
    if "error" in entry:
        return f"{phase}: {entry['error']}"
    if phase == "kernels":
        return "\n".join(kernels_of(name, found) for name, found in entry["kernels"].items())
    if phase == "ceilings":
        return (
            f"ceilings of {entry['device']}: product {entry['flops'] / 1e12:.3f} TFLOP/s, "
            f"copy {entry['bytes'] / 1e9:.0f} GB/s (read and write)"
        )
    text = f"{phase}: {entry['seconds']:.2f} s, {entry['tokens_per_s']:.0f} tokens/s"
    for key, words in (
        ("share_of_product", "of the product's rate"),
        ("share_of_bandwidth", "of the bandwidth bound"),
    ):
        if key in entry:
            text += f", {entry[key]:.1%} {words}"
    for key, words in (
        ("ms_a_step", "ms a step"),
        ("compile_s", "s to compile"),
        ("temporary_gib", "GiB temporary"),
        ("peak_gib", "GiB at the peak so far"),
    ):
        if entry.get(key) is not None:
            text += f", {entry[key]:.2f} {words}"
    return text


def kernels_of(phase: str, found: list[dict]) -> str:
    each = (f"    {k['seconds']:8.4f} s {k['count']:7d} x {k['kernel']:.100}" for k in found)
    return "\n".join([f"the longest kernels of {phase}:", *each])


def plans(work: dict, ceilings: dict) -> None:
    slots, rows = ceilings["slots"], rows_of(work)
    print(
        f"memory of the device: {ceilings['memory_gib']:.4g} GiB, {FULL_SHARE:.0%} of it may be planned for"
    )
    for n in sorted({rows, slots}, reverse=True):
        print(plan_text(f"decoding with {n} slots", rollout_plan(work, n)))
    print(plan_text("an update", update_plan(work)), flush=True)


def order(work: dict, profile: bool, alone: bool) -> list[tuple[str, str, float]]:
    """(system, phase, limit): the whole step, which is the sum of others, comes after most of the peer's."""
    share = work["model"]["n_layers"] / LARGE["model"]["n_layers"]
    limited = lambda seconds: START_S + (seconds - START_S) * share
    ours = [("ours", name, limited(limit)) for name, limit in OURS.items()]
    peers = [("transformers", f"generate {n}", limited(GENERATE_S)) for n in work["batches"]]
    profile = [("ours", "kernels", limited(OURS["update"]))] if profile else []
    if alone:
        return [*ours[:-1], *profile, ours[-1]]
    return [*ours[:-1], *profile, *peers[:-1], ours[-1], peers[-1]]


def asked_work(options) -> dict:
    return work_of(options.small, options.layers, options.new_tokens, options.scan)


def measure(options) -> dict:
    """Every phase in turn; the result so far is written after each."""
    work, ends = asked_work(options), time.monotonic() + 60 * options.minutes
    asked = ["--layers", str(options.layers), "--new_tokens", str(options.new_tokens)]
    asked += ["--small"] * options.small + ["--scan"] * options.scan
    result, worker, runs = {"work": work, "phases": {}}, None, ""
    with tempfile.TemporaryDirectory(prefix="accelerator-") as folder:
        for system, phase, limit in order(work, options.profile, options.alone):
            left = ends - time.monotonic()
            if left < 5:
                entry = {"error": "no time left"}
            else:
                if worker is None or runs != system:  # one at a time: each takes the device's whole memory
                    if worker:
                        worker.close()
                    worker, runs = Worker(system, asked, pathlib.Path(folder)), system
                entry = worker.ask(phase, min(limit, left))
                if "error" in entry:
                    worker.close()
                    worker = None
            result["phases"][phase] = with_rates(phase, entry, result, work)
            print(line_of(phase, entry), flush=True)
            if phase == "ceilings" and "error" not in entry:
                plans(work, entry)
            if options.out:
                options.out.write_text(json.dumps(result, indent=1) + "\n")
        if worker:
            worker.close()
    done = result["phases"]
    theirs = max((e.get("tokens_per_s", 0) for n, e in done.items() if n.startswith("generate")), default=0)
    if theirs and "tokens_per_s" in done["rollout"]:
        print(f"decoding: {done['rollout']['tokens_per_s'] / theirs:.2f} x transformers at its best batch")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--layers", type=int, default=0, help="of the model; default: all")
    parser.add_argument("--new_tokens", type=int, default=0, help="of a response; default: 1024")
    parser.add_argument("--scan", action="store_true", help="model.scan")
    parser.add_argument("--alone", action="store_true", help="this package only")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--child", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work_as_child(options.child, asked_work(options), options.cache)
        return 0
    measured = measure(options)["phases"]
    return int(any("error" in measured[phase] for phase in OURS))


if __name__ == "__main__":
    sys.exit(main())
