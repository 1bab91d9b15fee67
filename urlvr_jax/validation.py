"""Every check of a configuration that needs no file, made before anything is loaded."""

from __future__ import annotations

from urlvr_jax import config, devices
from urlvr_jax.answers import extract
from urlvr_jax.checks import own
from urlvr_jax.checks.python_programs import JUDGES
from urlvr_jax.checks.table import CHECKS
from urlvr_jax.config import (
    MODES,
    ConfigError,
    micro_rows,
    minibatch_prompts,
    shards,
    slots,
    train_group,
    updates_per_step,
    value_of,
)
from urlvr_jax.data import prompt_formats, shapes
from urlvr_jax.errors import UserError
from urlvr_jax.learning import advantages, objective
from urlvr_jax.models import lora
from urlvr_jax.models.attention import GPU_WIDTHS
from urlvr_jax.rewards import dual, expression, interface, self_verification, states
from urlvr_jax.rollout import paged_sizes
from urlvr_jax.sinks import table as sinks

MANY = 10**9  # far more than any run has, far less than what overflows or never starts
RANGES = {  # (least, greatest) value of a key
    (1, MANY): (
        "steps", "data.prompts_per_step", "rollout.group", "rollout.max_new_tokens", "verify.max_new_tokens",
        "verify.votes", "continuation.tokens", "states.most",
        "optim.epochs", "mesh.data", "mesh.fsdp", "mesh.tensor", "eval.k", "checkpoint.keep",
        "log.repetition_ngram", "log.max_skipped_updates", "answers.compat_workers",
    ),
    (0, MANY): (
        "data.subset", "continuation.segments", "rollout.slots", "rollout.pages", "rollout.train_group", "optim.warmup_updates",
        "optim.minibatch_prompts", "optim.micro_rows", "optim.micro_prompts", "eval.every", "eval.top_k",
        "eval.max_questions", "labels.probe", "model.lora.rank", "answers.workers", "checkpoint.every", "log.completions_every", "log.completions_rows",
    ),
    (2, MANY): ("states.answers",),
    (0, 2**32 - 1): ("seed",),
    (-1, 2**32 - 1): ("data.subset_seed",),
    (0, 1e38): ("kl.coef",),
    (0, 1e3): ("optim.lr", "optim.weight_decay", "eval.temperature"),
    (1e-6, 1e3): ("verify.temperature", "rollout.temperature"),
    (1e-6, 1e9): ("optim.clip_norm", "model.lora.alpha"),
    (1e-6, 1): ("eval.top_p",),
    (1e-6, 0.5): ("labels.false_alarm",),
    (0.01, 1e6): ("answers.compat_deadline_s", "answers.deadline_s"),
}  # fmt: skip


def _one_of(c, key: str, allowed) -> None:
    value = value_of(c, key)
    if value not in allowed:
        raise ConfigError(f"{key} = {value!r} is not possible: choose one of {sorted(allowed)}")


def _within(c, low, high, *keys: str) -> None:
    for key in keys:
        value = value_of(c, key)
        if not low <= value <= high:
            raise ConfigError(
                f"{key} = {value!r:.60} is not possible: give a value from {low:g} to {high:g}"
            )


def _check_given(c) -> None:
    """ml_collections holds values to their defaults' types, but lets None through."""
    for key, value in config.flat(c).items():
        if value is None:
            raise ConfigError(f"{key} = None is not possible: give a value")


