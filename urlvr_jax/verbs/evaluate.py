"""evaluate: avg, maj and pass at k of a model on question files; one JSON object on standard output."""

from __future__ import annotations

import json
import pathlib

from urlvr_jax.config import ConfigError
from urlvr_jax.errors import DataError
from urlvr_jax.measure import evaluate
from urlvr_jax.runtime.opening import open_evaluation, open_prompt_format, short_names
from urlvr_jax.runtime.progress import Console
from urlvr_jax.runtime.terminal import warn
from urlvr_jax.verbs.opened import open_flag


def run(flag) -> int:
    """Evaluate --model on --data, or on the configuration's `eval.sets`; --out writes the object to a file too."""
    if flag.out and not pathlib.Path(flag.out).absolute().parent.is_dir():
        raise ConfigError(f"--out={flag.out}: there is no such folder to write it in")
    c, engine, params, tokenizer, _, step = open_flag(flag)
    results = {}
    prompt_format = open_prompt_format(c, tokenizer)
    console, rollout_params = Console("stderr"), engine.to_rollout(params)
    for name in [flag.data] if flag.data else c.eval.sets:
        try:
            questions, labels = open_evaluation(c, name, prompt_format)
        except DataError as error:
            raise DataError(f"{'--data' if flag.data else 'eval.sets'}: {error}") from None
        evaluate.compile_for(engine, questions, console.stage("compiling", "programs"), evaluate.how(c))
        tell = console.stage(f"evaluating {short_names([name])[0]}", "questions")
        result = evaluate.evaluate(engine, rollout_params, tokenizer, questions, labels, step or 0, tell)
        for text in result.notices.values():
            warn(f"{name}: {text}")
        results[name] = {"questions": len(questions), "too_long": questions.overlong, **result.metrics()}
    options = {"temperature": c.eval.temperature, "top_p": c.eval.top_p, "k": c.eval.k, "seed": c.seed}
    options |= {
        "max_new_tokens": c.rollout.max_new_tokens,
        "style": c.answers.style,
        "check": c.answers.check,
    }
    text = json.dumps({"model": flag.model, "step": step, **options, "sets": results}, indent=1)
    print(text)
    if flag.out:
        pathlib.Path(flag.out).write_text(text + "\n")
    return 0
