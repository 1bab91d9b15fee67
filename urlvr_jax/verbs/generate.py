"""generate: completions of --prompt, or of the lines of standard input."""

from __future__ import annotations

import sys

from urlvr_jax.data.stream import Questions, bucket_for
from urlvr_jax.errors import DataError
from urlvr_jax.measure.evaluate import compile_for, how, responses
from urlvr_jax.runtime.opening import open_prompt_format
from urlvr_jax.runtime.progress import Console
from urlvr_jax.verbs.opened import open_flag


def run(flag) -> int:
    """Print `prompt TAB completion`, `eval.k` lines a prompt."""
    c, engine, params, tokenizer, _, step = open_flag(flag)
    lines = [flag.prompt] if flag.prompt else list(_lines())
    if not lines:
        raise DataError("generate: no prompt; give --prompt TEXT, or lines on standard input")
    widest = c.data.prompt_buckets[-1]
    texts, tokens, _ = open_prompt_format(c, tokenizer).encode(lines, widest=widest)
    for line, ids in zip(lines, tokens, strict=True):
        if not len(ids):
            raise DataError(f"prompt {line[:60]!r} has no tokens")
        if len(ids) > widest:
            raise DataError(
                f"prompt {line[:60]!r} has {_tokens(ids, widest)} in {len(line)} characters; 1 to {widest} fit "
                f"(data.prompt_buckets): give for example --config.data.prompt_buckets={bucket_for(len(ids))}"
            )
    ids = tuple(map(str, range(len(texts))))
    questions = Questions(ids, tuple(texts), tuple(tokens), tuple(c.data.prompt_buckets), 0, "")
    params, options = engine.to_rollout(params), how(c)
    compile_for(engine, questions, Console("stderr").stage("compiling", "programs"), options)
    for real, _, _, rows in responses(engine, params, questions, step or 0, stream="generate", **options):
        for row, text in enumerate(tokenizer.decode(rows)):
            print(f"{questions.texts[real[row // c.eval.k]]}\t{text}")
    return 0


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
