"""What a step costs along each axis of its work: seconds of rollout, score and update around a small shape.

    python benchmarks/speed/axes.py run [--axis vocab] [--threads 1]     measure; lines in docs/performance/axes.jsonl
    python benchmarks/speed/axes.py draw                                 docs/performance/axes.png, and the slopes

Each point is a process of its own; medians of three warm calls. The slope is that of a straight line through
the logarithms: 1 is proportional. `devices` are replicas of the mesh, on a CPU pretended ones that share the
cores, so there it shows what splitting costs. A full run takes several minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile

import numpy as np
import specs
from children import Child
from run import pin

os.environ["JAX_PLATFORMS"] = "cpu"  # of this process, which makes the models; not of its children
PHASES = ("rollout", "score", "update")
COLD, WARM = 1, 3
MODEL = {
    "d_model": 128, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 32, "d_ff": 384,
    "vocab_size": 512,
}  # fmt: skip
BASE = {"prompts": 8, "samples": 4, "prompt_len": 32, "new_tokens": 32, "micro_batch": 16}
AXES = {
    "prompts": (4, 8, 16, 32),
    "samples": (2, 4, 8, 16),
    "prompt_len": (32, 64, 128, 256),
    "new_tokens": (16, 32, 64, 128),
    "vocab": (512, 2048, 8192, 32768),
    "depth": (1, 2, 4, 8),
    "devices": (1, 2, 4),
}


def spec_at(axis: str, value: int) -> dict:
    """The base shape with one number changed."""
    names = {"vocab": "vocab_size", "depth": "n_layers"}
    if axis in names:
        return specs.complete({**BASE, "model": {**MODEL, names[axis]: value}})
    return specs.complete({**BASE, "model": MODEL, axis: value})


def measure(work: dict) -> dict[str, float]:
    """Median warm seconds of each phase, in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="axes-") as temporary:
        job = pathlib.Path(temporary) / "job"
        specs.write_job(work, specs.model_folder(work), len(os.sched_getaffinity(0)), job)
        child = Child("ours", job)
        try:
            replies = [{**child.ask("score"), **child.ask("step")} for _ in range(COLD + WARM)][COLD:]
            return {p: statistics.median(r[p] for r in replies) for p in PHASES}
        finally:
            child.close()


def run(axes: list[str], threads: int, file: pathlib.Path) -> None:
    """Measure the points of these axes; their lines replace those on file."""
    pin(threads)
    kept = [r for r in lines(file) if r["axis"] not in axes] if file.is_file() else []
    seen = {}
    for axis in axes:
        for value in AXES[axis]:
            work = spec_at(axis, value)
            point = json.dumps(work, sort_keys=True)
            if point not in seen:  # the base is a point of every axis
                seen[point] = measure(work)
            kept.append({"axis": axis, "value": value, "threads": threads, **seen[point]})
            print(
                f"{axis} {value}: " + "  ".join(f"{p} {seen[point][p]:.3f} s" for p in PHASES), flush=True
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(r) + "\n" for r in kept))


def lines(file: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def slope(values, seconds) -> float:
    """Of the straight line through the logarithms."""
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


def draw(file: pathlib.Path) -> None:
    """One panel an axis; prints the slopes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = lines(file)
    axes = [a for a in AXES if any(r["axis"] == a for r in found)]
    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    columns = min(4, len(axes))
    figure, panels = plt.subplots(
        -(-len(axes) // columns), columns, figsize=(2.6 * columns, 2.3 * -(-len(axes) // columns)),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for panel in panels.flat[len(axes) :]:
        panel.set_axis_off()
    for panel, axis in zip(panels.flat, axes, strict=False):
        points = sorted((r for r in found if r["axis"] == axis), key=lambda r: r["value"])
        values = [r["value"] for r in points]
        texts = []
        for phase, colour in zip(PHASES, ("#1f5fa8", "#5b8c3a", "#d9711c"), strict=True):
            seconds = [r[phase] for r in points]
            text = f"{phase} {slope(values, seconds):.2f}"
            panel.loglog(values, seconds, "o-", color=colour, lw=1.2, ms=3, label=text)
            texts.append(text)
        panel.set_xticks(values, [str(v) for v in values])
        panel.xaxis.set_minor_locator(plt.NullLocator())
        panel.set_xlabel(axis)
        panel.legend(frameon=False, fontsize=6.5, title="slope", title_fontsize=6.5)
        print(f"{axis:12s}" + "   ".join(texts))
    for row in panels:
        row[0].set_ylabel("seconds")
    figure.savefig(file.with_suffix(".png"), dpi=130)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("run", "draw"))
    parser.add_argument("--axis", choices=AXES, help="this one alone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--file", type=pathlib.Path, default=specs.ROOT / "docs" / "performance" / "axes.jsonl"
    )
    options = parser.parse_args()
    if options.what == "run":
        run([options.axis] if options.axis else list(AXES), options.threads, options.file)
    else:
        draw(options.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
