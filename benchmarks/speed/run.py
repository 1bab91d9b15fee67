"""Rollout, score, update and the whole GRPO step, ours and peers', on the same weights, in one run.

    python benchmarks/speed/run.py --spec tiny                                      ours alone
    python benchmarks/speed/run.py --spec tiny --against transformers,trl,tunix     beside peers, one core
    python benchmarks/speed/run.py --spec my.json --threads 2 --repeats 3 --out result.json
    python benchmarks/speed/run.py --spec tiny --against transformers,trl,tunix --tune      micro-batches first

Specs: tiny, small, lab, qwen3-1.7b, or a JSON file (see specs.py). Peers need their environments:
`benchmarks/speed/peers/setup.sh`, once. Every system is a process of its own, pinned to the same --threads cores;
one repetition of each in turn, medians. Two cold calls come first: what they take beyond warm ones is the
compile time. With the transformers peer, one update on the same recorded rollouts must give the same
parameters; all systems must give the same mean log-probability to a fixed probe. `--tune` only tries
micro-batches, of ours and the peers named (or `--tune trl`: of these alone), and keeps the quickest in
peers/micro_batches.json, which later runs of the spec at as many threads use.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import platform
import sys
import tempfile

import numpy as np
import report
import specs
from children import SYSTEMS, Child, ask_alone

os.environ["JAX_PLATFORMS"] = "cpu"  # of this process, which makes models and compares; not of its children

COLD = 2
TRIES = 2  # warm calls of each micro-batch tried
TABLE = pathlib.Path(__file__).resolve().parent / "peers" / "micro_batches.json"
CANDIDATES = (4, 8, 16, 32, 64)
PROBE_TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}  # of the probe's mean log-probability
TOLERANCE = (
    1e-4  # of parameters after one update, or the learning rate where that is more: Adam's first step
)
CHANGE_TOLERANCE = (
    0.01  # has that size even where a gradient is all rounding. So the update's norm counts too
)


class DisagreementError(AssertionError):
    """Systems that should compute the same do not."""


# ---- one run --------------------------------------------------------------------------------


def measure(name: str, work: dict, systems: list[str], cores: list[int], micro: dict) -> dict:
    """Start every system, check that they agree, time them in turn -> the result."""
    folder = specs.model_folder(work)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary, contextlib.ExitStack() as stack:
        scratch, children, jobs = pathlib.Path(temporary), [], {}
        for system in systems:
            jobs[system] = work | micro.get(system, {})
            if not specs.takes(system, work, jobs[system]["micro_batch"]):
                raise specs.SpecError(
                    f"{system} cannot take micro_batch = {jobs[system]['micro_batch']} rows"
                )
            specs.write_job(jobs[system], folder, len(cores), scratch / system)
            children.append(Child(system, scratch / system))
            stack.callback(children[-1].close)
            say(f"{system}: started in {children[-1].start_s:.0f} s")
        with np.load(scratch / systems[0] / "arrays.npz") as arrays:
            cost = report.Cost.of(folder, work, arrays["prompt_lengths"])
        load = os.getloadavg()
        probe = {c.name: c.ask("score") for c in children}
        agreement = {"probe_logp": compare_probes(probe, PROBE_TOLERANCE[work["dtype"]])}
        cold, warm = collect(children, work["repeats"], probe)
        ceilings = measure_ceilings(children)
        if work["dtype"] == "float32" and "transformers" in systems:
            agreement |= compare_updates({c.name: c for c in children}, scratch, folder, work["lr"])
        entries = {}
        for child in children:
            entry = report.summary(warm[child.name])
            entry |= {
                "compile_s": report.compile_seconds(cold[child.name], entry),
                "start_s": child.start_s,
                "peak_rss_gib": warm[child.name]["step"][-1]["peak_rss_gib"],
                "probe_logp": probe[child.name]["probe_logp"],
                "micro_batch": jobs[child.name]["micro_batch"],
                "score_micro_batch": jobs[child.name]["score_micro_batch"],
                "versions": child.hello["versions"],
                "device": child.hello["device"],
            }
            entries[child.name] = entry
    report.add_shares(entries, cost, ceilings)
    return {
        "spec": name,
        "work": work,
        "threads": len(cores),
        "repeats": work["repeats"],
        "machine": {
            "python": platform.python_version(),
            "load_before": load,
            "load_after": os.getloadavg(),
        },
        "ceilings": ceilings,
        "agreement": agreement,
        "ratios": report.ratios(entries),
        "systems": entries,
    }


def machine() -> dict:
    """Processor, Python and the state of this repository; the load says whether other work ran beside."""
    from urlvr_jax.runtime.workdir import git_state

    info = pathlib.Path("/proc/cpuinfo")
    names = [x.split(":")[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "python": platform.python_version(),
        "git": git_state(),
    }


def collect(children: list[Child], repeats: int, probe: dict):
    """COLD then `repeats` rounds; in each every system in turn, another one first each time."""
    cold = {c.name: {"score": [probe[c.name]], "step": []} for c in children}
    warm = {c.name: {"score": [], "step": []} for c in children}
    for turn in range(COLD + repeats):
        order = children[turn % len(children) :] + children[: turn % len(children)]
        for child in order:
            for command in ("score", "step"):
                reply = ask_alone(children, child, command)
                (cold if turn < COLD else warm)[child.name][command].append(reply)
        steps = {c.name: (warm if turn >= COLD else cold)[c.name]["step"][-1]["step"] for c in children}
        label = f"round {turn - COLD + 1} of {repeats}" if turn >= COLD else f"cold {turn + 1} of {COLD}"
        say(f"{label}: step " + "  ".join(f"{n} {s:.2f} s" for n, s in steps.items()))
    return cold, warm


def measure_ceilings(children: list[Child]) -> dict:
    """The best of what any system's library reaches, in this run, on these cores."""
    found = [ask_alone(children, c, "ceilings") for c in children if c.name in ("ours", "transformers")]
    return {key: max(f[key] for f in found) for key in ("flops", "bytes")}


