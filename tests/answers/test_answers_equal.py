"""Which answers are equal: tables made by hand, properties, real golds, and text that tries to break it."""

import itertools
import json
import math
import os
import pathlib
import random
import re
import time

import pytest
from answer_kinds import KINDS
from answer_tables import GOLDS, PAIRS

from urlvr_jax.answers import canonical, classes, extract
from urlvr_jax.answers.algebra import Algebra, Outside, text
from urlvr_jax.answers.formula import parse

DATA = pathlib.Path(
    os.environ.get("URLVR_DATA", pathlib.Path(__file__).resolve().parents[3] / "shared" / "data")
)
FORMATS = {
    "boxed": "so it is\n$\\boxed{%s}$.",
    "hashes": "work\n#### %s",
    "tag": "<think>\\boxed{0}</think><answer> %s </answer>",
    "line": "Thus 3.\n**Answer:** %s",
}
WRITTEN = [s for pair in PAIRS for s in pair[:2]]
WRITTEN += [s for gold, (same, other) in GOLDS.items() for s in (gold, *same, *other)]
WRITTEN += [s for _, same, other in KINDS for s in (*same, *other)]


def golds(name: str) -> list[str]:
    file = DATA / f"{name}.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is absent; set URLVR_DATA to the folder that has it")
    return [str(json.loads(line)["answer"]) for line in file.read_bytes().splitlines()]


def test_the_tables_are_as_large_as_promised():
    assert len(PAIRS) >= 300 and len(GOLDS) >= 60
    assert all(len(same) >= 5 and len(other) >= 5 for same, other in GOLDS.values())


@pytest.mark.parametrize("one, other, equal", PAIRS)
def test_a_pair_made_by_hand_is_judged_right(one, other, equal):
    assert (canonical.key(one) == canonical.key(other)) == equal, (canonical.key(one), canonical.key(other))


@pytest.mark.parametrize("gold", GOLDS)
def test_rewritings_of_a_gold_are_equal_and_near_misses_are_not(gold):
    same, other = GOLDS[gold]
    mine = {canonical.key(s): s for s in (gold, *same)}
    assert len(mine) == 1, mine
    for miss in other:
        assert canonical.key(miss) not in mine, miss


@pytest.mark.parametrize("why, same, misses", KINDS)
def test_a_kind_of_answer_is_judged_right(why, same, misses):
    mine = {canonical.key(s): s for s in same}
    assert len(mine) == 1, (why, mine)
    for miss in misses:
        assert canonical.key(miss) not in mine, (why, miss)


def test_the_table_of_keys_in_the_document_is_right():
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "answers.md").read_text()
    rows = re.search(r"\n\| written \| key .*?\n\n", page, re.S)[0].strip().splitlines()[2:]
    assert len(rows) > 35
    for row in rows:
        written, keys, others = (
            [code.replace("\\|", "|") for code in re.findall("`([^`]+)`", cell)]
            for cell in re.split(r"(?<!\\) \| ", row.strip("| ") + " | ")[:3]
        )
        if "pmatrix" not in written:  # names of environments
            assert {canonical.key(w) for w in written} == set(keys), row
        assert not {canonical.key(o) for o in others} & set(keys), row


def test_different_golds_have_different_keys():
    by_key = {}
    for gold in GOLDS:
        by_key.setdefault(canonical.key(gold), []).append(gold)
    assert not [together for together in by_key.values() if len(together) > 1]


def test_a_key_is_its_own_key_and_never_empty():
    for answer in WRITTEN:
        key = canonical.key(answer)
        assert key and canonical.key(key) == key, answer


@pytest.mark.parametrize(
    "change",
    [
        " %s ",
        "$%s$",
        "%s.",
        "\\(%s\\)",
        "{%s}",
        "\\displaystyle %s",
        "\\boxed{%s}",
        "\n%s\n",
        "**%s**",
        "%s\\,",
    ],
)
def test_how_an_answer_is_wrapped_does_not_matter(change):
    for answer in WRITTEN:
        if not answer.endswith((".", "[")) and not answer.startswith(("]", "*")):
            assert canonical.key(change % answer) == canonical.key(answer), (change, answer)


