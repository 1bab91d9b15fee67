"""Write lab:wrong_majority: the training questions to which most of 64 responses of lab:plain give one wrong answer.

python -m urlvr_jax.lab.wrong_majority      a few minutes of one core; the file ships with the package
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

VOTES = 64
FILE = shipped.HERE / "questions" / "wrong_majority.jsonl"


def main() -> None:
    c = config.default()
    c.eval.sets, c.eval.k, c.eval.temperature, c.eval.top_p = ("lab:train",), VOTES, 1.0, 1.0
    run = open_run(settled.here(c))
    ((_, questions, labels),) = run.eval_sets
    params = run.engine.to_rollout(run.base_params())
    tell = Console("stderr").stage("voting", "questions")
    found = evaluate.evaluate(run.engine, params, run.tokenizer, questions, labels, 0, tell)
    rows = [
        {"prompt": text, "answer": labels.gold[name], "id": name}
        for name, text, right in zip(questions.ids, questions.texts, found.majority, strict=True)
        if not right
    ]
    FILE.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{FILE}: {len(rows)} of {len(questions)} questions")


if __name__ == "__main__":
    configure_jax()
    main()
