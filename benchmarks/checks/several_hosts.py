"""Several processes of one run on this machine: what one process gives, and what happens when some are ended.

    python benchmarks/checks/several_hosts.py same                      2 and 4 processes, 3 meshes, against 1 process
    python benchmarks/checks/several_hosts.py rewards                   2 processes against 1, rewards from outside
    python benchmarks/checks/several_hosts.py faults [--kills 20] [--terms 10] [--seed 0]

same: ten steps with evaluation, verification, KL and two updates a step (with mesh.tensor, which the vocabulary of the
base that verifies does not divide over, majority voting instead of verification); on as many devices, one each, in one process
or in several. Metrics (but for the sampler's difference, which is nothing but rounding) and exported weights must agree to
1e-6, to 2e-6 with four processes, whose sums are in another order; exports are made by as many processes; evaluations and votes (so tokens) must be equal. What
four processes saved goes on with one and with two.

rewards: three steps of rewards that need more than the rollouts, by two processes against one: a judge that is taught, a
hidden part, two wordings, scored states, a corpus, the frozen base, other models' votes, programs in a sandbox (left out, and said, where there is none).

faults: SIGKILL to one of two processes at a random moment: the other must end within 60 s, with a line that names it
and exit status 75. SIGTERM to one: both must end with 143 after the same step. Both runs are then started again, and
must end bit for bit as one that was left alone. Exit status 1 if anything fails.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from kill_and_resume import CLOCKS, ROOT, differences, last_step, lines, members, outcome

from urlvr_jax.checks import sandbox
from urlvr_jax.lab import shipped

VERIFIES, VOTES = "experiments/countdown.py", "experiments/majority.py"
WITHIN = 60.0  # seconds
ROUNDING = "actor/sampler_logp_diff"
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # to compile
LOST, TERMINATED = 75, 128 + signal.SIGTERM
OPTIONS = {
    "reward.shadow": "('self_certainty',)",
    "kl.coef": 0.01,
    "optim.micro_rows": 0,
    "optim.minibatch_prompts": 4,
    "data.prompts_per_step": 8,
    "rollout.group": 4,
    "eval.every": 5,
    "eval.max_questions": 16,
    "checkpoint.every": 5,
}


def start(
    folder: pathlib.Path, processes: int, options: dict, devices: int, experiment: str = VERIFIES
) -> list[subprocess.Popen]:
    """`processes` processes of a run, with `devices` virtual devices in all."""
    words = [f"--config.{k}={v}" for k, v in options.items()]
    flags = f"--xla_force_host_platform_device_count={devices // processes} {QUICK}"
    started = []
    for i, of in enumerate(members(processes)):
        command = [sys.executable, "-m", "urlvr_jax.main", "--config", experiment]
        with open(f"{folder}.{i}.log", "w") as log:
            started.append(
                subprocess.Popen(
                    [*command, "--workdir", str(folder), *words, *of],
                    cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                    env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
                )
            )  # fmt: skip
    return started


def finish(
    folder: pathlib.Path, processes: int, options: dict, devices: int, experiment: str = VERIFIES
) -> None:
    for i, process in enumerate(start(folder, processes, options, devices, experiment)):
        if process.wait():
            sys.exit(
                f"{folder}: process {i} failed\n{pathlib.Path(f'{folder}.{i}.log').read_text()[-3000:]}"
            )


def weights(folder: pathlib.Path, processes: int) -> dict[str, np.ndarray]:
    """As they are exported."""
    from safetensors.numpy import load_file

    out = folder.with_name(f"{folder.name}-exported")
    words = [sys.executable, "-m", "urlvr_jax.main", "export", "--model", str(folder), "--out", str(out)]
    started = [
        subprocess.Popen([*words, *of], cwd=ROOT, stdout=subprocess.DEVNULL) for of in members(processes)
    ]
    if any([process.wait() for process in started]):
        sys.exit(f"{folder}: could not be exported by {processes} processes")
    return load_file(out / "model.safetensors")


def furthest(a: pathlib.Path, b: pathlib.Path, processes: int) -> tuple[float, float, bool]:
    """(largest difference of a metric, relative where above 1; of a weight; whether evaluations and votes are equal)."""
    apart = 0.0
    for one, other in zip(lines(a / "metrics.jsonl"), lines(b / "metrics.jsonl"), strict=True):
        names = {name for name in (*one, *other) if not name.startswith((*CLOCKS, ROUNDING))}
        for name in names:
            apart = max(apart, abs(one[name] - other[name]) / max(1.0, abs(one[name])))
    first, second = weights(a, 1), weights(b, processes)
    weight = max(float(np.abs(first[name] - second[name]).max()) for name in first)
    same = all(lines(a / f) == lines(b / f) for f in ("evals.jsonl", "votes.jsonl"))
    return apart, weight, same


def same(base: pathlib.Path) -> int:
    wrong = 0
    for processes in (2, 4):
        for mesh in ("data", "fsdp", "tensor"):
            options = {**OPTIONS, "steps": 10, "mesh.data": 1, f"mesh.{mesh}": processes}
            one, several = base / f"{mesh}-1-of-{processes}", base / f"{mesh}-{processes}"
            experiment = VOTES if mesh == "tensor" else VERIFIES
            finish(one, 1, options, processes, experiment)
            finish(several, processes, options, processes, experiment)
            apart, weight, equal = furthest(one, several, processes)
            good = apart <= (1e-6 if processes == 2 else 2e-6) and weight <= 1e-6 and equal
            wrong += not good
            print(
                f"{processes} processes, mesh.{mesh}={processes}: metrics {apart:.1e} apart, weights {weight:.1e}, "
                f"evaluations and votes {'equal' if equal else 'DIFFERENT'}",
                flush=True,
            )
    saved = base / "fsdp-4"
    for processes in (1, 2):
        copy = base / f"on-{processes}"
        subprocess.run(["cp", "-r", str(saved), str(copy)], check=True)
        options = {**OPTIONS, "steps": 12, "mesh.data": 1, "mesh.fsdp": processes}
        finish(copy, processes, options, processes)
        reached = last_step(copy)
        wrong += reached != 12
        print(f"saved on 4, resumed on {processes}: at step {reached}", flush=True)
    return int(wrong > 0)


def _written(base: pathlib.Path) -> tuple[str, str]:
    """Files for rewards that read some: (votes of another model on every training question, questions with unit tests)."""
    votes, tests = base / "votes.jsonl", base / "tests.jsonl"
    asked = [json.loads(line)["prompt"] for line in shipped.questions("lab:train").read_text().splitlines()]
    rows = [{"prompt": q, "response": f"A{eval(q[1:-1])}"} for q in asked]
    votes.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"prompt": f"assert f({i}) == {i}"} for i in range(16)]
    tests.write_text("".join(json.dumps(row) + "\n" for row in asked))
    return str(votes), str(tests)


def _rewards(base: pathlib.Path) -> dict[str, tuple[str, dict]]:
    """{what: (experiment, options)}."""
    votes, tests = _written(base)
    taught = {"reward.name": "coverrl", "verify.votes": 4, "verify.train": "majority"}
    programs = {"reward.name": "unit_tests", "answers.check": "unit_tests", "answers.style": "fence"}
    programs |= {
        "answers.workers": 1,
        "data.train": tests,
        "data.prompt_buckets": "(32,)",
        "model.path": "lab:plain",
    }
    out = {
        "a judge that is taught": (VERIFIES, taught),
        "a judge as it was": (VERIFIES, {"verify.judge": "base"}),
        "a judge as it was, adapters": (VERIFIES, {"verify.judge": "base", "model.lora.rank": 4}),
        "a hidden part": ("experiments/dupo.py", {}),
        "two wordings": ("experiments/co_reward.py", {"reward.name": "co_reward + self_harmony"}),
        "scored states": ("experiments/covo.py", {"reward.name": "covo + 0.1*curiosity"}),
        "a corpus, by probability": ("experiments/rlp.py", {"reward.name": "rlpr"}),
        "a corpus": ("experiments/rlp.py", {"reward.name": "rlp(baseline='base')"}),
        "the frozen base": ("experiments/selfcert.py", {"reward.name": "self_certainty(scorer='base')"}),
        "the frozen base, adapters": (
            "experiments/selfcert.py", {"reward.name": "self_certainty(scorer='base')", "model.lora.rank": 4},
        ),
        "other models' votes": (VOTES, {"reward.name": "rlccf", "data.votes": repr((votes,))}),
        "programs": (VOTES, programs),
    }  # fmt: skip
    try:
        sandbox.require()
    except sandbox.SandboxError as error:
        print(f"programs: left out, {error}", flush=True)
        del out["programs"]
    return out


def rewards(base: pathlib.Path) -> int:
    wrong = 0
    shared = {
        "steps": 3, "eval.every": 0, "data.prompts_per_step": 8, "rollout.group": 4, "mesh.data": 1, "mesh.fsdp": 2,
        "optim.micro_rows": 0, "log.completions_every": 0, "collapse.watch": False,
    }  # fmt: skip
    for number, (what, (experiment, given)) in enumerate(_rewards(base).items()):
        one, two = base / f"reward-{number}-1", base / f"reward-{number}-2"
        for folder, processes in ((one, 1), (two, 2)):
            finish(folder, processes, shared | given, 2, experiment)
        apart, weight, equal = furthest(one, two, 2)
        good = apart <= 1e-6 and weight <= 1e-6 and equal
        wrong += not good
        paid = [round(line["reward/mean"], 3) for line in lines(one / "metrics.jsonl")]
        print(
            f"{what}: metrics {apart:.1e} apart, weights {weight:.1e}, mean rewards {paid}{'' if good else '  WRONG'}",
            flush=True,
        )
    return int(wrong > 0)


def trial(folder: pathlib.Path, number: int, rng: random.Random, options: dict) -> tuple[bool, str]:
    """(whether both ended as they should, what happened)."""
    both = start(folder, 2, options, 2)
    which, after = rng.randrange(2), rng.randint(0, options["steps"] - 1)
    met = (
        folder / "lock"
    )  # before it there is no run: who is killed then has not come, for which 300 s are stated
    while all(p.poll() is None for p in both) and not (met.is_file() and last_step(folder) >= after):
        time.sleep(0.01)
    time.sleep(rng.random())
    name = signal.Signals(number).name
    if any(p.poll() is not None for p in both):
        return True, f"{name}: was over before"
    both[which].send_signal(number)
    began = time.monotonic()
    statuses = [p.wait() for p in both]
    seconds = time.monotonic() - began
    said = pathlib.Path(f"{folder}.{1 - which}.log").read_text()
    if number == signal.SIGKILL:
        good = statuses[1 - which] == LOST and f"process {which} of 2" in said and "is gone" in said
    else:
        good = statuses == [TERMINATED, TERMINATED]
    text = f"{name} to process {which} after step {after}: exit statuses {statuses} in {seconds:.1f} s"
    return good and seconds <= WITHIN, text


def faults(base: pathlib.Path, kills: int, terms: int, seed: int) -> int:
    rng = random.Random(seed)
    options = {**OPTIONS, "steps": 12, "checkpoint.every": 3, "mesh.data": 2}
    finish(base / "alone", 2, options, 2)
    alone = outcome(base / "alone")
    wrong = 0
    for i in range(kills + terms):
        number = signal.SIGKILL if i < kills else signal.SIGTERM
        folder = base / f"trial{i}"
        good, text = trial(folder, number, rng, options)
        finish(folder, 2, options, 2)
        differs = differences(alone, outcome(folder))
        wrong += bool(differs) or not good
        verdict = f"DIFFERS in {', '.join(differs)}" if differs else "identical"
        print(f"{i + 1:3d}  {text}, resumed: {verdict}{'' if good else '  WRONG'}", flush=True)
    print(f"{kills + terms - wrong} of {kills + terms} as they should be")
    return int(wrong > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("same", "rewards", "faults"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--terms", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="several-hosts-") as name:
        base = pathlib.Path(name)
        if given.what == "faults":
            sys.exit(faults(base, given.kills, given.terms, given.seed))
        sys.exit({"same": same, "rewards": rewards}[given.what](base))
