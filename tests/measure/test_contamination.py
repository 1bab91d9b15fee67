"""Whether questions were seen before: words in a row, and what a model writes of a question it is shown a part of."""

import json

import numpy as np

from urlvr_jax.measure.contamination import _goes_on, overlaps

LONG = "Let a and b be two real numbers such that the sum of their squares is 17 and their product is 4."


def test_thirteen_words_in_a_row_are_an_overlap_and_twelve_are_none():
    words = LONG.split()
    shared = " ".join(words[3:16])
    asked = [
        f"Other words first. {shared.upper()} and another end",
        f"x {' '.join(words[3:15])} y {words[16]}",
        "wholly new " * 9,
    ]
    np.testing.assert_array_equal(overlaps(asked, [LONG]), [True, False, False])


def test_a_short_question_must_stand_there_whole():
    asked = ["What is 2 + 3?", "What is 2 + 4?", "", "?!"]
    trained = ["Tell me: what is 2+3? And why?", "2 is what"]
    np.testing.assert_array_equal(overlaps(asked, trained), [True, False, False, False])
    np.testing.assert_array_equal(overlaps(asked, []), [False] * 4)
    np.testing.assert_array_equal(overlaps(["What is 3+4?"], ["What is 3-4?"]), [False])


def test_a_question_is_completed_by_all_its_words_in_order():
    assert _goes_on(" squares is 17, and more", "squares is 17")
    assert not _goes_on("squares is", "squares is 17") and not _goes_on(
        "the squares is 17", "squares is 17"
    )
    assert not _goes_on("anything", "?")


def test_evaluate_tells_of_both(launcher, tmp_path):
    file = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"Q{a}+{b}?", "answer": str(a + b)} for a, b in ((1, 2), (3, 4), (11, 5))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--model", "lab:plain", "--data", str(file), "--contamination", f"--config.data.train={file}"]
    call = launcher.run(["evaluate", *words])
    assert call.status == 0, call.err
    told = json.loads(call.out)
    assert told["trained_on"] == str(file) and told["words_in_a_row"] == 13 and told["shown"] == 0.6
    found = told["sets"][str(file)]["contamination"]
    assert found["overlap"] == 3
    for name in ("completed", "answered"):
        assert 0 <= found[f"{name}/low"] <= found[name] <= found[f"{name}/high"] <= 1
    call = launcher.run(["evaluate", *words[:-1], "--config.data.train=/nowhere.jsonl"])
    assert call.status == 2 and "/nowhere.jsonl" in call.err


def test_a_model_that_knows_a_question_by_heart_completes_it(monkeypatch):
    """One that always says the next letter of the alphabet."""
    from urlvr_jax.data.labels import Labels
    from urlvr_jax.data.stream import Questions
    from urlvr_jax.measure import contamination, evaluate

    class Tokenizer:
        encode_plain = staticmethod(lambda text: [ord(x) for x in text])
        decode = staticmethod(lambda rows: ["".join(map(chr, row)) for row in rows])

    questions = Questions(
        ("a", "b"), ("abcdefghij", "abcdefzzzz"), (), (16,), 0, "", questions=("abcdefghij", "abcdefzzzz")
    )
    shown, rests = contamination.halved(questions, Tokenizer)
    assert shown.texts == ("abcdef", "abcdef") and rests == ["ghij", "zzzz"]
    written = []

    def answered(engine, params, tokenizer, asked, labels, step, tell, *, options, see):
        assert options == contamination.GREEDY and asked is not questions

        class answers:
            texts = [
                "".join(chr(ord(text[-1]) + i + 1) for i in range(4)) + "? Yes." for text in asked.texts
            ]

        correct = np.array([[True], [False]])
        see(None, None, answers, correct)
        written.extend(answers.texts)
        return evaluate.Evaluation(correct.sum(1), correct[:, 0], 1, 6.0, 1.0, 0.0, {}, {})

    monkeypatch.setattr(evaluate, "evaluate", answered)
    found = contamination.probe(None, None, Tokenizer, questions, Labels({}), 0, None)
    assert written and found["completed"] == 0.5 and found["answered"] == 0.5
    assert found["completed/low"] < 0.5 < found["completed/high"]
