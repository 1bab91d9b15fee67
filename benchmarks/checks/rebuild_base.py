"""Rebuild a base of the laboratory from its recipe and compare it with the one that ships.

    python benchmarks/checks/rebuild_base.py plain             train on one core, compare, print
    python benchmarks/checks/rebuild_base.py plain --record    make it the one that ships
    python benchmarks/checks/rebuild_base.py plain --run DIR   the same of a run that has been made already

On the same machine, core and versions the weights should have the recorded sha256. Elsewhere rounding
differs; then avg@8, maj@8 and pass@8 at T = 1, and of a base that judges the rates of its verdicts, must fall within
the sum of both 95 % intervals. Exit status 1 otherwise. A rebuild takes five to twenty minutes of one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from urlvr_jax import config
from urlvr_jax.lab import countdown_world, integration_world, programs_world, python_world

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASES = ROOT / "urlvr_jax" / "lab" / "bases"
PARTS = {"countdown_judge": ("countdown_judge", "countdown_verdicts")}  # trained one after the other
WORLDS = {
    "experiments/countdown.py": countdown_world,
    "experiments/programs.py": programs_world,
    "experiments/integration.py": integration_world,
    "experiments/python_tasks.py": python_world,
    "experiments/unit_tests.py": python_world,
}
MEASURES = ("avg@8", "maj@8", "pass@8")
RATES = ("true_positive_rate", "false_positive_rate")
EVALUATION = ("--config.eval.k=8", "--config.eval.temperature=1.0", "--config.eval.top_p=1.0")


def command(*words: str) -> str:
    """Run a verb of the program on one core; returns what it printed."""
    return on_one_core("-m", "urlvr_jax.main", *words)


def on_one_core(*words: str) -> str:
    pin = (
        (lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))
        if sys.platform == "linux"
        else None
    )
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=pin,
    )  # fmt: skip
    return done.stdout


def held_out(name: str, folder: pathlib.Path) -> dict:
    """{measure: its mean, low and high} of a base on its world's held-out questions, of each experiment where there are several."""
    files = [file for file, of in WORLDS.items() if name in of.RECIPES]
    out = {}
    for file in files or [""]:
        printed = command(
            "evaluate", "--model", str(folder), *(("--config", file) if file else ()), *EVALUATION
        )
        (measured,) = json.loads(printed)["sets"].values()
        of_file = f", {pathlib.Path(file).stem}" if len(files) > 1 else ""
        out |= {
            f"{m}{of_file}": {
                "mean": measured[m],
                "low": measured[f"{m}/low"],
                "high": measured[f"{m}/high"],
            }
            for m in MEASURES
        }
    if getattr(countdown_world.RECIPES.get(name), "judging", 0):
        rates = json.loads(on_one_core("benchmarks/checks/judge_rates.py", str(folder)))
        out |= {f"{m}, {wording}": rates[wording][m] for wording in rates for m in RATES}
    return out


def experiment(part: str) -> str:
    return f"experiments/lab_pretrain.py:{part}"


def hash_of(part: str) -> str:
    return config.config_hash(config.flat(config.load_experiment(str(ROOT / experiment(part)))))


def rebuild(name: str, folder: pathlib.Path, run: pathlib.Path | None) -> dict:
    """Train unless there is a `run` (of the last part), export and measure one base in `folder`; its record."""
    out, parts = folder / name, PARTS.get(name, (name,))
    for i, part in enumerate(parts if run is None else ()):
        goes_on = [f"--config.model.path={out}"] if i else []
        command("--config", experiment(part), *goes_on, "--workdir", str(folder / f"run{i}"))
        command("export", "--model", str(folder / f"run{i}"), "--out", str(out))
    if run is None:
        run = folder / f"run{len(parts) - 1}"
    else:
        command("export", "--model", str(run), "--out", str(out))
    record = json.loads((run / "record.json").read_text())
    return {
        "command": [f"python -m urlvr_jax.main --config {experiment(part)}" for part in parts],
        "sha256": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(),
        "config_hash": [hash_of(part) for part in parts],
        "versions": record["attempts"][-1]["versions"],
        "held_out": held_out(name, out),
    }


def agree(shipped: dict, rebuilt: dict) -> bool:
    """Same bytes, or each measure within the sum of both intervals."""
    if shipped["sha256"] == rebuilt["sha256"]:
        return True
    reach = lambda r: (r["high"] - r["low"]) / 2
    pairs = [(shipped["held_out"][m], rebuilt["held_out"][m]) for m in shipped["held_out"]]
    return all(abs(a["mean"] - b["mean"]) <= reach(a) + reach(b) for a, b in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--run", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        rebuilt = rebuild(options.name, folder, options.run and options.run.resolve())
        shipped_file = BASES / options.name / "recipe.json"
        if options.record:
            shutil.rmtree(BASES / options.name, ignore_errors=True)
            of_run = shutil.ignore_patterns("README.md", "urlvr_jax.json")  # what an export says of its run
            shutil.copytree(folder / options.name, BASES / options.name, ignore=of_run)
            shipped_file.write_text(json.dumps(rebuilt, indent=1) + "\n")
    shipped = json.loads(shipped_file.read_text())
    print(f"{options.name}: rebuilt sha256 {rebuilt['sha256'][:16]}, shipped {shipped['sha256'][:16]}")
    for m in shipped["held_out"]:
        text = lambda r, m=m: "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**r["held_out"][m])
        print(f"  {m}: rebuilt {text(rebuilt)}, shipped {text(shipped)}")
    same = rebuilt["sha256"] == shipped["sha256"]
    print("identical" if same else "agrees within intervals" if agree(shipped, rebuilt) else "DIFFERS")
    return 0 if agree(shipped, rebuilt) else 1


if __name__ == "__main__":
    sys.exit(main())
