"""Canonical keys beside math-verify on every pair of golds; prints the list of disagreements.

    python benchmarks/checks/answers_against_math_verify.py --data FOLDER [--tables] [--out FILE]

FOLDER has math_sample100.jsonl, amc23.jsonl and aime24.jsonl. math-verify is asked in both orders, because it
is asymmetric. With `--tables` the hand-made pairs of the tests too. About 15 ms a question, two a pair.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))  # its hand-made answers

from answer_kinds import KINDS  # noqa: E402
from answer_tables import GOLDS, PAIRS  # noqa: E402

from urlvr_jax.answers import canonical  # noqa: E402
from urlvr_jax.checks import workers  # noqa: E402

FILES = ("math_sample100", "amc23", "aime24")
# Why a pair is held equal by one side only: the first pattern that occurs in "one ~ other".
ONLY_THE_KEY = {
    "repeating decimal": r"\\overline\{\d",
    "percent in words": r"percent",
    "thousands apart": r"\d\\,\d|\d\{,\}\d",
    "index of a base in words, or after parentheses": r"_\{\\text|\(\d+\)_\d",
    "inequality for an interval, outward brackets": r"<|>|\\le|\\ge|\[1,2\[|\]3,4\]",
    "a sign of Unicode": r"[^\x00-\x7f]",
    "time of day": r"\d ?[ap]\.?m",
    "`i` is the imaginary unit": r"(?<![A-Za-z\\])i(?![A-Za-z])",
    "power of ten as `e`": r"\de\d",
    "mixed number": r"\d \d+/\d",
    "units and currency in words": r"centimeters|sq\.|dollars|\\degree|cm\^2|cents",
    "decimal exponent": r"\^\{?\d*\.\d",
    "`**` is a power": r"\w\*\*\d",
    "marks around the answer": r"\.( ~|$)|\*\*\d+\*\*|\"",
    "odd root of a negative number": r"\\sqrt\[3\]\{-",
    "`pi` in letters": r"\dpi",
    "± as a list of solutions": r"\\pm",
    "the empty set": r"\\\{ ?\\\}",
    "ratio reduced": r"\d ?: ?\d",
    "name before the answer": r"^\w(\(x\))? = ",
    "chain of equals": r"\d = \d",
}
ONLY_MATH_VERIFY = {
    "percent sign dropped": r"%",
    "index of a base dropped": r"\d_\{?\d",
    "decimals past the sixth place dropped": r"\.\d{8}",
    "closed at infinity": r"\\infty\]",
    "am and pm the same": r"\d [ap]m",
    "letters of an angle in any order": r"\\angle",
    "letters without case": r"^[A-Za-z -]+ ~|\\text",
    "set, tuple, list and ± the same": r"[{(\[]|\\pm",
    "names dropped": r"x=1,y=2",
    "ratio for a fraction": r"\d:\d",
}


# Pairs of a kind of answer have the reason of their row.
KIND_OF = {(first, other): why for why, (first, *same), misses in KINDS for other in (*same, *misses)}


def golds(folder: pathlib.Path) -> list[str]:
    """The distinct gold answers of FILES, in order."""
    found = {}
    for name in FILES:
        for line in (folder / f"{name}.jsonl").read_bytes().splitlines():
            found[str(json.loads(line)["answer"])] = None
    return list(found)


def table_pairs() -> list[tuple[str, str]]:
    """Pairs of the tests' tables: the equal and unequal ones, rewritings and near misses, kinds."""
    pairs = [(one, other) for one, other, _ in PAIRS]
    for gold, (same, misses) in GOLDS.items():
        pairs += [(gold, other) for other in (*same, *misses)]
    for _, (first, *same), misses in KINDS:
        pairs += [(first, other) for other in (*same, *misses)]
    return pairs


