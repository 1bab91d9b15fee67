"""Pretrain a base of the laboratory from nothing, on documents of its world.

python -m urlvr_jax.main --config experiments/lab_pretrain.py:plain

Or :careful, :steady, :sloppy, :rash, :hasty; :early, a third of the way to :careful; and :taught, which is lab:plain after
100 steps on clean solutions, as an instruction-tuned model is to its base; and :dual, :plain that has also looked for hidden
numbers. :countdown and :countdown_judge have a world of their own, and so have :programs, :integration and :python. The judge
has a second part, which reads more verdicts:

python -m urlvr_jax.main --config experiments/lab_pretrain.py:countdown_judge --workdir runs/judge
python -m urlvr_jax.main export --model runs/judge --out runs/judge/base
python -m urlvr_jax.main --config experiments/lab_pretrain.py:countdown_verdicts

Two judges go on from lab:countdown_judge: :countdown_computing works an answer out before it says yes or no, :countdown_checker
also writes the target beside what comes out.
"""

from urlvr_jax import config
from urlvr_jax.lab import countdown_world, integration_world, programs_world, python_world

THIRD_PARTS = {  # of the judges, which go on from lab:countdown_judge: seeds of which nothing has been read
    "countdown_computing": 4,
    "countdown_checker": 5,
}


def get_config(base="plain"):
    recipe = {"early": "careful", "taught": "clean"}.get(base, base)
    c = config.default()
    c.mode = "supervised"
    c.steps = 2000
    c.model.path = "lab:untrained"
    c.model.init = "random"
    c.data.documents = f"lab:{recipe}"
    c.data.prompts_per_step = 128
    c.rollout.group = 1
    c.advantage.name = "none"
    c.optim.lr = 3e-3
    c.optim.schedule = "cosine"
    c.optim.warmup_updates = 100
    c.optim.b2 = 0.95
    c.optim.weight_decay = 0.01
    c.optim.micro_rows = 32
    c.eval.every = 2000
    c.eval.k = 8
    c.eval.temperature = 1.0
    c.eval.top_p = 1.0
    c.checkpoint.every = 1000
    if base == "early":
        c.steps, c.eval.every = 700, 700
    if base == "taught":
        c.model.path, c.model.init = "lab:plain", "pretrained"
        c.steps, c.eval.every = 100, 100
        c.optim.lr, c.optim.warmup_updates = 1e-3, 10
    if base == "dual":
        c.data.prompt_buckets = (20,)
    if recipe in countdown_world.RECIPES:
        c.model.path = "lab:untrained_countdown"
        c.data.train = "lab:countdown_train"
        judges = countdown_world.RECIPES[recipe].judging  # then a prompt holds a whole response
        c.data.prompt_buckets = (48,) if judges else (16,)
        c.rollout.max_new_tokens = 32
        c.rollout.response_buckets = (32,)
        c.steps = 1500 if judges else 800
        c.loss.aggregation = "seq-mean-token-mean"  # a verdict, one letter, weighs as much as a solution
        c.eval.every = 0
    if recipe in programs_world.RECIPES:
        c.model.path = "lab:untrained_programs"
        c.data.train = "lab:programs_train"
        c.data.prompt_buckets = (24,)
        c.rollout.max_new_tokens = 40
        c.rollout.response_buckets = (40,)
        c.steps = 1000
        c.loss.aggregation = "seq-mean-token-mean"  # an answer alone weighs as much as one with its steps
        c.eval.every = 0
    if recipe in python_world.RECIPES:
        c.model.path = "lab:untrained_python"
        c.data.train = "lab:python_tasks_train"
        c.data.prompt_buckets = (24,)
        c.data.prompts_per_step = 64
        c.rollout.max_new_tokens = 40
        c.steps = 1400
        c.eval.every = 0
    if recipe == "countdown_verdicts":  # the second part of the judge: goes on from an export of the first
        c.model.path, c.model.init = "runs/judge/base", "pretrained"
        c.optim.lr = 2e-3
        c.seed = 1  # or it would read the same documents again
        c.data.prompt_buckets = (40,)
        c.rollout.max_new_tokens = 26
        c.rollout.response_buckets = (26,)
    if recipe in THIRD_PARTS:
        c.model.path, c.model.init = "lab:countdown_judge", "pretrained"
        c.optim.lr = 2e-3
        c.seed = THIRD_PARTS[recipe]
        c.data.prompt_buckets = (40,)
        c.rollout.max_new_tokens = 26
        c.rollout.response_buckets = (26,)
    if recipe in integration_world.RECIPES:
        c.model.path = "lab:untrained_integration"
        c.data.train = "lab:integration_train"
        c.data.prompt_buckets = (24,)
        c.data.prompts_per_step = 64
        c.rollout.max_new_tokens = 40
        c.steps = 1500
        c.eval.every = 0
    return c
