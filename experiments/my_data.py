"""Your model on your questions, by majority voting: the rest follows from the two.

    python -m urlvr_jax.main --config experiments/my_data.py:MODEL,QUESTIONS
    python -m urlvr_jax.main --config experiments/my_data.py:Qwen/Qwen2.5-0.5B-Instruct,train.jsonl --config.rollout.max_new_tokens=1024

MODEL is a folder or a name on the Hub; QUESTIONS a file, folder or hf:NAME:CONFIG:SPLIT, see docs/data.md. From the
tokenizer: chat or plain text. From the questions: whether they say how to answer, else the answer is asked for in a
box; prompt widths that hold all of them, but for the longest percent where that is far longer than the rest. A part
of the questions, at most 200, is held out and evaluated, if all of them have a gold answer.

Look first: add --dry_run. Then another reward: --config.reward.name=self_certainty.
"""

import jax

from urlvr_jax import config
from urlvr_jax.data import fitted
from urlvr_jax.runtime.opening import model_folder

HELD_OUT = 200


def get_config(argument=""):
    model, _, questions = argument.rpartition(",")
    if not model or not questions:
        raise config.ConfigError(
            "my_data.py needs a model and a question file: --config experiments/my_data.py:MODEL,QUESTIONS"
        )
    found = fitted.fit(model_folder(model), questions, HELD_OUT)
    c = config.default()
    c.model.path = model
    c.model.remat = True
    if jax.default_backend() != "cpu":
        c.model.compute_dtype = "bfloat16"
    c.data.train = f"{questions}[rest={found.held_out}]" if found.labelled else questions
    c.data.prompt_format = "chat" if found.chat else "text"
    c.data.template = found.template
    c.data.prompt_buckets = found.prompt_buckets
    c.data.prompts_per_step = 16
    c.data.shuffle = True
    c.answers.style = found.style
    c.rollout.max_new_tokens = 512
    c.reward.name = "majority_voting"
    c.optim.lr = 1e-6
    c.steps = 100
    c.eval.every = 20 if found.labelled else 0
    c.eval.sets = (f"{questions}[held={found.held_out}]",) if found.labelled else ()
    c.eval.k = 4
    c.checkpoint.every = 20
    return c
