"""What all measured systems share: the job, the line protocol, the clock, the reward. Needs NumPy alone.

A system is a child process. It reads one command a line from stdin and answers each with one JSON line;
between commands it is blocked there and uses no processor. Commands: `score`, `step`, `ceilings`,
`record FILE`, `agree FILE OUT`. What libraries print goes to the log.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import sys
import time
import types

import numpy as np


class Server:
    """The child's end. Make it before importing anything that prints."""

    def __init__(self):
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def send(self, **reply) -> None:
        self._out.write(json.dumps({**reply, "peak_rss_gib": peak_gib()}) + "\n")

    def serve(self, commands: dict, until: str | None = None) -> None:
        """Answer commands until `until` is asked for, which the caller then answers; leave at the end."""
        while True:
            words = sys.stdin.readline().split()
            if not words:
                self._out.flush()
                os._exit(0)  # no library's clean-up on the way out
            if words[0] == until:
                return
            self.send(**commands[words[0]](*words[1:]))


def read_job(folder: str) -> types.SimpleNamespace:
    """job.json, with the keys of its `work`, and arrays.npz as attributes."""
    facts = json.loads((pathlib.Path(folder) / "job.json").read_text())
    with np.load(pathlib.Path(folder) / "arrays.npz") as arrays:
        return types.SimpleNamespace(**{**facts["work"], **facts, **dict(arrays)})


def toy_reward(completions, **_) -> list[float]:
    """Share of even digits in the decoded text."""
    return [sum(text.count(d) for d in "02468") / max(1, len(text)) for text in completions]


def work_done(lengths) -> dict:
    """Tokens generated, and (query, key) pairs within the responses."""
    lengths = np.asarray(lengths, np.int64)
    return {"tokens": int(lengths.sum()), "pairs": int((lengths * (lengths + 1) // 2).sum())}


def check_tokens(job, tokens) -> None:
    """Where nobody can stop: P x N responses of exactly `new_tokens` ordinary tokens, not all alike."""
    tokens = np.asarray(tokens)
    want = (job.prompts * job.samples, job.new_tokens)
    if tokens.shape != want:
        raise AssertionError(f"responses {tokens.shape}, expected {want}")
    if np.isin(tokens, [*job.stop_ids, job.pad_id]).any():
        raise AssertionError("a special token was sampled")
    if job.new_tokens >= 8 and len({row.tobytes() for row in tokens}) < len(tokens):
        raise AssertionError("two responses are the same")


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def clock(fn):
    """(seconds, result) of one call."""
    began = time.perf_counter()
    out = fn()
    return time.perf_counter() - began, out


class Seam:
    """Time every call of `owner.name` from now on; `take` gives the seconds since it was last asked."""

    def __init__(self, owner, name: str):
        self.seconds, self.result, inner = 0.0, None, getattr(owner, name)

        def timed(*args, **kwargs):
            began = time.perf_counter()
            self.result = inner(*args, **kwargs)
            self.seconds += time.perf_counter() - began
            return self.result

        setattr(owner, name, timed)

    def take(self) -> float:
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def quickest(fn, repeats: int = 3) -> float:
    """Seconds of the quickest of some calls after a cold one: for ceilings."""
    fn()
    return min(clock(fn)[0] for _ in range(repeats))
