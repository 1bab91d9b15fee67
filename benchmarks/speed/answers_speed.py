"""Answers under fire and under load: fuzzed text, and a step's worth of long responses.

    python benchmarks/speed/answers_speed.py [--fuzzed 100000] [--responses 8192]

Prints two JSON lines. A string that raises ends the program; memory is the process's peak before and after.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import resource
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "answers")]  # their hand-made answers

from answer_tables import GOLDS  # noqa: E402
from test_answers_equal import fuzzed  # noqa: E402

from urlvr_jax.answers import canonical, extract  # noqa: E402
from urlvr_jax.answers import classes as classes_lib  # noqa: E402

HUGE = ["9" * 1_000_000, "\\boxed{" + "9" * 1_000_000 + "}", "\\boxed{" * 140_000, "{" * 500_000 + "}" * 500_000,
        "\\frac{" * 160_000, "A-" * 500_000, "#### " + "1,000" * 200_000]  # fmt: skip


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform == "linux" else 1 << 20
    )


def fuzz(count: int) -> dict:
    """Every string through one extractor in turn and through `key`; 1 MB strings through all of them."""
    rng, styles = random.Random(0), sorted(extract.EXTRACTORS)
    slowest, memory, began = 0.0, [], time.process_time()
    for number in range(count):
        text = HUGE[number // 1000 % len(HUGE)] if number % 1000 == 999 else fuzzed(rng)
        start = time.process_time()
        classes_lib.answer_key(text, styles[number % len(styles)])
        canonical.key(text)
        slowest = max(slowest, time.process_time() - start)
        if number in (count // 4, count - 1):
            memory.append(peak_mib())
    return {
        "fuzzed": count, "seconds": round(time.process_time() - began, 1), "slowest_s": round(slowest, 3),
        "peak_mib_after_a_quarter": round(memory[0]), "peak_mib_at_the_end": round(memory[-1]),
    }  # fmt: skip


def load(count: int, group: int = 8) -> dict:
    """Responses of 1 to 4 thousand characters: extracted, keyed, put into classes and voted on."""
    rng = random.Random(0)
    prose = (
        "We have $x^2 + \\frac{1}{2}x = {3}$, so that step 12 gives 1,234 and then the next line.\n" * 50
    )
    written = [s for gold, (same, other) in GOLDS.items() for s in (gold, *same, *other)]
    shapes = ["%d", "\\frac{%d}{%d}", "%d\\sqrt{%d}", "(%d, %d)", "%dx^2+%d", "%d", "%d,%d"]

    def response() -> str:
        shape = rng.choice(shapes)
        own = shape % tuple(rng.randint(1, 9999) for _ in range(shape.count("%d")))
        answer = own if rng.random() < 0.7 else rng.choice(written)
        return prose[: rng.randint(1000, 4000)] + f"\\boxed{{{answer}}}."

    responses = [response() for _ in range(count)]
    began = time.process_time()
    keys = [classes_lib.answer_key(text, "boxed") for text in responses]
    classes, _ = classes_lib.group_classes(keys, group)
    made = time.process_time()
    classes_lib.majority_class(classes)
    return {
        "responses": count, "characters": sum(map(len, responses)), "keys_s": round(made - began, 2),
        "vote_s": round(time.process_time() - made, 2), "distinct_keys": len(set(keys)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fuzzed", type=int, default=100_000)
    parser.add_argument("--responses", type=int, default=8192)
    given = parser.parse_args()
    print(json.dumps(load(given.responses)), flush=True)
    print(json.dumps(fuzz(given.fuzzed)))


if __name__ == "__main__":
    main()