def validate(c, device_count: int, platform: str | None = None) -> None:
    """Every check that needs no file: raises ConfigError naming key, value and remedy.

    platform: "cpu", "gpu" or "tpu", of the devices the run is meant for; None where that does not matter yet.
    """
    _check_given(c)
    c = devices.fill(c, device_count)
    _one_of(c, "mode", MODES)
    _one_of(c, "model.init", ("pretrained", "random"))
    _one_of(c, "model.vocab", ("head", "tokenizer"))
    _one_of(c, "model.attention", ("auto", "xla", "pallas"))
    _one_of(c, "rollout.cache", ("auto", "ring", "pages"))
    for key in ("model.param_dtype", "model.compute_dtype"):
        _one_of(c, key, ("float32", "bfloat16"))
    validate_answers(c)
    _one_of(c, "verify.verdict", self_verification.VERDICTS)
    _validate_verifier(c)
    _one_of(c, "advantage.name", advantages.ESTIMATORS)
    _one_of(c, "loss.aggregation", objective.AGGREGATIONS)
    _one_of(c, "loss.sampler_correction", ("none", "token", "sequence"))
    _one_of(c, "kl.estimator", objective.KL_ESTIMATORS)
    _one_of(c, "kl.place", ("loss", "reward"))
    _one_of(c, "kl.reference", ("fixed", "previous"))
    _one_of(c, "optim.schedule", ("constant", "cosine"))
    for (low, high), keys in RANGES.items():
        _within(c, low, high, *keys)
    sinks.check(c.log.sinks)
    _validate_lora(c)
    _validate_rollout(c)
    if c.data.rephrase and (c.data.prompts_per_step % 2 or minibatch_prompts(c) % 2):
        raise ConfigError(
            f"data.prompts_per_step = {c.data.prompts_per_step}, optim.minibatch_prompts = "
            f"{c.optim.minibatch_prompts}: with data.rephrase a question and its other wording stay together, "
            "make both even"
        )
    _validate_mesh(c, device_count, platform)
    _validate_batch(c)
    _validate_pages(c, platform)
    _validate_objective(c)
    for placeholder in self_verification.PLACEHOLDERS:
        if c.verify.template.count(placeholder) != 1:
            raise ConfigError(
                f"verify.template = {c.verify.template!r} must contain {placeholder} exactly once"
            )
    validate_data(c)
    _validate_labels(c)
    _validate_continuation(c)
    _validate_states(c)
    for key, count in (("rollout.slots", slots(c)), ("optim.micro_rows", micro_rows(c))):
        if count % shards(c):
            raise ConfigError(
                f"{key} = {count} does not divide over mesh.data * mesh.fsdp = {shards(c)}: "
                f"choose a multiple of {shards(c)}"
            )


def _validate_verifier(c) -> None:
    """`verify.train` needs what it trains, and verdicts to compare."""
    _one_of(c, "verify.train", ("none", "majority"))
    if c.verify.dual:
        _validate_dual(c)
    if c.verify.train == "none":
        return
    if c.verify.judge != "policy":
        raise ConfigError(
            f"verify.train = {c.verify.train!r} trains the policy's own verdicts, but verify.judge = {c.verify.judge!r}: "
            "set it to 'policy'"
        )
    if c.verify.votes < 2:
        raise ConfigError(
            f"verify.train = {c.verify.train!r} compares the verdicts on one response, and verify.votes = {c.verify.votes}: "
            "give 2 or more"
        )
    if c.advantage.name == "none" or c.mode != "rl":
        raise ConfigError(
            f"verify.train = {c.verify.train!r} needs mode = 'rl' and an advantage with a baseline: "
            f"they are {c.mode!r}, advantage.name = {c.advantage.name!r}"
        )


def _validate_dual(c) -> None:
    """ConfigError for a dual question that nobody can ask, or that trains a judge."""
    try:
        dual.of(c.verify.dual)
    except UserError as error:
        raise ConfigError(
            f"verify.dual: give one of {sorted(dual.DUALS)}, or a function; {error}"
        ) from None
    if c.verify.train != "none":
        raise ConfigError(
            f"verify.train = {c.verify.train!r} trains verdicts, and verify.dual = {c.verify.dual!r} asks for none: "
            "set one of them back"
        )


def validate_heads(attention: str, width: int, platform: str) -> None:
    """ConfigError where model.attention asks for a kernel that the platform does not have for heads of this width."""
    if attention == "pallas" and platform == "gpu" and width not in GPU_WIDTHS:
        raise ConfigError(
            f"model.attention = 'pallas' has no kernel for heads of {width} on a GPU, only for "
            f"{' and '.join(map(str, GPU_WIDTHS))}: use 'auto'"
        )


def _validate_lora(c) -> None:
    """Against a model's sizes the rank is held when its config.json is read: `lora.check`."""
    targets = c.model.lora.targets
    _one_of(c, "model.lora.base", lora.BASES)
    if not targets or len(set(targets)) < len(targets) or not set(targets) <= set(lora.TARGETS):
        raise ConfigError(
            f"model.lora.targets = {tuple(targets)!r:.200} is not possible: give one or more of {lora.TARGETS}, each once"
        )
    if c.model.lora.base != "param_dtype" and not c.model.lora.rank:
        raise ConfigError(
            f"model.lora.base = {c.model.lora.base!r} is for weights that are not trained: set model.lora.rank to 1 or more"
        )