def test_delimiters_and_spacing_commands_do_not_matter():
    for plain, dressed in [
        (r"(1,\frac{1}{2})", r"\left(1,\!\frac{1}{2}\right)"),
        (r"\{1,2\}", r"\left\{\,1\,,\;2\,\right\}"),
        (r"(x+1)^2", r"\bigl( x \,+\, 1 \bigr)^{2}"),
        (r"2\sqrt{3}", r"2 \cdot \sqrt { 3 }"),
        (r"\frac{3}{4}", r"\dfrac { 3 } { 4 }"),
    ]:
        assert canonical.key(plain) == canonical.key(dressed)


def test_keys_of_the_laboratory_are_decimal_integers():
    for n in [*range(-120, 120), 10**11, -(10**12) + 1]:
        assert classes.answer_key(f"3+4;A{n}", "lab") == canonical.key(f"{n}.0") == str(n)


@pytest.mark.parametrize("name", ["aime24", "amc23", "math_sample100", "gsm8k_test", "gsm8k_train"])
def test_every_gold_is_found_and_equals_itself(name):
    for gold in golds(name):
        for style, form in FORMATS.items():
            assert classes.answer_key(form % gold, style) == canonical.key(gold), (gold, style)
        if gold.lstrip("-").replace(".", "").isdigit():
            assert classes.answer_key(f"2 and 3, so {gold}.", "number") == canonical.key(gold)
            assert canonical.key(gold) == canonical.key(f"{float(gold):.2f}")
        if name in ("amc23", "aime24"):
            assert canonical.key(gold) == str(int(float(gold)))


@pytest.mark.parametrize(
    "style, response, want",
    [
        ("boxed", r"\fbox{3}", "3"),
        ("boxed", r"\boxed{1} \fbox{2}", r"\boxed{1} \fbox{2}"),
        ("boxed", r"$\boxed{1}$ and $\boxed{2}$", r"\boxed{1}$ and $\boxed{2}"),
        ("choice", r"\boxed{A} or \boxed{B}", "B"),
        ("boxed", r"\boxed{\{1,2\}}", r"\{1,2\}"),
        ("boxed", r"\boxed{x \in [0,\infty\} oops} ", r"x \in [0,\infty\} oops"),
        ("tag", "<answer>1</answer> <answer>2</answer>", "2"),
        ("tag", "<answer>1</answer> <answer>2", "1"),
        ("tag", "<answer>1 <ANSWER>2</Answer>", "2"),
        ("tag", "</answer> 3 <answer>", None),
        ("line", "Answer: 3\nAnswer: 4\nbye", "4"),
        ("line", "the final answer: $5$", "$5$"),
        ("line", "**Answer**: 6", "6"),
        ("line", "answer is 6", None),
        ("line", "panswer: 6", None),
        ("choice", "The answer is (B).", "B"),
        ("choice", "Answer: C", "C"),
        ("choice", r"so \boxed{\text{(D)}}", "D"),
        ("choice", r"so \boxed{D}", "D"),
        ("choice", r"\boxed{\textbf{(E) }12}", "E"),
        ("choice", "The answer is B. It is a good choice", "B"),
        ("choice", "Answer: A good question", None),
        ("choice", "The answer is Big", None),
        ("choice", "I think about it.\n**F**", "F"),
        ("choice", "A dog. An apple. Answer: k", None),
        ("choice", "Answer: K", None),
        ("number", "so 1,234.50 eggs", "1,234.50"),
        ("number", "5-3", "3"),
        ("number", "x = -3.", "-3"),
        ("number", "none", None),
    ],
)
def test_an_extracted_answer_has_its_span(style, response, want):
    found = extract.extract(response, style)
    assert (found and found.text) == want
    if found:
        assert response[found.start : found.end] == found.text


