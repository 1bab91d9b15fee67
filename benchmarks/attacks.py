"""Hostile folders, files, texts and rewards, made by the thousand: each ends in a result or in one clear error.

    python benchmarks/attacks.py                      all families, 600 cases of each; --cases N, --seed S
    python benchmarks/attacks.py --family json_lines --seed 7 --only 123      one case, with its traceback

A family runs in a process of its own, which may take 2 GiB beyond what it has when it starts and 30 s a case. A case
survives if it ends in a value or in a UserError. Anything else is a failure: another exception, a hang, too much
memory, a dead process, a control character that `shown.visible` lets through, code of a folder that ran.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from attack_cases import FAMILIES

SECONDS = 30  # of one case
MEMORY = 2 << 30
START_S = 120
SHARES = {"chat_templates": 0.2}  # of the cases: each hostile one costs a process


class Late(BaseException):
    """A case that takes too long; no handler of the code under attack catches it."""


def work(name: str, seed: int, cases: list[int], loud: bool) -> None:
    """Run cases of one family; one JSON line each on standard output."""
    import resource

    from urlvr_jax.errors import UserError

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the code under attack prints, and what libraries do past Python
    folder = pathlib.Path(tempfile.mkdtemp(prefix="attack-"))
    attack = FAMILIES[name](folder)
    with contextlib.suppress(Exception):  # what is imported late counts as what it has
        attack(random.Random(0))
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))

    def late(*_):
        raise Late

    signal.signal(signal.SIGALRM, late)
    for case in cases:
        print(json.dumps({"begins": case}), file=out, flush=True)
        signal.alarm(SECONDS)
        try:
            attack(random.Random(f"{name} {seed} {case}"))
            said = "value"
        except UserError as error:
            said = "error" if str(error).strip() else "failure: an empty message"
        except Late:
            said = "failure: hangs"
        except BaseException as error:  # noqa: BLE001  that is what is looked for
            at = traceback.extract_tb(error.__traceback__)[-1]
            said = f"failure: {type(error).__name__} {error!s:.150} ({pathlib.Path(at.filename).name}:{at.lineno})"
            if loud:
                traceback.print_exc()
        signal.alarm(0)
        print(json.dumps({"case": case, "said": said}), file=out, flush=True)


def run(name: str, seed: int, cases: list[int]) -> dict[int, str]:
    """{case: what came of it}; a process that died is started again after the case that killed it."""
    found = {}
    while left := [case for case in cases if case not in found]:
        words = [sys.executable, __file__, "--work", name, "--seed", str(seed)]
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        process.stdin.write(json.dumps(left))
        process.stdin.close()
        watch = Watchdog(process)
        begun = left[0]
        for line in process.stdout:
            watch.saw()
            said = json.loads(line)
            if "begins" in said:
                begun = said["begins"]
            else:
                found[said["case"]] = said["said"]
        watch.stop()
        if process.wait() and begun not in found:
            found[begun] = (
                "failure: hangs"
                if watch.killed
                else f"failure: its process ended with {process.returncode}"
            )
        elif begun not in found and len(found) < len(cases):
            found[begun] = "failure: its process ended"
    return found


class Watchdog:
    """Kills a process that says nothing for longer than a case may take: not all code heeds a signal."""

    def __init__(self, process):
        import threading

        self.process = process
        self.killed = False
        self.seen = time.monotonic() + START_S
        self.over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def saw(self) -> None:
        self.seen = time.monotonic()

    def stop(self) -> None:
        self.over.set()

    def _watch(self) -> None:
        while not self.over.wait(1):
            if time.monotonic() - self.seen > SECONDS + 10:
                self.killed = True
                self.process.kill()
                return


def report(name: str, found: dict[int, str], seconds: float) -> int:
    failures = {case: said for case, said in found.items() if said.startswith("failure")}
    kinds = collections.Counter(
        "value" if s == "value" else "error" for s in found.values() if s in ("value", "error")
    )
    print(
        f"{name:14} {len(found):6} tried, {len(found) - len(failures):6} survived ({kinds['value']} values, "
        f"{kinds['error']} clear errors), {len(failures)} failures, {seconds:.0f} s",
        flush=True,
    )
    for kind, count in collections.Counter(failures.values()).most_common(8):
        first = next(case for case, said in failures.items() if said == kind)
        print(f"    {count:5} x {kind}; first: case {first}", flush=True)
    return len(failures)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", choices=FAMILIES, action="append")
    parser.add_argument("--only", type=int, help="this case alone, in this process")
    parser.add_argument("--work", choices=FAMILIES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.seed, json.load(sys.stdin), loud=False)
        return 0
    if options.only is not None:
        work(options.family[0], options.seed, [options.only], loud=True)
        return 0
    failures = tried = 0
    began = time.monotonic()
    for name in options.family or FAMILIES:
        start = time.monotonic()
        found = run(name, options.seed, list(range(int(options.cases * SHARES.get(name, 1)))))
        failures += report(name, found, time.monotonic() - start)
        tried += len(found)
    print(
        f"{tried} tried, {failures} failures, {(time.monotonic() - began) / 60:.1f} min, seed {options.seed}"
    )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