# ---- agreement ------------------------------------------------------------------------------


def compare_probes(probe: dict[str, dict], tolerance: float) -> dict:
    values = {name: reply["probe_logp"] for name, reply in probe.items()}
    spread = max(values.values()) - min(values.values())
    say("mean log-probability of the probe: " + "  ".join(f"{n} {v:.6f}" for n, v in values.items()))
    if not spread <= tolerance:
        raise DisagreementError(f"the probe's mean log-probability differs by {spread:.2e}: {values}")
    return {"values": values, "spread": spread}


def compare_updates(children: dict[str, Child], scratch: pathlib.Path, folder, rate: float) -> dict:
    """One AdamW update on the same rollouts and advantages: the largest difference of any parameter."""
    from urlvr_jax.models import folders, transformer

    recorded = scratch / "recorded.npz"
    children["ours"].ask("record", str(recorded))
    after = {}
    for name in ("ours", "transformers"):
        file = scratch / f"after-{name}.npz"
        children[name].ask("agree", str(recorded), str(file))
        with np.load(file) as arrays:
            after[name] = dict(arrays)
        file.unlink()
    if set(after["ours"]) != set(after["transformers"]):
        raise DisagreementError(f"different parameters: {set(after['ours']) ^ set(after['transformers'])}")
    base = {}
    config = folders.model_config(folder)
    names = folders.their_names(transformer.structure(config)[1], config)
    for name, value in folders.load(folder, config).items():
        theirs, transpose = names[name]
        base[theirs] = value.T if transpose else value
    largest, apart, moved = 0.0, 0.0, 0.0
    for name, theirs in after["transformers"].items():
        difference = (after["ours"][name] - theirs).astype(np.float64)
        largest = max(largest, float(np.abs(difference).max()))
        apart += float((difference**2).sum())
        moved += float(((theirs - base[name]).astype(np.float64) ** 2).sum())
    change = float(np.sqrt(apart / moved)) if moved else float("inf")
    say(
        f"after one update: parameters differ by {largest:.2e} at most, the update by {change:.2e} of its norm"
    )
    if not (largest <= max(TOLERANCE, rate) and change <= CHANGE_TOLERANCE):
        raise DisagreementError(
            f"one update gives different parameters: {largest:.2e}, update {change:.2e}"
        )
    return {"max_parameter_difference": largest, "relative_update_difference": change}


