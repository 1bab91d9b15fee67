"""evaluate: avg, maj and pass at k of a model on question files; one JSON object on standard output."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib

from urlvr_jax.config import ConfigError, is_run
from urlvr_jax.data import files, shapes
from urlvr_jax.errors import DataError
from urlvr_jax.measure import contamination, evaluate
from urlvr_jax.measure.record import RunRecord, by_step
from urlvr_jax.runtime import bucket, hosts
from urlvr_jax.runtime.opening import open_evaluation, open_prompt_format, short_names
from urlvr_jax.runtime.progress import Console
from urlvr_jax.runtime.terminal import warn
from urlvr_jax.runtime.workdir import PACKAGES
from urlvr_jax.verbs import align
from urlvr_jax.verbs.opened import open_flag


def run(flag) -> int:
    """Evaluate --model on --data, or on the configuration's `eval.sets`; --out writes the object to a file too.

    With --tokens_of a vote is held too, of as many samples as the tokens of that run's training pay for.
    With --align it is sampled as for training, and the object tells of the rewards; the file has a dict a question too.
    """
    if flag.out and not bucket.is_in(flag.out) and not pathlib.Path(flag.out).absolute().parent.is_dir():
        raise ConfigError(f"--out={flag.out}: there is no such folder to write it in")
    tokens = _tokens_of(flag.tokens_of) if flag.tokens_of else 0
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
        if flag.tokens_of:
            found["equal_tokens"] = _votes_for(tokens, result, *asked, how, console)
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
    options = {name: how[name] for name in ("temperature", "top_p", "top_k", "k")} | {"seed": c.seed}
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


def _tokens_of(run: str) -> int:
    """Tokens that a run has sampled to train on; ConfigError for a folder that tells of none."""
    folder = pathlib.Path(run)
    if not is_run(folder):
        raise ConfigError(f"--tokens_of={run} is no run's folder: it needs config.json and record.json")
    tokens = int(sum(by_step(RunRecord(folder).lines, "perf/rollout_tokens").values()))
    if not tokens:
        raise ConfigError(f"--tokens_of={run}: this run has trained no step yet")
    return tokens


def _votes_for(
    tokens: int, first, engine, params, tokenizer, questions, labels, step, how, console
) -> dict:
    """Majority voting for as many tokens as a run sampled: its k, from the lengths of a first evaluation, and maj@k.

    `maj` is None where the tokens are too few for a vote of one.
    """
    k = int(tokens / (len(questions) * max(first.mean_length, 1.0)))
    if k < 1:
        return {"tokens": tokens, "k": 0, "maj": None}
    options = how | {"k": k}
    evaluate.compile_for(engine, questions, console.stage("compiling", "programs"), options)
    tell = console.stage(f"voting with {k} samples", "questions")
    found = evaluate.evaluate(
        engine, params, tokenizer, questions, labels, step, tell, options=options
    ).metrics()
    ends = {end: found[f"maj@{k}/{end}"] for end in ("low", "high")}
    return {"tokens": tokens, "k": k, "maj": found[f"maj@{k}"], **ends}


def _trained_on(c) -> list[str]:
    """The questions of `data.train`."""
    rows = files.read(c.data.train, shapes.parse(c.data.columns), strict=False).rows
    return [row["prompt"] for row in rows]


def _contamination(engine, params, tokenizer, questions, labels, step, trained: list[str], tell) -> dict:
    """`overlap`: how many of the questions share words with training questions; and what the probe finds."""
    shared = contamination.overlaps(questions.questions or questions.texts, trained)
    found = contamination.probe(engine, params, tokenizer, questions, labels, step, tell)
    return {"overlap": int(shared.sum()), **found}
