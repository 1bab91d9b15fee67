"""Fifty mistakes of a tired person: each is answered at the start by a sentence that names the remedy."""

import json

import pytest

from urlvr_jax import main
from urlvr_jax.errors import UserError
from urlvr_jax.verbs import command_line

GOOD = [{"prompt": f"Q{i}+1?", "answer": i + 1} for i in range(9)]
FILES = {
    "good.jsonl": GOOD,
    "columns.jsonl": [{"input": "Q1+2?", "target": "3"}],
    "one_gold.jsonl": [row | {"answer": 0} for row in GOOD],
    "unlabelled.jsonl": [{"prompt": "Q1+2?"}],
    "long.jsonl": [{"prompt": "Q" * 200, "answer": 1}, {"prompt": "Q" * 90, "answer": 2}],
    "mostly_long.jsonl": [*GOOD[:1], {"prompt": "Q" * 200, "answer": 1}, {"prompt": "Q" * 90, "answer": 2}],
    "null.jsonl": [{"prompt": None, "answer": 1}],
}
MINE = """
def reward(inputs, scale):
    return inputs


def no_response(gold):
    return True


def column(response, tests):
    return True


def fine(inputs):
    return inputs.per_group(inputs.lengths) * 1.0


def broken(inputs):
    return inputs.per_group(inputs.lenghts)
"""
TRAIN = ("--config", "experiments/majority.py", "--dry_run")
DOCTOR = ("doctor", "--config", "experiments/majority.py")
MISTAKES = [
    # keys, flags and verbs
    (("evalute", "--model", "lab:plain"), "did you mean evaluate"),
    ((*TRAIN, "--config.reward.nme=random"), "did you mean --config.reward.name"),
    ((*TRAIN, "--lr=1e-5"), "--config.optim.lr"),
    ((*TRAIN, "--num_generations=8"), "--config.rollout.group"),
    ((*TRAIN, "--config.learning_rate=1e-5"), "--config.optim.lr"),
    ((*TRAIN, "--model=lab:plain"), "--config.model.path=lab:plain"),
    ((*TRAIN, "--config.steps=1.5"), "whole number"),
    ((*TRAIN, "--config.optim.lr=fast"), "optim.lr"),
    (("--config", "experiments/majorty.py", "--dry_run"), "experiments/majorty.py"),
    (("--config", "{folder}/model/config.json", "--dry_run"), "--config.model.path={folder}/model"),
    (("--config", "experiments/my_data.py", "--dry_run"), "my_data.py:MODEL,QUESTIONS"),
    (("evaluate",), "--model is missing"),
    (("score", "--model", "lab:plain"), "--data is missing"),
    (("export", "--model", "lab:plain"), "--out is missing"),
    (("export", "--model", "lab:plain", "--out", "{folder}"), "is not empty: name a new folder"),
    (("generate", "--model", "lab:plain", "--prompt", "Q1+2?" * 9), "data.prompt_buckets"),
    (("evaluate", "--model", "lab:plain", "--step", "3"), "is for a run's folder"),
    # model
    ((*TRAIN, "--config.model.path=lab:plian"), "available: ['lab:"),
    ((*TRAIN, "--config.model.path={folder}/nowhere"), "nowhere"),
    ((*TRAIN, "--config.model.compute_dtype=fp16"), "choose one of ['bfloat16', 'float32']"),
    ((*TRAIN, "--config.rollout.max_new_tokens=100000"), "max_position_embeddings"),
    ((*TRAIN, "--config.mesh.data=3"), "make the product 8"),
    # data
    ((*TRAIN, "--config.data.train={folder}/nowhere.jsonl"), "does not exist"),
    ((*TRAIN, "--config.data.train=openai/gsm8k"), "hf:openai/gsm8k:train"),
    ((*TRAIN, "--config.data.train={folder}/columns.jsonl"), "data.columns = 'prompt=question,answer=final'"),
    ((*TRAIN, "--config.data.train={folder}/good.jsonl", "--config.data.columns=prompt=questoin"), "there are ["),
    ((*TRAIN, "--config.data.train={folder}/null.jsonl"), "null.jsonl, line 1"),
    ((*TRAIN, "--config.data.train={folder}/long.jsonl"), "--config.data.prompt_buckets=208"),
    ((*TRAIN, "--config.data.train={folder}/mostly_long.jsonl"), "--config.data.prompt_buckets=208"),
    ((*TRAIN, "--config.data.train={folder}/one_gold.jsonl"), "see which column data.columns reads"),
    ((*TRAIN, "--config.data.train={folder}/good.jsonl"), "set eval.sets to held-out questions of the same"),
    ((*TRAIN, "--config.data.train={folder}/good.jsonl[held=9]"), "hold from 1 to 8"),
    ((*TRAIN, "--config.eval.sets={folder}/unlabelled.jsonl"), "needs `answer` in every row"),
    ((*TRAIN, "--config.data.rephrase=column"), "data.rephrase"),
    # prompts and answers
    ((*TRAIN, "--config.answers.style=boxd"), "choose one of ['boxed'"),
    ((*TRAIN, "--config.answers.style=boxed"), "set data.template, such as ['boxed', 'qwen_math']"),
    ((*TRAIN, "--config.data.template=boxd"), "did you mean 'boxed'"),
    ((*TRAIN, "--config.data.template=Solve this."), "must contain {{prompt}} exactly once"),
    ((*TRAIN, "--config.data.prompt_format=chat"), "use data.prompt_format = 'text'"),
    ((*TRAIN, "--config.data.system=Be brief."), "needs data.prompt_format = 'chat'"),
    ((*TRAIN, "--config.answers.check={folder}/mine.py:no_response"), "call one `response`"),
    ((*TRAIN, "--config.answers.check={folder}/mine.py:column"), "asks for ['tests']"),
    # reward and objective
    ((*TRAIN, "--config.reward.name=majority"), "did you mean 'majority_voting'"),
    ((*TRAIN, "--config.reward.name=intuitor"), "papers call ['self_certainty'] so"),
    ((*TRAIN, "--config.reward.fn={folder}/mine.py:reward"), "options are keyword-only with defaults"),
    ((*TRAIN, "--config.reward.fn={folder}/mine.py:rewrd"), "it has ['broken', 'column', 'fine'"),
    ((*DOCTOR, "--config.reward.fn={folder}/mine.py:broken"), "a reward's inputs have no 'lenghts'"),
    ((*TRAIN, "--config.reward.name=ground_truth", "--config.data.train={folder}/unlabelled.jsonl"), "needs a gold answer"),
    ((*TRAIN, "--config.reward.shadow=ground_truth"), "shadows receive none"),
    ((*TRAIN, "--config.reward.name=self_verify", "--config.verify.judge=lab:nobody"), "verify.judge = 'lab:nobody'"),
    ((*TRAIN, "--config.rollout.group=1"), "must be at least 2"),
    ((*TRAIN, "--config.rollout.top_p=0.9"), "training samples by temperature alone"),
    ((*TRAIN, "--config.optim.minibatch_prompts=5"), "must divide data.prompts_per_step = 32"),
    ((*TRAIN, "--config.kl.coef=0.1", "--config.kl.estimator=k1"), "use kl.place = 'reward', or k2"),
    ((*TRAIN, "--config.optim.schedule=linear"), "choose one of ['constant', 'cosine']"),
    ((*TRAIN, "--config.verify.template=Is it right?"), "must contain {{prompt}} exactly once"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Question files, a file of code, and a model's configuration."""
    root = tmp_path_factory.mktemp("mistakes")
    for name, rows in FILES.items():
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "mine.py").write_text(MINE)
    (root / "model").mkdir()
    (root / "model" / "config.json").write_text('{"model_type": "qwen2"}')
    return root


@pytest.mark.parametrize("words, remedy", MISTAKES, ids=[" ".join(w[-2:])[-60:] for w, _ in MISTAKES])
def test_a_mistake_is_answered_by_its_remedy(folder, capsys, words, remedy):
    words = [word.replace("{folder}", str(folder)) for word in words]
    try:
        main.main(command_line.parse(["main", *words]))
        error = ""
    except UserError as refused:
        error = str(refused)
        assert "\n" not in error
    out, err = capsys.readouterr()
    said = error + err + (out if words[0] == "doctor" else "")
    assert remedy.replace("{{prompt}}", "{prompt}").replace("{folder}", str(folder)) in said, said