def test_equal_values_have_one_form_and_different_ones_two():
    """The normal form against floating-point values of random expressions in radicals, i and pi."""
    rng, seen = random.Random(0), {}
    atoms = {"2": 2, "3": 3, "5": 5, r"\sqrt{2}": 2**0.5, r"\sqrt{3}": 3**0.5, "i": 1j, r"\pi": 3.14159265358979,
             r"\frac{1}{2}": 0.5, r"\sqrt{6}": 6**0.5}  # fmt: skip
    for _ in range(400):
        written, value = rng.choice(list(atoms.items()))
        for _ in range(rng.randint(1, 4)):
            other, theirs = rng.choice(list(atoms.items()))
            sign = rng.choice("+-*/")
            written = f"({written}){sign}({other})"
            value = {"+": value + theirs, "-": value - theirs, "*": value * theirs, "/": value / theirs}[
                sign
            ]
        seen.setdefault(text(parse(written)), []).append(value)
    values = [v[0] for v in seen.values()]
    assert all(abs(v - group[0]) < 1e-9 for group in seen.values() for v in group)
    assert min(abs(a - b) for a, b in itertools.combinations(values, 2)) > 1e-9 and len(values) > 150


def test_sines_at_multiples_of_15_degrees_are_exact():
    for steps in range(-24, 25):
        for name, want in (("sin", math.sin), ("cos", math.cos)):
            value = parse(f"\\{name}({15 * steps}^°)")
            number = sum(
                c * math.prod(int(g) ** float(n) for g, n in mono) for mono, c in value.num.items()
            )
            assert abs(number - want(steps * math.pi / 12)) < 1e-12
            assert value == parse(f"\\{name}(\\frac{{{steps}\\pi}}{{12}})")


def test_rational_functions_are_reduced():
    rng = random.Random(1)
    for _ in range(40):
        f, g, h = (
            "("
            + "+".join(f"{rng.randint(-3, 3)}{m}" for m in rng.sample(["x", "y", "", "x y", "x^2"], 2))
            + ")"
            for _ in range(3)
        )
        try:
            plain = text(parse(f"{f}/{g}"))
        except Outside:  # g is zero
            continue
        for factor in (h, f"{h}^2"):
            try:
                assert text(parse(f"({f}*{factor})/({g}*{factor})")) == plain
            except Outside:
                assert text(parse(factor)) == "0"


def test_an_answer_cannot_cost_more_than_its_budget():
    for hostile in ["(x+y+z+w)^{40}", "(x+1)^{64}(y+1)^{64}", "9**9**9", "2^{99999}", "150!^{99}", "{" * 300 + "1" + "}" * 300,
                    r"\sqrt{" * 60 + "2" + "}" * 60, "1/(x+y+z)^{12}/(x-y+2z)^{12}", r"\sqrt{99999999999999999989}",
                    "-" * 900 + "1", "|" * 400, r"\frac" * 80, "x_" * 200, "1," * 500, "=".join("abcdef" * 50)]:  # fmt: skip
        start = time.process_time()
        key = canonical.key(hostile)
        assert key == canonical.key(key) and time.process_time() - start < 0.5, hostile[:30]
    assert Algebra().number(3).rational == 3


def test_very_long_answers_are_told_apart_by_a_short_key():
    one, other = "x" + "1" * 1_000_000, "x" + "1" * 999_999 + "2"
    assert len(canonical.key(one)) < 200 and canonical.key(one) != canonical.key(other)
    assert canonical.key(canonical.key(one)) == canonical.key(one)


