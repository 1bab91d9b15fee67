"""RLCCF: a vote together with other models, whose responses are on file."""

import json

import helpers
import numpy as np
import pytest

from urlvr_jax import config, validation
from urlvr_jax.answers import classes as classes_lib
from urlvr_jax.answers.classes import Ballot
from urlvr_jax.config import ConfigError
from urlvr_jax.errors import DataError
from urlvr_jax.rewards import expression
from urlvr_jax.runtime import elsewhere, opening
from urlvr_jax.types import Prompts


def ballot(*answers):
    return Ballot(classes_lib.Counter(a for a in answers if a is not None), len(answers))


def collective(keys, others, group=4):
    """Class of each group by the function, and by float64 over texts."""
    classes, names = classes_lib.group_classes(keys, group)
    found = classes_lib.collective_classes(classes, names, others)
    want = []
    for p, beside in enumerate(others):
        models = [
            keys[p * group : (p + 1) * group],
            *(list(b.votes.elements()) + [None] * (b.responses - b.votes.total()) for b in beside),
        ]
        total = {}
        for given in models:
            share = {a: np.float64(given.count(a)) / len(given) for a in given if a is not None}
            for a, s in share.items():
                total[a] = total.get(a, 0.0) + max(share.values()) * s
        best = max(total, key=total.get, default=None)
        want.append(-1 if best is None else names[p].get(best, -2))
    return found.tolist(), want


def test_votes_of_several_models_weighted_by_self_consistency_equal_float64():
    keys = ["5", "5", "7", None] * 5 + [None] * 4
    others = [
        [ballot("7", "7", "7", "7")],  # one that is sure outvotes half of a group: 1 > 0.25
        [ballot("7", "8", "9", "1")],  # one that is not hardly counts
        [ballot("9", "9", "9", None)],  # 0.5625 > 0.25, and nobody here gave it
        [],  # alone: a majority vote
        [ballot(None, None), ballot("5", "6", "6", "6", "5")],
        [ballot(None)],
    ]
    found, want = collective(keys, others)
    classes, names = classes_lib.group_classes(keys, 4)
    assert found == want
    assert found[0] == names[0]["7"] and found[1] == names[1]["5"] and found[2] == -2 and found[5] == -1
    assert found[3] == classes_lib.majority_class(classes)[3]


def test_a_tie_between_models_goes_to_the_same_answer_whoever_gave_it():
    for keys, other in ((["5"] * 4, "7"), (["7"] * 4, "5")):
        classes, names = classes_lib.group_classes(keys, 4)
        (found,) = classes_lib.collective_classes(classes, names, [[ballot(other)]])
        winner = min("57", key=classes_lib.tie_order)
        assert found == names[0].get(winner, -2)


def test_the_reward_is_one_for_the_collective_answer():
    fn = expression.load("rlccf")
    answers = np.array([[0, 1, -1, 1], [0, 0, 1, -1], [-1, -1, -1, -1]])
    given = helpers.reward_inputs(
        fn, answers=answers, collective=np.array([1, -2, -1]), lengths=np.ones(12, np.int32), group=4
    )
    np.testing.assert_array_equal(expression.compute(fn, given), [[0, 1, 0, 1], [0] * 4, [0] * 4])


def configured(tmp_path, questions, *files):
    """A configuration whose votes are files of (question, response), and its prompts."""
    c = config.default()
    names = []
    for i, rows in enumerate(files):
        names.append(str(tmp_path / f"votes{i}.jsonl"))
        lines = (json.dumps({"prompt": q, "response": r, "answer": "999"}) + "\n" for q, r in rows)
        (tmp_path / f"votes{i}.jsonl").write_text("".join(lines))
    c.data.votes = tuple(names)
    ids = tuple(map(str, range(len(questions))))
    return c, Prompts(
        ids, questions, np.zeros((len(ids), 1), np.int32), np.ones(len(ids), np.int32), questions
    )


def test_files_are_read_by_question_and_their_labels_are_not(tmp_path):
    one = [("Q1+1?", "A2"), ("Q1+1?", "1+1=2;A2"), ("Q2+2?", "A5"), ("Q2+2?", "junk")]
    c, prompts = configured(tmp_path, ("Q2+2?", "Q1+1?"), one)
    c.reward.name = "rlccf"
    elsewhere.require(c, prompts.questions, "lab:train")
    texts = ["A4", "A5", "A4", "A5", "A2", "A3", "A3", "A999"]
    answers = classes_lib.read_answers(texts, 4, "lab")
    found = elsewhere.collective(c, prompts, answers)
    assert [found[p] for p in (0, 1)] == [answers.names[0]["5"], answers.names[1]["2"]]
    before = elsewhere.facts(c)["votes_sha256"]
    with open(c.data.votes[0], "a") as file:
        file.write(json.dumps({"prompt": "Q1+1?", "response": "A2"}) + "\n")
    assert len(before) == 1 and before != elsewhere.facts(c)["votes_sha256"]


def test_a_file_that_lacks_a_question_is_named_with_it(tmp_path):
    c, prompts = configured(tmp_path, ("Q1+1?", "Q2+2?"), [("Q1+1?", "A2")])
    with pytest.raises(
        DataError, match=r"votes0\.jsonl has no response to 1 of 2 questions of q.jsonl, such as 'Q2\+2\?'"
    ):
        elsewhere.require(c, prompts.questions, "q.jsonl")
    c.data.votes = ("nowhere.jsonl",)
    with pytest.raises(
        DataError, match=r"data\.votes: file of completions 'nowhere\.jsonl' does not exist"
    ):
        elsewhere.require(c, prompts.questions, "q.jsonl")
    c.reward.name = "majority_voting"
    assert elsewhere.facts(c) == {}  # no reward asks for it: it may be away
    away = experiment_with(votes=("nowhere.jsonl",))
    away.mesh.data = 8
    assert "votes_sha256" not in opening.open_run(away).facts


@pytest.mark.parametrize("votes", [("",), ("a", "a")])
def test_names_of_files_are_checked(votes):
    with pytest.raises(ConfigError, match=r"data\.votes = .*: give names of files, each once"):
        validation.validate(experiment_with(votes=votes), 1)


def experiment_with(votes):
    c = config.default()
    c.data.votes, c.mesh.data = votes, 1
    return c


def test_without_files_a_vote_with_other_models_is_refused():
    c = config.default()
    c.mesh.data, c.reward.name = 8, "rlccf"
    with pytest.raises(ConfigError, match=r"set data\.votes"):
        opening.require_inputs(expression.load_configured(c), opening.open_run(c))
