"""Extraction, canonical keys, classes; and text that tries to break them."""

import time

import numpy as np
import pytest

from urlvr_jax.answers import canonical, classes, extract


@pytest.mark.parametrize(
    "style, text, want",
    [
        ("lab", "16-13=3;3+2=5;A5", "5"),
        ("lab", "A5;A17", "17"),
        ("lab", "A-4", "-4"),
        ("lab", "A007", "7"),
        ("lab", "A-0", "0"),
        ("lab", "A5=3+2", "5"),
        ("lab", "16-13=3", None),
        ("lab", "A", None),
        ("lab", "AA;A=5", None),
        ("lab", "A" + "1" * 13, None),  # too long is no answer, not its first digits
        ("lab", "A3;A" + "1" * 13, "3"),
        ("lab", "", None),
        ("boxed", r"so \boxed{5}.", "5"),
        ("boxed", r"\boxed{1} then \boxed{2}", "2"),
        ("boxed", r"\boxed{\frac{1}{2}}", "1/2"),
        ("boxed", r"\boxed {a {b {c}} d}", "a*b*c*d"),
        ("boxed", r"\boxed{3} and \boxed{4", "3"),  # the last one never closes
        ("boxed", r"\boxed{3", None),
        ("boxed", r"\boxed{}", None),
        ("boxed", r"\boxed{  }", None),
        ("boxed", r"\boxed{ 1,234 }", "1234"),
        ("boxed", r"\boxed{\boxed{7}}", "7"),
        ("boxed", "boxed{5}", None),
        # boxes with nothing but separators between them are one list; a later sentence's box stands alone
        ("boxed", r"so \boxed{2}, \boxed{3}", r"\{2,3\}"),
        ("boxed", r"$\boxed{3}$ and $\boxed{2}$.", r"\{2,3\}"),
        ("boxed", "\\(\\boxed{2}\\) or\n\\(\\boxed{3}\\)", r"\{2,3\}"),
        ("boxed", "\\boxed{2}\n\n\\boxed{3}", r"\{2,3\}"),  # no product of 2 and 3
        ("boxed", r"\boxed{(98,2)} and \boxed{(99,503)}", r"\{(98,2),(99,503)\}"),
        ("boxed", r"\boxed{1,234}, \boxed{5}", r"\{1234,5\}"),
        ("boxed", r"\boxed{1,2} \text{ and } \boxed{3}", r"\{1,2,3\}"),
        ("boxed", r"\boxed{x=1}, \boxed{y=2}", r"\{x=1,y=2\}"),
        ("boxed", r"\boxed{\boxed{1},\boxed{2}}", r"\{1,2\}"),
        ("boxed", r"\boxed{5} \boxed{5}, \boxed{5}", "5"),  # said again
        ("boxed", r"\boxed{5}, \boxed{6}. It is \boxed{7}.", "7"),
        ("boxed", r"\boxed{5}. Wait, \boxed{6}", "6"),
        ("boxed", r"\boxed{5}. \boxed{6}", "6"),  # a sentence of its own
        ("boxed", r"\boxed{5} + \boxed{6}", "6"),
        ("boxed", r"\boxed{5}, \boxed{}", None),
        ("boxed", r"\boxed{1}, \boxed{2}, " * 100, "2"),  # a loop, not a list
        # TeX lets a box go without braces
        ("boxed", r"$x = \boxed 5$.", "5"),
        ("boxed", r"\boxed5", "5"),
        ("boxed", r"\boxed 12 and so on", "12"),  # a number is read whole, as it was meant
        ("boxed", r"\boxed 1,234.", "1234"),
        ("boxed", r"\boxed 2, \boxed{3}", r"\{2,3\}"),
        ("boxed", r"$\boxed \frac{1}{2}$", "1/2"),
        ("boxed", r"$\boxed B$", "B"),
        ("boxed", r"put it in \boxed a or so", None),  # a word, not an answer
        ("boxed", r"\boxed{4} or \boxed 12x", "4"),
        ("hashes", "work\n#### 5", "5"),
        ("hashes", "#### 1\n#### 2\n", "2"),
        ("hashes", "####142.0", "142"),
        ("hashes", "#### $1,234", "1234"),
        ("hashes", "#### ", None),
        ("hashes", "### 5", None),
        ("hashes", "#### twelve   eggs ", "twelve eggs"),
    ],
)
def test_an_answer_is_extracted(style, text, want):
    assert classes.answer_key(text, style) == want


