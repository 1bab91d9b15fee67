"""evaluate: avg, maj and pass at k of a model on question files; one JSON object on standard output."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib

from urlvr_jax.config import ConfigError
from urlvr_jax.data import files, shapes
from urlvr_jax.errors import DataError
from urlvr_jax.measure import contamination, evaluate
from urlvr_jax.runtime import bucket, hosts
from urlvr_jax.runtime.opening import open_evaluation, open_prompt_format, short_names
from urlvr_jax.runtime.progress import Console
from urlvr_jax.runtime.terminal import warn
from urlvr_jax.runtime.workdir import PACKAGES
from urlvr_jax.verbs import align
from urlvr_jax.verbs.opened import open_flag


def run(flag) -> int:
    """Evaluate --model on --data, or on the configuration's `eval.sets`; --out writes the object to a file too.

    With --align it is sampled as for training, and the object tells of the rewards; the file has a dict a question too.
    """
    if flag.out and not bucket.is_in(flag.out) and not pathlib.Path(flag.out).absolute().parent.is_dir():
        raise ConfigError(f"--out={flag.out}: there is no such folder to write it in")
    c, engine, params, tokenizer, _, step = open_flag(flag)
    how = align.how(flag, c) if flag.align else evaluate.how(c)
    results, rows = {}, {}
    prompt_format = open_prompt_format(c, tokenizer)
    console, rollout_params = Console("stderr"), engine.to_rollout(params)
    trained = _trained_on(c) if flag.contamination else []
    for name in [flag.data] if flag.data else c.eval.sets:
        try:
            questions, labels = open_evaluation(c, name, prompt_format)
        except DataError as error:
            raise DataError(f"{'--data' if flag.data else 'eval.sets'}: {error}") from None
        evaluate.compile_for(engine, questions, console.stage("compiling", "programs"), how)
        tell = console.stage(f"evaluating {short_names([name])[0]}", "questions")
        asked = (engine, rollout_params, tokenizer, questions, labels, step or 0)
        found = {}
        if flag.align:
            result, found["alignment"], rows[name] = align.measure(*asked, how, tell)
        else:
            result = evaluate.evaluate(*asked, tell)
        if flag.contamination:
            evaluate.compile_for(
                engine, questions, console.stage("compiling", "programs"), contamination.GREEDY
            )
            found["contamination"] = _contamination(*asked, trained, console.stage("probing", "questions"))
        for text in result.notices.values():
            warn(f"{name}: {text}")
        results[name] = {
            "questions": len(questions),
            "too_long": questions.overlong,
            **result.metrics(),
            **found,
        }
    options = {"temperature": how["temperature"], "top_p": how["top_p"], "k": how["k"], "seed": c.seed}
    options |= {
        "max_new_tokens": c.rollout.max_new_tokens,
        "style": c.answers.style,
        "check": c.answers.check,
        "prompt_format": c.data.prompt_format,
        "template": c.data.template,
        "system": c.data.system,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    options |= {"advantage": c.advantage.name} if flag.align else {}
    if flag.contamination:
        options |= {
            "trained_on": c.data.train,
            "words_in_a_row": contamination.WORDS,
            "shown": contamination.SHOWN,
        }
    told = {"model": flag.model, "step": step, **options, "sets": results}
    print(json.dumps(told, indent=1))
    if flag.out and hosts.is_writer():
        more = {"questions": rows} if flag.align else {}
        text = json.dumps(told | more, indent=1) + "\n"
        if bucket.is_in(flag.out):
            bucket.write(flag.out, text)
        else:
            pathlib.Path(flag.out).write_text(text)
    return 0


def _trained_on(c) -> list[str]:
    """The questions of `data.train`."""
    rows = files.read(c.data.train, shapes.parse(c.data.columns), strict=False).rows
    return [row["prompt"] for row in rows]


def _contamination(engine, params, tokenizer, questions, labels, step, trained: list[str], tell) -> dict:
    """`overlap`: how many of the questions share words with training questions; and what the probe finds."""
    shared = contamination.overlaps(questions.questions or questions.texts, trained)
    found = contamination.probe(engine, params, tokenizer, questions, labels, step, tell)
    return {"overlap": int(shared.sum()), **found}