def validate_answers(c) -> None:
    """ConfigError for an unknown style, or a compat grader that cannot work."""
    _one_of(c, "answers.style", extract.EXTRACTORS)
    default = config.default().answers.deadline_s
    if own.is_own(c.answers.check) and not c.answers.workers and c.answers.deadline_s != default:
        raise ConfigError(
            f"answers.deadline_s = {c.answers.deadline_s:g} needs processes that can be killed: --config.answers.workers=2"
        )
    if not own.is_own(c.answers.check):
        _one_of(c, "answers.check", (*CHECKS, *JUDGES, "my.py:function"))
    if c.answers.check in JUDGES and not c.answers.workers:
        raise ConfigError(
            f"answers.check = {c.answers.check!r} runs programs beside the device: --config.answers.workers=2"
        )


def validate_data(c) -> None:
    """ConfigError for a way from file to prompt that cannot work."""
    d = c.data
    _one_of(c, "data.prompt_format", prompt_formats.FORMATS)
    for key, checked in (
        ("data.template", lambda: prompt_formats.preset(d.template)),
        ("data.prompt_format", lambda: prompt_formats.check(d.prompt_format, d.template, d.system)),
        ("data.columns", lambda: shapes.parse(d.columns)),
    ):
        try:
            checked()
        except ValueError as error:
            raise ConfigError(f"{key} = {value_of(c, key)!r}: {error}") from None
    votes = tuple(d.votes)
    if not all(isinstance(name, str) and name for name in votes) or len(set(votes)) < len(votes):
        raise ConfigError(f"data.votes = {votes!r:.200} is not possible: give names of files, each once")
    if d.subset_seed >= 0 and not d.subset:
        raise ConfigError(
            f"data.subset_seed = {d.subset_seed} draws data.subset questions: set data.subset"
        )


def _validate_labels(c) -> None:
    """What the probe needs; whether there are so many labelled questions is known when their file is read."""
    if c.labels.probe and not c.eval.every:
        raise ConfigError(
            f"labels.probe = {c.labels.probe} is measured at each evaluation: set eval.every to 1 or more"
        )
    if c.labels.probe and c.mode == "supervised":
        raise ConfigError(
            f"labels.probe = {c.labels.probe}: mode = 'supervised' trains on no questions; set it to 0"
        )
    for key in ("labels.train_on_probe", "labels.stop"):
        if value_of(c, key) and not c.labels.probe:
            raise ConfigError(f"{key} = True is about the probe: set labels.probe to 2 or more")
    if c.labels.probe == 1:
        raise ConfigError("labels.probe = 1 tells nothing: give 2 questions or more, or 0 for none")


def _validate_continuation(c) -> None:
    widths, most = config.continuation_buckets(c), c.continuation.tokens + 1
    if widths[-1] <= most:
        raise ConfigError(
            f"continuation.buckets = {tuple(widths)!r:.200}: no row holds a thought and a continuation of up to {most} "
            f"tokens, its end included: end with more than {most}, or leave it () for all"
        )
    if not c.continuation.corpus:
        return
    for key, other in (("mode", "supervised"), ("data.rephrase", c.data.rephrase or None)):
        if value_of(c, key) == other:
            raise ConfigError(
                f"continuation.corpus = {c.continuation.corpus!r} does not go with {key} = {other!r}: set one of them back"
            )


def _validate_states(c) -> None:
    if c.states.template and c.states.template.count(states.ANSWER) != 1:
        raise ConfigError(
            f"states.template = {c.states.template!r:.200} must contain {states.ANSWER} exactly once, or be empty: by answers.style"
        )


