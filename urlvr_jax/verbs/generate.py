"""generate: completions of --prompt, of the questions of --data, or of the lines of standard input."""

from __future__ import annotations

import json
import os
import pathlib
import sys

from urlvr_jax.config import ConfigError
from urlvr_jax.data.stream import Questions, bucket_for
from urlvr_jax.errors import DataError
from urlvr_jax.measure.evaluate import compile_for, how, responses
from urlvr_jax.runtime import hosts
from urlvr_jax.runtime.opening import open_prompt_format, open_questions
from urlvr_jax.runtime.progress import Console
from urlvr_jax.verbs.opened import open_flag


def run(flag) -> int:
    """Print `prompt TAB completion`, `eval.k` lines a prompt; with --out write JSON lines of `prompt`, `response`, `ended`."""
    if flag.out and not pathlib.Path(flag.out).absolute().parent.is_dir():
        raise ConfigError(f"--out={flag.out}: there is no such folder to write it in")
    if flag.data and flag.prompt:
        raise ConfigError("--data and --prompt: give one of them")
    c, engine, params, tokenizer, _, step = open_flag(flag)
    prompt_format = open_prompt_format(c, tokenizer)
    questions = (
        _of_file(c, prompt_format, flag.data) if flag.data else _typed(c, prompt_format, flag.prompt)
    )
    params, options = engine.to_rollout(params), how(c)
    console = Console("stderr")
    compile_for(engine, questions, console.stage("compiling", "programs"), options)
    found = responses(engine, params, questions, step or 0, stream="generate", **options)
    if flag.out:
        tell = console.stage("sampling", "questions")
        _write(flag.out, _lines_of(found, questions, tokenizer, c.eval.k, tell))
        return 0
    for real, _, _, rows in found:
        for row, text in enumerate(tokenizer.decode(rows)):
            print(f"{questions.texts[real[row // c.eval.k]]}\t{text}")
    return 0


def _lines_of(found, questions: Questions, tokenizer, k: int, tell):
    """A JSON line a response, in order. `prompt` is the question as in its file, so that whoever reads it asks anew."""
    tell(0, len(questions))
    for real, _, rollouts, rows in found:
        for row, text in enumerate(tokenizer.decode(rows)):
            asked = questions.questions[real[row // k]]
            yield json.dumps({"prompt": asked, "response": text, "ended": bool(rollouts.ended[row])}) + "\n"
        tell(real[-1] + 1, len(questions))


def _write(file: str, lines) -> None:
    """All of them or none: what is there before stays until the last is sampled."""
    if not hosts.is_writer():
        for _ in lines:  # sampling is done by all processes together
            pass
        return
    unfinished = f"{file}.unfinished"
    with open(unfinished, "w", encoding="utf-8") as out:
        out.writelines(lines)
    os.replace(unfinished, file)


def _of_file(c, prompt_format, name: str) -> Questions:
    """The questions of --data, as `data.*` says; their labels are not looked at."""
    c.data.train = name
    try:
        questions, _ = open_questions(c, prompt_format)
    except DataError as error:
        raise DataError(f"--data: {error}") from None
    return questions


def _typed(c, prompt_format, prompt: str) -> Questions:
    """--prompt, or the lines of standard input; DataError where one does not fit."""
    lines = [prompt] if prompt else list(_lines())
    if not lines:
        raise DataError("generate: no prompt; give --prompt TEXT, --data FILE, or lines on standard input")
    widest = c.data.prompt_buckets[-1]
    texts, tokens, _ = prompt_format.encode(lines, widest=widest)
    for line, ids in zip(lines, tokens, strict=True):
        if not len(ids):
            raise DataError(f"prompt {line[:60]!r} has no tokens")
        if len(ids) > widest:
            raise DataError(
                f"prompt {line[:60]!r} has {_tokens(ids, widest)} in {len(line)} characters; 1 to {widest} fit "
                f"(data.prompt_buckets): give for example --config.data.prompt_buckets={bucket_for(len(ids))}"
            )
    ids = tuple(map(str, range(len(texts))))
    buckets = tuple(c.data.prompt_buckets)
    return Questions(ids, tuple(texts), tuple(tokens), buckets, 0, "", questions=tuple(lines))


def _tokens(ids, widest: int) -> str:
    return f"{len(ids)} tokens" if len(ids) != widest + 1 else f"more than {widest} tokens"


def _lines():
    """The lines of standard input that are not blank; DataError where one is not in UTF-8."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            text = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"generate: line {number} of standard input is not in UTF-8 ({error})"
            ) from None
        if text.strip():
            yield text