# ---- micro-batches --------------------------------------------------------------------------


def candidates(system: str, work: dict) -> list[int]:
    """Micro-batches to try: those that divide the work as this system wants it."""
    return [m for m in CANDIDATES if specs.takes(system, work, m)] or [work["micro_batch"]]


def tune(name: str, work: dict, systems: list[str], cores: list[int]) -> None:
    """Each system alone at each micro-batch; the quickest update and the quickest score are kept."""
    folder = specs.model_folder(work)
    for system in systems:
        seen = {}
        for micro in candidates(system, work):
            with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
                job = pathlib.Path(temporary) / system
                tried = work | {"micro_batch": micro, "score_micro_batch": micro}
                specs.write_job(tried, folder, len(cores), job)
                child = Child(system, job)
                try:
                    replies = [{**child.ask("score"), **child.ask("step")} for _ in range(TRIES + 1)][1:]
                finally:
                    child.close()
            seen[micro] = {p: round(min(r[p] for r in replies), 3) for p in ("score", "update")}
            say(
                f"{system}, {micro} rows: score {seen[micro]['score']:.2f} s, update {seen[micro]['update']:.2f} s"
            )
        best = {p: min(seen, key=lambda m, p=p: seen[m][p]) for p in ("score", "update")}
        kept = saved_micro_batches()  # read again: a long search that is cut short keeps what it found
        entry = kept.setdefault(table_key(name, cores), {"systems": {}})
        entry["systems"][system] = {
            "micro_batch": best["update"], "score_micro_batch": best["score"], "seconds": seen,
        }  # fmt: skip
        names = ",".join(entry["systems"])
        entry["command"] = (
            f"python benchmarks/speed/run.py --spec {name} --threads {len(cores)} --tune {names}"
        )
        TABLE.write_text(json.dumps(kept, indent=1) + "\n")


def table_key(name: str, cores: list[int]) -> str:
    return f"{name}, {len(cores)} thread{'s' * (len(cores) > 1)}"


def saved_micro_batches() -> dict:
    return json.loads(TABLE.read_text()) if TABLE.is_file() else {}


def chosen_micro_batches(name: str, cores: list[int]) -> dict:
    """{system: the keys of a spec that are its own}, from the table of measured ones; of one core where there
    is no other entry."""
    table = saved_micro_batches()
    entry = table.get(table_key(name, cores)) or table.get(table_key(name, cores[:1])) or {"systems": {}}
    found = entry["systems"]
    return {s: {k: e[k] for k in ("micro_batch", "score_micro_batch")} for s, e in found.items()}


# ---- command line ---------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def pin(threads: int) -> list[int]:
    """Keep this process and its children on so many of the cores it may use."""
    available = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(available):
        raise SystemExit(f"--threads {threads}: this process may use {len(available)} cores")
    os.sched_setaffinity(0, available[:threads])
    return available[:threads]


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--spec", required=True)
    parser.add_argument("--against", default="", help="peers, comma-separated: transformers, trl, tunix")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int)
    parser.add_argument(
        "--tune", nargs="?", const="", help="find micro-batches, of these systems or of all"
    )
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args(argv)
    name, work = specs.load(options.spec)
    work["repeats"] = options.repeats or work["repeats"]
    systems = ["ours", *filter(None, options.against.split(","))]
    tuned = options.tune.split(",") if options.tune else systems
    for system in systems + tuned:
        if system not in SYSTEMS:
            raise SystemExit(f"{system!r} is no system: choose from {sorted(SYSTEMS)}")
        if system in ("trl", "tunix") and not specs.is_random(work):
            raise SystemExit(
                f"--against {system}: only with random models; with an end token use transformers"
            )
    cores = pin(options.threads)
    if options.tune is not None:
        tune(name, work, tuned, cores)
        return 0
    result = measure(name, work, systems, cores, chosen_micro_batches(name, cores))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{name}: {work['prompts']} prompts x {work['samples']}, {len(cores)} thread(s)")
    print(report.table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