_PIECES = r"""\frac { } ( ) [ ] \sqrt ^ _ 9**9**9 9^{9^{9^9}} \boxed{ \{ \} , ; = < x y i \pi 1 0 12 \pm \cup \infty \text{
and or \begin{pmatrix} \end{pmatrix} \\ & % ! | + - * / \log \sin e 1/0 x^{99} (x+y)^{40} \binom A (B) Answer:
<answer> </answer> #### \in ² √ ° \overline{3} 0. 1e99 : pm cm \ \left ' ≤ \mathbb{R} 7! 150! $ .
\begin{cases} \end{cases} ≈ \approx f( f g( |AB| \angle ABC 7th ^{th} clips \text{(C)} (C) percent seven 000 \boxed °"""
PIECES = [*_PIECES.split(), "\ud800", "\x00", "\n", " ", "\u0663", "\u202e"]


SHAPES = r"""#+# #-# #*# #/# ## -# (#) {#} [#] |#| #^# #^{#} #^{-#} \frac{#}{#} \frac## \sqrt{#} \sqrt[3]{#} \sqrt[#]{#} #!
#% \sin# \log_{#}{#} \ln(#) e^{#} #_# #_{#} \binom{#}{#} \lfloor#\rfloor #\frac{#}{#} #\frac## #\pm# (#,#) [#,#) \{#,#\} #,# #=# #<#
#≤#<# #>#>#>#≥# #=#=# #≠# #;#\text{or}# #and# #:#:# #'_# \langle#,#\rangle ]#,#[ ##/#
#\cup# x\in# \text{#} #\text{cm} #^\circ #:# #_{#} \begin{pmatrix}#&#\\#&#\end{pmatrix} \{x|#\} 0.\overline{#} 1e#
f(#) f(#)=# f(#)=#=# x≈# #≈# |AB|=# \angle{A}=# #:#=#:# \sin{#°} \cos(#\pi/12) e^{\ln{#}} #^{\log_{#}{#}} #^{th} #\text{clips} (C)\text{#}
\begin{cases}#&x>#\\#&x<#\end{cases} \begin{cases}x=#\\y=#\end{cases} \begin{cases}#=#\\#=#\end{cases} (#;#) #\text{percent}"""


def formula(rng: random.Random, depth: int) -> str:
    """A well-formed answer of every construct in every other."""
    if depth == 0:
        return rng.choice(
            ["0", "1", "2", "3", "7", "12", "0.5", "x", "y", "n", "i", "e", "\\pi", "\\infty", "-1", "a"]
        )
    shape = rng.choice(SHAPES.split())
    while "#" in shape:
        shape = shape.replace("#", formula(rng, rng.randint(0, depth - 1)), 1)
    return shape


def fuzzed(rng: random.Random) -> str:
    """A hostile string: a formula, pieces of LaTeX, a changed answer, noise, or one piece very often."""
    kind = rng.random()
    if kind < 0.25:
        return formula(rng, rng.randint(1, 4))
    if kind < 0.5:
        return "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 40)))
    if kind < 0.9:
        letters = list(rng.choice(WRITTEN))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(letters) + 1)
            letters[at : at + rng.randint(0, 1)] = rng.choice(
                [[], [rng.choice(PIECES)], rng.choice(WRITTEN)]
            )
        return "".join(letters)
    if kind < 0.97:
        return "".join(
            chr(rng.choice([rng.randrange(128), rng.randrange(0x3000), rng.randrange(0xD800, 0xE000)]))
            for _ in range(rng.randint(1, 60))
        )
    return rng.choice(["{", "(", "\\frac{", "\\sqrt{", "x+", "9^", "\\{", "[", "1,", "a="]) * rng.randint(
        1, 400
    )


def test_fuzzed_text_never_raises():
    rng = random.Random(0)
    for _ in range(2000):
        hostile = fuzzed(rng)
        for style in extract.EXTRACTORS:
            found = extract.extract(hostile, style)
            assert found is None or hostile[found.start : found.end] == found.text
        key = canonical.key(hostile)
        assert canonical.key(key) == key, hostile
        classes.tie_order(key)
