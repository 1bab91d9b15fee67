"""Odd values, texts and JSON, which the cases of attack_cases.py are made of."""

from __future__ import annotations

import json
import random
import string

NUMBERS = (
    0, -1, 1, 2, 2**31, 2**63, 2**64, 10**30, -(10**30), 10**400, 1e308, -1e308, 1e-320, 0.5, True, False, None, "1", "",
    "NaN", [], [1], {}, {"a": 1}, "x" * 1000,
)  # fmt: skip
RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "9" * 5000,
    "[" * 20_000,
    '"\\ud800"',
    "{",
    "",
    "\x00",
    "null",
    "tru",
)
TEXTS = (
    "", " ", "\x00", "\x1b[2J\x07", "\u202eabc", "\ud7ff\ue000", "😀" * 50, "a" * 20_000, "{prompt}", "{{x}}", "%s%n",
    "\\boxed{" * 500, "9" * 6000, "1/0", "((((", "\\frac{1}{0}", "-" * 3000, "../../etc/passwd", "<|im_end|>", "\r\n",
    "x^{99999}", "\\sqrt{" * 40, "10!!!", "1e999999", "$" * 99, "A5", "####", "<answer>" * 99 + "</answer>",
)  # fmt: skip


def text(rng: random.Random) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(TEXTS)
    if kind == 1:
        return "".join(rng.choice(string.printable) for _ in range(rng.randrange(60)))
    if kind == 2:
        return "".join(chr(rng.randrange(0x20, 0xD7FF)) for _ in range(rng.randrange(40)))
    return rng.choice(TEXTS) + rng.choice(TEXTS)


def value(rng: random.Random, depth: int = 0):
    kind = rng.randrange(5 if depth < 3 else 3)
    if kind < 2:
        return rng.choice(NUMBERS)
    if kind == 2:
        return text(rng)
    if kind == 3:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {text(rng)[:20]: value(rng, depth + 1) for _ in range(rng.randrange(4))}


def dumped(rng: random.Random, row) -> str:
    """JSON, now and then with a part that is none."""
    out = json.dumps(row)
    if rng.random() < 0.15:
        out = (
            out.replace("null", rng.choice(RAW), 1)
            if "null" in out
            else out[:-1] + f', "z": {rng.choice(RAW)}}}'
        )
    if rng.random() < 0.1:
        at = rng.randrange(len(out) + 1)
        out = out[:at] + rng.choice(RAW) + out[at:]
    return out
