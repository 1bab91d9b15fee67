"""--dry_run: every check that training makes before its first step, and one rendered prompt."""

from __future__ import annotations

import json

from urlvr_jax import config as config_lib
from urlvr_jax.data import stream
from urlvr_jax.measure import notices, summary
from urlvr_jax.rewards import expression
from urlvr_jax.rewards.derived import SECOND_GENERATION
from urlvr_jax.runtime import judges
from urlvr_jax.runtime.opening import open_run, require_inputs
from urlvr_jax.runtime.terminal import warn


def run(c) -> int:
    """Validate against the files too; print what looks wrong, the keys that differ from the defaults, and one prompt."""
    reward = expression.load_configured(c)
    opened = open_run(c, columns=expression.needs_labels(reward.fn))
    require_inputs(reward, opened)
    if SECOND_GENERATION & reward.needs:
        judges.model_of(c)
    for text in notices.of_run(opened).values():
        warn(text)
    print(json.dumps(_changed(c), indent=1, sort_keys=True))
    tokenizer = opened.tokenizer
    prompts = stream.prompts_at(opened.questions, 1, 1, c.seed, c.data.shuffle)
    print(f"stop ids: {list(tokenizer.stop_ids)} {tokenizer.hf.convert_ids_to_tokens(tokenizer.stop_ids)}")
    print(f"first prompt: {prompts.texts[0]!r}")
    print(f"its ids: {prompts.tokens[0][: prompts.lengths[0]].tolist()}")
    print(f"its gold answer: {opened.labels.gold.get(prompts.ids[0])!r}, for metrics and controls only")
    for name, questions, labels in (
        (config_lib.trained_on(c), opened.questions, opened.labels),
        *opened.eval_sets,
    ):
        print(_of_questions(name, questions, labels))
    if trained := opened.test_time_training:
        print(summary.test_time_text(trained))
    print(f"{opened.facts['parameters']} parameters, {config_lib.rows_per_step(c)} rollouts a step")
    return 0


def _changed(c) -> dict:
    """The keys that differ from the defaults; config.json of a run has all."""
    defaults = config_lib.flat(config_lib.default())
    return {k: v for k, v in config_lib.flat(c).items() if v != defaults[k]}


def _of_questions(name: str, questions, labels) -> str:
    """One line about a question file."""
    origin = questions.origin
    text = (
        f"{name}: {len(questions)} questions ({questions.overlong} too long, left out), {len(labels.gold)} with a "
        f"gold answer; {origin.rows} rows, read as {origin.shape}"
    )
    if origin.duplicates:
        text += f"; {origin.duplicates} duplicates left out, {origin.conflicts} questions with other answers there"
    if origin.control:
        text += f"; {origin.control} with the text of a control token, encoded as ordinary text"
    return text