def _validate_pages(c, platform: str | None) -> None:
    page, pages = c.rollout.page, c.rollout.pages
    if page % 16 or not 16 <= page <= 1024:
        raise ConfigError(f"rollout.page = {page} columns: give a multiple of 16 from 16 to 1024")
    if c.rollout.cache == "ring" and pages:
        raise ConfigError(f"rollout.pages = {pages} is not used with rollout.cache = 'ring': use 'pages'")
    if pages and config.decodes_from_pages(c, platform or "cpu"):
        columns = paged_sizes.page_columns(page, c.rollout.max_new_tokens)
        prompts = -(-c.data.prompts_per_step // shards(c))
        least = paged_sizes.least_pages(
            prompts, max(c.data.prompt_buckets), c.rollout.max_new_tokens, columns
        )
        if pages < least:
            raise ConfigError(
                f"rollout.pages = {pages} is less than a device's prompts and one whole row need: give {least} or "
                "more, or 0 for all slots at full length"
            )


def _validate_rollout(c) -> None:
    if c.rollout.top_p != 1 or c.rollout.top_k != 0:
        raise ConfigError(
            f"rollout.top_p = {c.rollout.top_p}, rollout.top_k = {c.rollout.top_k}: training samples "
            "by temperature alone (1.0 and 0), or the scored policy is not the sampled one"
        )
    for key in (
        "data.prompt_buckets", "rollout.response_buckets", "verify.prompt_buckets", "continuation.buckets",
    ):  # fmt: skip
        buckets = tuple(value_of(c, key))
        whole = all(isinstance(b, int) and not isinstance(b, bool) and 1 <= b <= MANY for b in buckets)
        if (
            (not buckets and key not in ("rollout.response_buckets", "continuation.buckets"))
            or not whole
            or list(buckets) != sorted(set(buckets))
        ):
            raise ConfigError(f"{key} = {buckets!r:.200} must be increasing positive widths, whole numbers")
    if config.response_buckets(c)[-1] != c.rollout.max_new_tokens:
        raise ConfigError(
            f"rollout.response_buckets = {tuple(c.rollout.response_buckets)} must end with rollout.max_new_tokens = "
            f"{c.rollout.max_new_tokens}; leave it (), and it follows that"
        )
    if train_group(c) > c.rollout.group:
        raise ConfigError(
            f"rollout.train_group = {c.rollout.train_group} exceeds rollout.group = {c.rollout.group}"
        )


def _validate_mesh(c, device_count: int, platform: str | None) -> None:
    needed = c.mesh.data * c.mesh.fsdp * c.mesh.tensor
    if needed != device_count:
        raise ConfigError(
            f"mesh (data, fsdp, tensor) = ({c.mesh.data}, {c.mesh.fsdp}, {c.mesh.tensor}) needs "
            f"{needed} devices, this process group has {device_count}: make the product {device_count}, or one of "
            "them -1, which takes all that the others leave"
        )
    prompts, over = c.data.prompts_per_step, shards(c)
    if prompts % over:
        fewer = max(n for n in range(1, over) if prompts % n == 0)
        shown = {"gpu": f", CUDA_VISIBLE_DEVICES={','.join(map(str, range(fewer)))}"}.get(platform, "")
        raise ConfigError(
            f"data.prompts_per_step = {prompts} does not divide over mesh.data * mesh.fsdp = {over}: choose a "
            f"multiple of {over}, --config.data.prompts_per_step={-(-prompts // over) * over}, or give the process "
            f"{fewer} device{'s' * (fewer > 1)}{shown}"
        )


def _validate_batch(c) -> None:
    prompts, mini = c.data.prompts_per_step, minibatch_prompts(c)
    if mini > prompts or prompts % mini:
        raise ConfigError(f"optim.minibatch_prompts = {mini} must divide data.prompts_per_step = {prompts}")
    group, rows, micro = train_group(c), mini * train_group(c), micro_rows(c)
    if rows % shards(c) and not prompts % shards(c):
        raise ConfigError(
            f"optim.minibatch_prompts = {mini}: the {rows} rows of a mini-batch do not divide over mesh.data * "
            f"mesh.fsdp = {shards(c)}: make it larger, or 0 for all prompts of a step"
        )
    if not devices.divides(rows, group, micro, shards(c)):
        each = micro / shards(c)
        raise ConfigError(
            f"optim.micro_rows = {micro} must divide the {rows} rows of a mini-batch, and its share of a shard, "
            f"{each:g}, must divide the trained group of {group} or be a multiple of it"
        )


def _validate_objective(c) -> None:
    if not (0 <= c.loss.clip_low < 1 and c.loss.clip_high >= 0 and c.loss.dual_clip > 1):
        raise ConfigError(
            f"loss.clip_low = {c.loss.clip_low}, loss.clip_high = {c.loss.clip_high}, loss.dual_clip = "
            f"{c.loss.dual_clip}: need 0 <= clip_low < 1, clip_high >= 0, dual_clip > 1"
        )
    if c.loss.sampler_correction != "none" and not (c.rollout.rescore and c.mode == "rl"):
        raise ConfigError(
            f"loss.sampler_correction = {c.loss.sampler_correction!r} needs the trainer's log-probabilities beside the "
            "sampler's: set rollout.rescore = True, in mode = 'rl'"
        )
    if not c.loss.sampler_cap >= 1:
        raise ConfigError(
            f"loss.sampler_cap = {c.loss.sampler_cap}: a weight of 1 must be possible, give 1 or more"
        )
    if c.mode == "supervised":
        if c.rollout.group != 1 or c.advantage.name != "none" or c.optim.epochs != 1:
            raise ConfigError(
                "mode = 'supervised' needs rollout.group = 1, advantage.name = 'none', optim.epochs = 1"
            )
        if updates_per_step(c) != 1:
            raise ConfigError(
                f"optim.minibatch_prompts = {c.optim.minibatch_prompts}: mode = 'supervised' makes one update "
                "a step; set it to 0"
            )
        if c.reward.shadow:
            raise ConfigError(
                f"reward.shadow = {c.reward.shadow}: mode = 'supervised' has no rewards; set it to ()"
            )
        if not c.data.documents:
            raise ConfigError(
                "mode = 'supervised' needs data.documents, e.g. 'lab:plain', or a file of completions"
            )
    else:
        if c.advantage.name == "none":
            raise ConfigError("advantage.name = 'none' is for mode = 'supervised'")
        if train_group(c) < 2 and c.advantage.name != "reinforce_pp":
            raise ConfigError(
                f"advantage.name = {c.advantage.name!r} compares rollouts of one prompt: "
                f"rollout.group = {c.rollout.group} must be at least 2"
            )
        _validate_rewards(c)
    if c.kl.coef and c.mode == "supervised":
        raise ConfigError(f"kl.coef = {c.kl.coef}: mode = 'supervised' has no KL term; set it to 0")
    if c.collapse.stop and (c.mode == "supervised" or not c.collapse.watch):
        raise ConfigError(
            f"collapse.stop = True needs collapse.watch = True and mode = 'rl'; they are {c.collapse.watch} and {c.mode!r}"
        )
    if c.collapse.until_mcs and c.mode == "supervised":
        raise ConfigError("collapse.until_mcs = True: mode = 'supervised' has no votes; set it to False")
    if c.kl.watch and (c.mode == "supervised" or c.kl.reference != "fixed"):
        raise ConfigError(
            f"kl.watch = True measures how far rollouts are from the base: not with mode = {c.mode!r}, kl.reference = "
            f"{c.kl.reference!r}; set it to False"
        )
    if c.kl.coef and c.kl.reference == "previous" and (updates_per_step(c) == 1 or c.kl.place == "reward"):
        raise ConfigError(
            "kl.reference = 'previous' is the policy that sampled: with one update a step, or in the reward, "
            "its KL is 0; use several updates (optim.epochs, optim.minibatch_prompts) and kl.place = 'loss', "
            "or kl.reference = 'fixed'"
        )
    if c.kl.coef and c.kl.place == "loss" and c.kl.estimator == "k1":
        raise ConfigError(
            "kl.estimator = 'k1' in the loss has zero expected gradient: use kl.place = 'reward', or k2"
        )


def _validate_rewards(c) -> None:
    """Names, options and sums; files are opened by `expression.load`."""
    shadow = c.reward.shadow
    if not isinstance(shadow, tuple | list) or not all(isinstance(s, str) for s in shadow):
        raise ConfigError(f"reward.shadow = {shadow!r}: give a tuple of rewards, \"('majority_voting',)\"")
    names = [] if c.reward.fn else [("reward.name", c.reward.name)]
    for key, name in names + [("reward.shadow", s) for s in shadow]:
        try:
            expression.check(name)
        except interface.RewardError as error:
            raise ConfigError(f"{key} = {name!r}: {error}") from None
