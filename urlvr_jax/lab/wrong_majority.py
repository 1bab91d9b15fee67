"""Write lab:wrong_majority, the training questions to which most of 64 responses of lab:plain give one wrong answer, and
lab:firmly_wrong: those of them that are asked again, and get the fewest right responses.

python -m urlvr_jax.lab.wrong_majority      a few minutes of one core; the files ship with the package
"""

from __future__ import annotations

import json

from urlvr_jax import config
from urlvr_jax.lab import shipped
from urlvr_jax.measure import evaluate
from urlvr_jax.runtime import settled
from urlvr_jax.runtime.compile_cache import configure_jax
from urlvr_jax.runtime.opening import open_run
from urlvr_jax.runtime.progress import Console

VOTES, AGAIN = (
    64,
    256,
)  # responses a question; half of a vote's mistakes are luck, so those found are asked again
FIRM = 16  # questions
WRONG = shipped.HERE / "questions" / "wrong_majority.jsonl"
FIRMLY = shipped.HERE / "questions" / "firmly_wrong.jsonl"


def ask(questions_file: str, samples: int):
    """-> rows of the questions, and what lab:plain answers."""
    c = config.default()
    c.eval.sets, c.eval.k, c.eval.temperature, c.eval.top_p = (questions_file,), samples, 1.0, 1.0
    run = open_run(settled.here(c))
    ((_, questions, labels),) = run.eval_sets
    params = run.engine.to_rollout(run.base_params())
    tell = Console("stderr").stage("voting", "questions")
    found = evaluate.evaluate(run.engine, params, run.tokenizer, questions, labels, 0, tell)
    rows = [
        {"prompt": text, "answer": labels.gold[name], "id": name}
        for name, text in zip(questions.ids, questions.texts, strict=True)
    ]
    return rows, found


def write(file, rows: list[dict]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{file}: {len(rows)} questions")


def main() -> None:
    rows, found = ask("lab:train", VOTES)
    write(WRONG, [row for row, right in zip(rows, found.majority, strict=True) if not right])
    rows, found = ask("lab:wrong_majority", AGAIN)
    fewest = sorted(range(len(rows)), key=lambda i: found.correct[i])[:FIRM]
    write(FIRMLY, [rows[i] for i in sorted(fewest)])


if __name__ == "__main__":
    configure_jax()
    main()