def compare(pool: workers.Pool, pairs: list[tuple[str, str]]) -> tuple[list[tuple], workers.Judged]:
    """(one, other, equal by key, verdict, verdict in the other order) where they are not all the same; and all."""
    judged = pool.begin([*pairs, *((b, a) for a, b in pairs)])()
    out = []
    halves = judged.verdicts[: len(pairs)], judged.verdicts[len(pairs) :]
    for (a, b), first, second in zip(pairs, *halves, strict=True):
        equal = canonical.key(a) == canonical.key(b)
        if {first, second} != {equal}:
            out.append((a, b, equal, first, second))
    return out, judged


def compare_golds(found: list[str], one_order: bool) -> tuple[int, list[tuple]]:
    """`compare` on every pair of golds, each read by math-verify once, in this process."""
    from math_verify import parse, verify

    read = {gold: parse(f"\\boxed{{{gold}}}") for gold in found}
    pairs, out = list(itertools.combinations_with_replacement(found, 2)), []
    for a, b in pairs:
        equal = canonical.key(a) == canonical.key(b)
        first = bool(verify(read[a], read[b]))
        second = first if one_order else bool(verify(read[b], read[a]))
        if {first, second} != {equal}:
            out.append((a, b, equal, first, None if one_order else second))
    return len(pairs), out


def reason(one: str, other: str, equal: bool) -> str:
    patterns = ONLY_THE_KEY if equal else ONLY_MATH_VERIFY
    by_pattern = (why for why, p in patterns.items() if re.search(p, f"{one} ~ {other}"))
    return KIND_OF.get((one, other)) or next(by_pattern, "not explained")


def rows(found: list[tuple]) -> list[str]:
    lines = ["| one | other | key | math-verify | reversed | why |", "|" + " --- |" * 6]
    word = {True: "=", False: "≠", None: "none"}
    for a, b, *verdicts in found:
        cells = [f"`{x.replace('|', chr(92) + '|')}`" for x in (a, b)] + [word[v] for v in verdicts]
        cells.append(reason(a, b, verdicts[0]))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--integers", type=int, default=-1, help="so many integer golds take part; -1 = all"
    )
    parser.add_argument("--one_order", action="store_true", help="ask math-verify once a pair of golds")
    parser.add_argument("--tables", action="store_true", help="the tests' hand-made pairs too")
    given = parser.parse_args()
    found = golds(given.data)
    integers = [g for g in found if canonical.key(g).lstrip("-").isdigit() and "\\" not in g]
    if given.integers >= 0:
        found = [g for g in found if g not in integers[given.integers :]]
    real, of_golds = compare_golds(found, given.one_order)
    lines = [
        "# Where canonical keys and math-verify disagree", "",
        f"Written by `python benchmarks/checks/answers_against_math_verify.py {' '.join(options(sys.argv))}`;",
        "docs/answers.md has the reasons. `=`: held equal. Reversed: gold and answer exchanged.", "",
        "## Golds of MATH (a sample of 100), AMC 2023 and AIME 2024", "",
        f"{real} pairs of {len(found)} distinct golds ({len(integers)} integers in all), "
        f"{len(of_golds)} disagreements.", "",
        *rows(of_golds),
    ]  # fmt: skip
    if given.tables:
        made = table_pairs()
        with workers.Pool(workers=given.workers, deadline_s=10) as pool:
            of_tables, judged = compare(pool, made)
            lost = f"{judged.late} of {2 * len(made)} questions over the deadline, {judged.lost} lost"
        lines += ["", "## The tests' hand-made pairs", "", f"{len(made)} pairs, {len(of_tables)} disagreements; {lost}.",
                  "The key is right in all of them by the rules of this project.", "", *rows(of_tables)]  # fmt: skip
    text = "\n".join(lines) + "\n"
    given.out.write_text(text) if given.out else print(text)


def options(argv: list[str]) -> list[str]:
    """The command's options without folders."""
    return [word for i, word in enumerate(argv[1:], 1) if not {"--data", "--out"} & {word, argv[i - 1]}]


if __name__ == "__main__":
    main()
