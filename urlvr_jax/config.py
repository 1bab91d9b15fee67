"""Every configuration key with its default, and the sizes that follow from them. `validation.py` checks them.

An experiment is a difference: it calls `default()`, sets a few keys and returns it. The object is
locked, so a misspelt key stops the run at the line that makes it, with the nearest key.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import pathlib

import ml_collections

from urlvr_jax.errors import UserError
from urlvr_jax.runtime import user_code
from urlvr_jax.untrusted import json_text

MODES = ("rl", "supervised")
# steps: the onset of a collapse is known so late, or sooner; its checkpoints are kept as long
LOOKBACK = 60


@dataclasses.dataclass(frozen=True)
class _Mark:
    """A default that is special: see `_how` and `_added`."""

    value: object
    marks: frozenset[str]


def _mark(value, mark: str) -> _Mark:
    inner = value if isinstance(value, _Mark) else _Mark(value, frozenset())
    return _Mark(inner.value, inner.marks | {mark})


def _how(value) -> _Mark:
    """Says how a run is computed and watched, not what it computes (but for rounding): not in its hash."""
    return _mark(value, "how")


def _added(value) -> _Mark:
    """Came later. At its default it is left out of the hash, and taken for granted in a run's folder
    without it: so what was recorded before keeps its name and can go on."""
    return _mark(value, "added")


def _rollout() -> ml_collections.ConfigDict:
    r = ml_collections.ConfigDict()
    r.group = 8  # rollouts (votes) a prompt
    r.train_group = 0  # how many of them are trained; 0 = all
    r.temperature = 1.0
    r.top_p = 1.0  # training samples by temperature alone; anything but 1 is refused
    r.top_k = 0  # likewise, anything but 0
    r.max_new_tokens = 44
    r.slots = _how(64)  # at most so many rows are decoded at once; they are refilled as rows end; 0 = all
    # keys and values while decoding: pages, held once; ring, a window of past blocks, for a CPU; auto: by the machine
    r.cache = _how(_added("auto"))
    r.page = _how(_added(128))  # columns of a page
    r.pages = _how(
        _added(0)
    )  # pages a device; where they run out the youngest rows wait or are put back; 0 = all slots at full length
    r.response_buckets = _how(
        ()
    )  # response widths the update is compiled for, the last = max_new_tokens; () = it, and above 128 a quarter of it
    r.rescore = False  # take statistics from a pass of the training layout, not from the sampler
    return r


def _marked() -> ml_collections.ConfigDict:
    """Every key with its default, those that are special marked `_how` or `_added`."""
    c = ml_collections.ConfigDict()
    c.mode = "rl"  # "rl", or "supervised": the corpus writes the responses (how the lab's bases are made)
    c.steps = 100  # training steps; rollout batches in "rl"
    c.seed = 0

    c.model = ml_collections.ConfigDict()
    c.model.path = "lab:plain"  # a Hugging Face folder, or lab:NAME for a base that ships with the package
    c.model.init = "pretrained"  # "pretrained" loads the weights, "random" only config and tokenizer
    c.model.param_dtype = "float32"  # master weights
    c.model.compute_dtype = "float32"  # activations and products; statistics are float32 always
    c.model.vocab = _added(
        "head"
    )  # V is every row of the head; "tokenizer": rows past its ids do not exist
    c.model.remat = _how(False)  # recompute each layer in the backward pass: less memory, a third more work
    # score and update loop over the layers: compiled once, not each; for deep models
    c.model.scan = _how(_added(False))
    c.model.attention = _how(
        _added("auto")
    )  # xla; pallas: kernels for training and scoring; auto: these, for long rows on a TPU or GPU
    c.model.lora = _lora()

    c.data = ml_collections.ConfigDict()
    c.data.train = "lab:train"  # a question file or folder, hf:NAME:CONFIG:SPLIT, or lab:NAME: docs/data.md
    c.data.columns = _added(
        ""
    )  # where its fields stand, "prompt=question,answer=final"; "" = told by its shape
    c.data.deduplicate = _added(True)  # a question that comes again is left out, and counted
    c.data.prompt_format = _added("text")  # "text", or "chat": by the tokenizer's chat template
    c.data.template = (
        "{prompt}"  # the prompt, in a chat the user's message; or boxed, dapo, qwen_math, tinyzero
    )
    c.data.system = _added("")  # the system message of a chat; "" = the template's own, if it has one
    c.data.prompts_per_step = 32
    c.data.subset = 0  # train on N questions only; 0 = all
    c.data.subset_seed = _added(-1)  # which N: -1 the first, else drawn by this seed
    c.data.shuffle = False  # a new order each epoch, from the seed; the paper keeps the file's order
    c.data.prompt_buckets = _how((16,))  # prompt widths compiled; a longer prompt is left out and counted
    c.data.rephrase = _added(
        ""
    )  # a second wording beside every question: "lab", "column" (`rephrased`), "my.py:function"
    # other models' responses to data.train, files of `generate --out`: a reward that votes with them needs one or more
    c.data.votes = _added(())
    c.data.documents = (
        ""  # "supervised" only: lab:WORLD, or a file of completions such as `generate --out` writes
    )

    c.answers = ml_collections.ConfigDict()
    c.answers.style = "lab"  # where the answer stands: lab, boxed, ..., see docs/answers.md
    # who is right, for metrics and controls: gold, countdown, countdown_tinyzero, integration, programs, unit_tests,
    # python_tasks, or "my.py:right"
    c.answers.check = _added("gold")
    # processes for a check of one's own, 0 = none, in this one; and for what runs Python programs, at least 1
    c.answers.workers = _how(_added(0))
    c.answers.deadline_s = _how(
        _added(10.0)
    )  # a response, where there are workers; then its process is killed
    c.answers.compat = _how(_added(False))  # the verb `answers` asks math-verify too; training never does
    c.answers.compat_workers = _how(_added(2))  # its processes
    c.answers.compat_deadline_s = _how(_added(5.0))  # a pair; then its process is killed

    c.labels = _labels()

    c.rollout = _rollout()

    c.reward = ml_collections.ConfigDict()
    c.reward.name = (
        "self_certainty"  # a reward, "empo(low=0.1)", or a sum: "group_z(self_certainty) + 0.1*format"
    )
    c.reward.fn = ""  # "my_reward.py:my_reward" goes before `name`
    c.reward.shadow = _how(
        _added(())
    )  # rewards, written as `name` is, that are computed and logged beside it; none that asks for labels

    c.verify = _verify()

    c.continuation = _continuation()

    c.states = _states()

    c.advantage = ml_collections.ConfigDict()
    c.advantage.name = "grpo"  # grpo, dr_grpo, rloo, reinforce_pp

    c.loss = ml_collections.ConfigDict()
    c.loss.aggregation = "token-mean"  # global, over the whole mini-batch
    c.loss.clip_low = 0.2
    c.loss.clip_high = 0.2
    c.loss.dual_clip = 3.0
    # none, token, sequence: importance weights, see learning/advantages.py
    c.loss.sampler_correction = _added("none")
    c.loss.sampler_cap = _added(2.0)  # the largest weight

    c.kl = ml_collections.ConfigDict()
    c.kl.coef = 0.0  # 0 = off, as in the paper
    c.kl.estimator = "k3"  # k1, k2, k3
    c.kl.place = "loss"  # "loss" or "reward"
    c.kl.reference = "fixed"  # "fixed": the base; "previous": the policy at the start of each step
    c.kl.watch = _how(_added(False))  # measure the distance from the base though coef = 0: a pass a step

    c.optim = ml_collections.ConfigDict()
    c.optim.lr = 1e-4
    c.optim.schedule = "constant"  # "constant" or "cosine"
    c.optim.warmup_updates = 0
    c.optim.weight_decay = 0.0
    c.optim.b1 = 0.9
    c.optim.b2 = 0.999
    c.optim.eps = 1e-8
    c.optim.clip_norm = 1.0
    c.optim.minibatch_prompts = 0  # prompts an optimizer update; 0 = all: one update a step
    c.optim.epochs = 1  # passes over each rollout batch
    c.optim.micro_rows = _how(8)  # full-width rows whose activations exist at once; 0 = all
    c.optim.micro_prompts = _how(
        4
    )  # prompts whose responses share them; 0 = as many as fill them at full length

    c.mesh = ml_collections.ConfigDict()
    c.mesh.data = _how(-1)  # replicas; -1, also of another axis: all devices that the others leave
    c.mesh.fsdp = _how(1)  # shards of the weights and of the batch
    c.mesh.tensor = _how(1)  # shards of heads, feed-forward and vocabulary

    c.eval = ml_collections.ConfigDict()
    c.eval.every = 10  # steps; 0 = never
    c.eval.sets = ("lab:heldout",)  # question files
    c.eval.k = 2  # samples a question
    c.eval.temperature = 0.6
    c.eval.top_p = 0.95
    c.eval.top_k = _added(0)  # of so many tokens, before top_p; 0 = all
    c.eval.max_questions = 0  # the first N of each file; 0 = all

    c.checkpoint = ml_collections.ConfigDict()
    c.checkpoint.every = _how(50)  # steps; 0 = only at the end
    c.checkpoint.keep = _how(2)  # latest ones kept; the best saved one by held-out accuracy is kept too

    c.collapse = ml_collections.ConfigDict()
    c.collapse.watch = _how(_added(True))  # look for signs of collapse at every step; no label is read
    # an alarm ends the run; the checkpoint from before its onset is kept either way
    c.collapse.stop = _added(False)
    c.collapse.until_mcs = _added(False)  # the run ends at its Model Collapse Step, which needs labels

    c.log = ml_collections.ConfigDict()
    c.log.completions_every = _how(10)  # steps between tables of sampled completions; 0 = never
    c.log.completions_rows = _how(64)
    c.log.repetition_ngram = _how(4)
    c.log.max_skipped_updates = _how(3)  # steps in a row without a finite update that stop the run
    c.log.sinks = _how(
        _added(())
    )  # where metrics go beside metrics.jsonl: tensorboard, wandb, trackio; docs/sinks.md

    return c


def _verify() -> ml_collections.ConfigDict:
    """The second generation of self-verification."""
    c = ml_collections.ConfigDict()
    # the question as in its file, and the response as decoded
    c.template = _added("V{prompt}{response}?")
    # DuPO: the question with a part hidden takes the place of the template: "lab", "number", or "my.py:function"
    c.dual = _added("")
    # how a verdict is read: lab (Y, N), lab_last (the same, after a computation), boxed (True, False), word (yes, no, ...)
    c.verdict = _added("lab")
    # who judges: "policy", as it is; "base", as it was; or a model, as in model.path
    c.judge = _added("policy")
    c.votes = _added(1)  # verdicts a response, the one that more than half give counts
    # "majority": the policy is also trained to judge, by an update of its own, as the majority answer says; "none"
    c.train = _added("none")
    c.temperature = _added(0.5)
    c.max_new_tokens = _added(4)
    # widths compiled; a longer verification prompt is not asked, and counted
    c.prompt_buckets = _added((64,))
    return c


def _labels() -> ml_collections.ConfigDict:
    """A few gold answers beside a run that trains on none: docs/probe.md."""
    c = ml_collections.ConfigDict()
    # so many labelled questions of data.train, drawn by the seed, are measured at each evaluation; 0 = none
    c.probe = _added(0)
    c.train_on_probe = _added(False)  # they are trained on too; else they are held out
    c.stop = _added(False)  # the run ends when the probe's accuracy has fallen
    c.false_alarm = _added(
        0.05
    )  # how often at most a run whose accuracy never changes is said to have fallen
    return c


def _continuation() -> ml_collections.ConfigDict:
    """A text whose own continuations are what a reward compares with: docs/data.md."""
    c = ml_collections.ConfigDict()
    c.corpus = _added(
        ""
    )  # text, JSON lines with `text`, or lab:NAME: its contexts take the place of data.train
    c.cut = _added("")  # a segment ends after this text; "" = after `tokens` tokens
    c.tokens = _added(8)  # of a continuation, at most
    c.segments = _added(0)  # of a document the first N continuations; 0 = all
    # a response is a thought up to the last of this text, then a prediction; "" = all of it is both
    c.thought_end = _added("")
    # widths compiled of thought and continuation; () = all fit. A longer row is not scored, and counted
    c.buckets = _added(())
    return c


def _states() -> ml_collections.ConfigDict:
    """Where an answer is put to ask how likely it is there: docs/rewards.md."""
    c = ml_collections.ConfigDict()
    c.cut = _added(
        ""
    )  # a step of a response ends after this text; "" = by answers.style: ";" or a new line
    c.template = _added("")  # how an answer follows, with {answer} in it; "" = by answers.style
    c.most = _added(15)  # states of a response; of more, so many evenly between
    c.answers = _added(8)  # answers of a group that are compared, those with most votes
    return c


def _lora() -> ml_collections.ConfigDict:
    """Adapters that are trained in the place of the weights: docs/lora.md."""
    c = ml_collections.ConfigDict()
    c.rank = _added(0)  # 0 = none, all weights are trained
    c.alpha = _added(32.0)  # their product counts alpha / rank
    c.targets = _added(("q", "k", "v", "o", "gate", "up", "down"))  # projections that have one
    c.base = _added("param_dtype")  # how the frozen kernels are kept: "param_dtype", or "int8"
    return c


def default() -> ml_collections.ConfigDict:
    """Every key with its default, locked."""

    def plain(v):
        if isinstance(v, ml_collections.ConfigDict):
            return {k: plain(x) for k, x in v.items()}
        return v.value if isinstance(v, _Mark) else v

    return ml_collections.ConfigDict(plain(_marked())).lock()


@functools.cache
def marked(mark: str) -> frozenset[str]:
    """The dotted keys marked "how" or "added"."""
    return frozenset(k for k, v in flat(_marked()).items() if isinstance(v, _Mark) and mark in v.marks)


OWN_JUDGES = ("policy", "base")  # values of verify.judge that name no model of its own


def of_judge(c) -> ml_collections.ConfigDict:
    """The configuration with the judge's model in the place of the policy's."""
    c = copy.deepcopy(c)
    c.model.path, c.model.init, c.model.lora.rank = c.verify.judge, "pretrained", 0
    return c


def of_verdicts(c) -> ml_collections.ConfigDict:
    """The second generation as a configuration of rollouts: a prompt for each response, a group of verdicts on it."""
    rows, c = rows_per_step(c), copy.deepcopy(c)
    c.data.prompts_per_step, c.data.prompt_buckets = rows, c.verify.prompt_buckets
    c.rollout.group, c.rollout.train_group = c.verify.votes, 0
    c.rollout.temperature, c.rollout.max_new_tokens = c.verify.temperature, c.verify.max_new_tokens
    c.rollout.response_buckets = ()
    c.optim.minibatch_prompts, c.optim.epochs, c.kl.coef = 0, 1, 0.0
    c.eval.every, c.labels.probe = 0, 0
    return c


class ConfigError(UserError):
    """A value that cannot work; the message names key, value and remedy."""


def value_of(c, key: str):
    """Of a dotted key."""
    for part in key.split("."):
        c = c[part]
    return c


def rows_per_step(c) -> int:
    return c.data.prompts_per_step * c.rollout.group


def train_group(c) -> int:
    return c.rollout.train_group or c.rollout.group


def minibatch_prompts(c) -> int:
    return c.optim.minibatch_prompts or c.data.prompts_per_step


def micro_rows(c) -> int:
    return c.optim.micro_rows or minibatch_prompts(c) * train_group(c)


def score_rows(c) -> int:
    """Rows of a scoring micro-batch: about those of the update's, whole groups or a part of one a shard."""
    each, group = max(1, micro_rows(c) // shards(c)), c.rollout.group
    if each < group and shards(c) > 1:
        return max(n for n in range(1, each + 1) if group % n == 0) * shards(c)
    return max(1, micro_rows(c) // group // shards(c)) * shards(c) * group


def micro_prompts(c) -> int:
    return min(c.optim.micro_prompts, minibatch_prompts(c))


def shards(c) -> int:
    """Devices that hold different rows."""
    return c.mesh.data * c.mesh.fsdp


def slots(c) -> int:
    return min(c.rollout.slots or rows_per_step(c), rows_per_step(c))


def decodes_from_pages(c, platform: str) -> bool:
    return c.rollout.cache == "pages" or (c.rollout.cache == "auto" and platform != "cpu")


def response_buckets(c) -> tuple[int, ...]:
    """Response widths the score and the update are compiled for."""
    most = c.rollout.max_new_tokens
    return tuple(c.rollout.response_buckets) or ((-(-most // 4), most) if most > 128 else (most,))


def trained_on(c) -> str:
    """The file that prompts are from."""
    return c.continuation.corpus or c.data.train


def continuation_buckets(c) -> tuple[int, ...]:
    """Widths that thought and continuation together are scored in."""
    return tuple(c.continuation.buckets) or (c.rollout.max_new_tokens + c.continuation.tokens + 1,)


def updates_per_step(c) -> int:
    return c.data.prompts_per_step // minibatch_prompts(c) * c.optim.epochs


def total_updates(c) -> int:
    return c.steps * (updates_per_step(c) + (c.verify.train != "none"))


def checkpoints_at_once(c) -> int:
    """How many checkpoints may lie on disk: those kept, the best one, and one being written."""
    every = c.checkpoint.every or c.steps
    before_onset = LOOKBACK // every + 2 if c.collapse.watch and c.mode == "rl" else 0
    return max(c.checkpoint.keep, before_onset) + 2


def load_experiment(text: str) -> ml_collections.ConfigDict:
    """The configuration of FILE, or of FILE:ARGUMENT, as after --config; or of a run, by its folder or config.json."""
    path = pathlib.Path(text)
    file, _, argument = text.partition(":")
    if path.is_dir() or (path.suffix == ".json" and not file.endswith(".py")):
        return recorded(path)
    if not pathlib.Path(file).is_file():
        raise ConfigError(f"--config: experiment file {file!r} does not exist")
    if not file.endswith(".py"):
        raise ConfigError(
            f"--config: {file!r} is neither an experiment file (.py) nor a run's folder or config.json"
        )
    module = user_code.load_module(file)
    if not callable(getattr(module, "get_config", None)):
        raise ConfigError(f"--config: {file!r} is no experiment file: it has no function `get_config`")
    with user_code.errors_of(file):
        c = module.get_config(*[argument] if argument else [])
    if not isinstance(c, ml_collections.ConfigDict) or set(flat(c)) != set(flat(default())):
        raise ConfigError(
            f"--config: get_config() of {file!r} must return `config.default()` with keys changed"
        )
    return c.lock()


def is_run(folder: pathlib.Path) -> bool:
    """Whether a folder is a run's, finished or not."""
    return (folder / "config.json").is_file() and (folder / "record.json").is_file()


def recorded(path: pathlib.Path) -> ml_collections.ConfigDict:
    """The configuration that a run wrote, by its folder or config.json; keys that came later are at their defaults.

    The mesh is for the devices there are now: `data` takes what the other axes leave. ConfigError for anything else.
    """
    if path.is_dir() and not is_run(path):
        model = (path / "config.json").is_file()
        remedy = f"; a model is given by --config.model.path={path}" if model else ""
        raise ConfigError(f"{str(path)!r} is no run's folder: it needs config.json and record.json{remedy}")
    file = path / "config.json" if path.is_dir() else path
    written = json_text.read(file, ConfigError)
    if "model_type" in written or "architectures" in written:
        raise ConfigError(
            f"{str(file)!r} is of a model, not of a run: a model is given by "
            f"--config.model.path={file.parent}"
        )
    c = default()
    known = flat(c)
    wrong = sorted(set(written) - set(known)) + sorted(set(known) - set(written) - marked("added"))
    if wrong:
        raise ConfigError(
            f"{str(file)!r} is no configuration of a run: {wrong[0]!r:.60} is "
            f"{'not in it' if wrong[0] in known else 'no key'}"
        )
    for key, value in written.items():
        try:
            c.update_from_flattened_dict({key: tuple(value) if isinstance(value, list) else value})
        except (KeyError, TypeError, ValueError) as error:  # ml_collections' own words
            raise ConfigError(
                f"{str(file)!r}: {key} = {value!r:.60} is of another type ({error!s:.100})"
            ) from None
    c.mesh.data = -1
    return c


def flat(c) -> dict:
    """{dotted key: value}, for records and differences."""
    out = {}
    for key, value in c.items():
        if isinstance(value, ml_collections.ConfigDict):
            out |= {f"{key}.{k}": v for k, v in flat(value).items()}
        else:
            out[key] = list(value) if isinstance(value, tuple) else value
    return out


def config_hash(flat_config: dict) -> str:
    """Of what the run computes: keys marked `_how` are left out, and those marked `_added` at their defaults."""
    defaults, how, added = flat(default()), marked("how"), marked("added")
    silent = lambda k, v: k in how or (k in added and v == defaults[k])
    text = json.dumps({k: v for k, v in flat_config.items() if not silent(k, v)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