@pytest.mark.parametrize(
    "same",
    [
        ["142", "142.0", "142.000", "+142", " 142 ", "$142$", "0142"],
        ["1234", "1,234", "1,234.0", "01234"],
        ["7", "007"],
        ["0", "-0", "0.0", "-0.00", "000"],
        ["-5", "-5.0", "-05"],
        ["0.5", "0.50", "00.5"],
        ["1234567.25", "1,234,567.25"],
        ["x + 1", "x  +\t1", " x + 1 "],
    ],
)
def test_equal_answers_have_one_key(same):
    assert len({canonical.key(a) for a in same}) == 1
    assert canonical.key(canonical.key(same[0])) == canonical.key(same[0])  # a key is its own key


def test_different_answers_have_different_keys():
    different = ["1", "-1", "10", "0.1", "0.10000000000000000001", "1,23", "12,34", "1234", "x", "X", "1 2",
                 "1/2", "123456789012345678901", "123456789012345678902", ".", "1e3"]  # fmt: skip
    assert len({canonical.key(a) for a in different}) == len(different)


def test_the_key_of_a_number_is_exact():
    assert canonical.key("0.1") == "1/10" and canonical.key("2.50") == "5/2"
    digits = "9" * 60
    assert canonical.key(digits) == digits
    assert canonical.key(digits + ".5") != canonical.key(digits + ".25")


@pytest.mark.parametrize("style", sorted(extract.EXTRACTORS))
def test_hostile_text_is_done_with_quickly(style):
    n = 1_000_000
    hostile = [
        "1" * n,
        "A" + "1" * n,
        "A1" * (n // 2),
        "A-" * (n // 2),
        "\\boxed{" * (n // 7),
        "\\boxed{" + "{" * n,
        "\\boxed{" + "{" * (n // 2) + "}" * (n // 2) + "}",
        "\\boxed{" + "1" * n + "}",
        "\\boxed{" + "1,234" * (n // 5) + "}",
        "\\boxed" + " " * n,
        "####" + " " * n,
        "#" * n,
        "#### " + "1" * n,
        "#### " + "1" + ",000" * (n // 4),
        "\n####\n" * (n // 6),
        "\ud800\udfff\ud800" * 1000 + "A5 \\boxed{\ud800} #### \ud800",
        "\x00\u202e\u0663" * 1000,
        "#### \u0663\u0664",
        "\\boxed{\u0663.\u00b2}",
    ]
    began = time.process_time()
    keys = []
    for text in hostile:
        start = time.process_time()
        keys.append(classes.answer_key(text, style))
        assert time.process_time() - start < 3, text[:20]
    ids, _ = classes.group_classes(keys, len(keys))
    assert ids.shape == (1, len(hostile)) and ids.max() < len(hostile)
    assert time.process_time() - began < 15


def test_classes_say_which_answers_of_a_group_are_equal():
    keys = ["5", "7", "5", None, None, None, None, None, "1", "2", "3", "4"]
    ids, names = classes.group_classes(keys, 4)
    assert ids.dtype == np.int32 and ids.shape == (3, 4)
    assert ids[0, 0] == ids[0, 2] != ids[0, 1] and ids[0, 3] == -1
    assert (ids[1] == -1).all() and names[1] == {}
    assert sorted(ids[2]) == [0, 1, 2, 3]
    for p in range(3):
        for g in range(4):
            key = keys[4 * p + g]
            assert ids[p, g] == (-1 if key is None else names[p][key])


def test_the_order_of_ties_depends_on_the_answers_alone():
    rng = np.random.default_rng(0)
    pool = [str(i) for i in range(40)]
    for _ in range(50):
        a, b = rng.choice(pool, 2, replace=False)
        wins = set()
        for others in ([], ["x"], ["y", "z"]):  # whoever else is in the group
            keys = [*rng.permutation([a, b]), *others, *([None] * (2 - len(others)))]
            _, (names,) = classes.group_classes([k if k is None else str(k) for k in keys], len(keys))
            wins.add(names[a] < names[b])
        assert wins == {classes.tie_order(a) < classes.tie_order(b)}
    first = sum(classes.tie_order("0") < classes.tie_order(k) for k in pool[1:])
    assert 0 < first < 39
    size = [classes.tie_order(str(i)) < classes.tie_order(str(i + 1)) for i in range(400)]
    assert 140 < sum(size) < 260  # neither the smaller nor the larger number is favoured


def test_gold_classes_point_at_the_gold_answer_or_nowhere():
    _, names = classes.group_classes(["5", "7", "5", "8", None, None, None, None], 4)
    gold = classes.gold_classes(["5", "5"], names)
    assert gold.dtype == np.int32 and gold.tolist() == [names[0]["5"], -2]
    with pytest.raises(ValueError):
        classes.gold_classes(["5"], names)


def test_an_empty_box_of_dollars_is_no_answer():
    assert classes.answer_key(r"\boxed{$$}", "boxed") is None
    assert classes.answer_key("#### $", "hashes") is None
