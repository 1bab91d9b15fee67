"""Every experiment loads, and what cannot work is refused with key, value and remedy."""

import json
import pathlib

import pytest

from urlvr_jax import config, validation
from urlvr_jax.devices import settle
from urlvr_jax.lab import shipped

EXPERIMENTS = pathlib.Path(__file__).resolve().parents[1] / "experiments"


CASES = [
    *(str(f.relative_to(EXPERIMENTS)) for f in sorted(EXPERIMENTS.rglob("*.py")) if f.name != "my_data.py"),
    f"my_data.py:{shipped.base('lab:plain')},lab:train",
    *(f"lab_pretrain.py:{recipe}" for recipe in shipped.WORLDS),
    *(f"paper/dapo.py:{machine}" for machine in ("h100-8", "v5e-16")),
    "lora.py:qwen3-8b",
]


@pytest.mark.parametrize("experiment", CASES)
def test_every_experiment_loads_and_validates(experiment):
    c = config.load_experiment(f"{EXPERIMENTS}/{experiment}")
    for devices in (1, 8):
        validation.validate(settle(c, devices)[0], devices)
    flat = config.flat(c)
    assert json.loads(json.dumps(flat)) == flat
    assert set(flat) == set(config.flat(config.default())), "an experiment adds no key"
    assert c.is_locked


def test_an_experiment_for_ones_own_data_says_what_it_needs():
    with pytest.raises(config.ConfigError, match="my_data.py:MODEL,QUESTIONS"):
        config.load_experiment(f"{EXPERIMENTS}/my_data.py")


@pytest.mark.parametrize("experiment", ["paper/dapo.py:majority_voting", "paper/mcs.py:gpt-2"])
def test_an_argument_that_an_experiment_does_not_know_is_named(experiment, launcher):
    call = launcher.run(["--config", f"experiments/{experiment}", "--dry_run"])
    assert call.status != 0 and f"{experiment.removeprefix('paper/')}: the argument is a m" in call.err


def test_a_misspelt_key_is_one_line_with_the_nearest_key(launcher):
    call = launcher.run(["--config", "experiments/selfcert.py", "--config.optim.lrr=1", "--dry_run"])
    assert call.status == 2
    assert call.err == "error: --config.optim.lrr is no key: did you mean --config.optim.lr=1?\n"


def test_an_experiment_file_that_does_not_exist_is_named_without_a_traceback(launcher):
    call = launcher.run(["--config", "experiments/nope.py", "--dry_run"])
    assert call.status == 2
    assert call.err.startswith("error: ") and "experiments/nope.py" in call.err
    assert "Traceback" not in call.err


def test_a_refused_value_is_one_line_and_exit_status_2(launcher, tmp_path):
    call = launcher.run(["--config.kl.place=nowhere", "--workdir", str(tmp_path / "run")])
    assert call.status == 2
    assert call.err == "error: kl.place = 'nowhere' is not possible: choose one of ['loss', 'reward']\n"
    assert not (tmp_path / "run").exists()


# ---- validate() -----------------------------------------------------------------------------

SUPERVISED = {
    "mode": "supervised",
    "rollout.group": 1,
    "advantage.name": "none",
    "data.documents": "lab:plain",
}
REFUSED = [
    # overrides, words the message has
    ({"mode": "sft"}, "mode 'sft' supervised"),
    ({"model.init": "zeros"}, "model.init 'zeros' pretrained random"),
    ({"model.param_dtype": "float16"}, "model.param_dtype 'float16' bfloat16"),
    ({"model.compute_dtype": "int8"}, "model.compute_dtype 'int8' bfloat16"),
    ({"model.lora.targets": ("q", "lm_head")}, "model.lora.targets ('q', 'lm_head') down gate once"),
    ({"model.lora.targets": ()}, "model.lora.targets () one or more"),
    ({"model.lora.targets": ("q", "q")}, "model.lora.targets ('q', 'q') each once"),
    ({"model.lora.rank": 4, "model.lora.alpha": 0.0}, "model.lora.alpha 0.0 1e-06"),
    ({"model.lora.base": "int4"}, "model.lora.base 'int4' int8 param_dtype"),
    ({"model.lora.base": "int8"}, "model.lora.base 'int8' model.lora.rank 1"),
    ({"answers.style": "xml"}, "answers.style 'xml' boxed lab"),
    ({"answers.compat_workers": 0}, "answers.compat_workers 0 1"),
    ({"answers.compat_deadline_s": 0.0}, "answers.compat_deadline_s 0.0 0.01"),
    ({"advantage.name": "gae"}, "advantage.name 'gae' grpo rloo"),
    ({"loss.aggregation": "mean"}, "loss.aggregation 'mean' token-mean"),
    ({"kl.estimator": "k4"}, "kl.estimator 'k4' k2 k3"),
    ({"kl.place": "advantage"}, "kl.place 'advantage' loss reward"),
    ({"kl.reference": "ema"}, "kl.reference 'ema' fixed previous"),
    ({"kl.coef": 0.1, "kl.reference": "previous"}, "kl.reference 'previous' several updates"),
    ({"optim.schedule": "linear"}, "optim.schedule 'linear' cosine constant"),
    ({"reward.name": "entropy"}, "reward.name 'entropy' self_certainty majority_voting"),
    ({"advantage.name": "none"}, "advantage.name 'none' supervised"),
    ({"rollout.top_p": 0.9}, "rollout.top_p 0.9 temperature 1.0"),
    ({"rollout.top_k": 5}, "rollout.top_k 5 temperature"),
    ({"kl.coef": 0.1, "kl.estimator": "k1"}, "kl.estimator 'k1' zero gradient kl.place reward k2"),
    ({"data.prompt_buckets": ()}, "data.prompt_buckets () increasing"),
    ({"data.prompt_buckets": (16, 8)}, "data.prompt_buckets (16, 8) increasing"),
    ({"data.prompt_buckets": (8, 8)}, "data.prompt_buckets (8, 8) increasing"),
    ({"data.prompt_buckets": (0, 8)}, "data.prompt_buckets (0, 8) positive"),
    ({"rollout.response_buckets": (44, 20)}, "rollout.response_buckets (44, 20) increasing"),
    ({"rollout.response_buckets": (20,)}, "rollout.response_buckets (20,) rollout.max_new_tokens 44"),
    ({"rollout.train_group": 9}, "rollout.train_group 9 rollout.group 8"),
    ({"optim.minibatch_prompts": 5}, "optim.minibatch_prompts 5 data.prompts_per_step 32"),
    ({"optim.minibatch_prompts": 64}, "optim.minibatch_prompts 64 data.prompts_per_step 32"),
    ({"optim.micro_rows": 3}, "optim.micro_rows 3 8 256"),
    ({"optim.micro_rows": 512}, "optim.micro_rows 512 8 256"),
    ({"rollout.group": 1, "optim.micro_rows": 0}, "advantage.name 'grpo' rollout.group 1 2"),
    ({"rollout.train_group": 1, "optim.micro_rows": 0}, "advantage.name 'grpo' 2"),
    ({"data.template": "Solve"}, "data.template 'Solve' {prompt} once"),
    ({"data.template": "{prompt}{prompt}"}, "data.template {prompt} once"),
    ({"mesh.data": 2}, "mesh (2, 1, 1) 2 1 product"),
    ({"mesh.data": 1, "mesh.fsdp": 4, "mesh.tensor": 2}, "mesh (1, 4, 2) 8 1 product"),
    ({"mesh.fsdp": 4, "mesh.tensor": 2}, "mesh.fsdp mesh.tensor 8 1 divisor"),
    ({"mesh.fsdp": -1, "mesh.tensor": -1}, "mesh.fsdp mesh.tensor -1 number"),
    ({"mesh.data": -2}, "mesh.data -2 -1 left"),
    ({"mesh.fsdp": None}, "mesh.fsdp None give"),
    (SUPERVISED | {"data.documents": ""}, "supervised data.documents lab:plain"),
    (SUPERVISED | {"rollout.group": 2}, "supervised rollout.group 1"),
    (SUPERVISED | {"advantage.name": "grpo"}, "supervised advantage.name 'none'"),
    (SUPERVISED | {"optim.epochs": 2}, "supervised optim.epochs 1"),
]
TOO_SMALL = {
    1: (
        "steps data.prompts_per_step rollout.group rollout.max_new_tokens optim.epochs eval.k "
        "checkpoint.keep log.repetition_ngram mesh.data mesh.fsdp mesh.tensor log.max_skipped_updates"
    ),
    0: (
        "seed data.subset model.lora.rank rollout.slots rollout.train_group kl.coef optim.lr optim.warmup_updates "
        "optim.weight_decay optim.micro_rows optim.minibatch_prompts eval.every eval.temperature "
        "eval.max_questions checkpoint.every log.completions_every log.completions_rows"
    ),
    1e-6: "rollout.temperature optim.clip_norm eval.top_p",
}
for low, keys in TOO_SMALL.items():
    for key in keys.split():
        bad = 0 if low else -1
        REFUSED.append(({key: bad}, f"{key} {bad} {low}"))


TOO_LARGE = {
    "seed": 2**63,
    "data.subset_seed": 2**40,
    "steps": 10**12,
    "optim.warmup_updates": 10**12,
    "rollout.max_new_tokens": 10**12,
    "optim.lr": 1e30,
    "optim.weight_decay": 1e9,
    "optim.lr ": float("nan"),
    "rollout.temperature": float("inf"),
    "eval.top_p": 1.5,
    "kl.coef": None,
    "data.columns": None,
}
for key, bad in TOO_LARGE.items():
    REFUSED.append(({key.strip(): bad}, f"{key.strip()} give"))
for bad in ((8.5, 16), ("8", "16"), (True, 16), (8, 10**12)):
    REFUSED.append(({"data.prompt_buckets": bad}, "data.prompt_buckets whole"))
for bad in (
    "-" * 5000 + "self_certainty",
    "(" * 5000 + "format" + ")" * 5000,
    "format+" * 20000 + "format",
    "format+" * 970 + "format",
    "a\0b",
):
    REFUSED.append(({"reward.name": bad}, "reward cannot be read"))


def configured(overrides):
    c = config.default()
    c.update_from_flattened_dict(overrides)
    return c


@pytest.mark.parametrize("overrides, expected", REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_what_cannot_work_is_refused_with_key_value_and_remedy(overrides, expected):
    with pytest.raises(config.ConfigError) as error:
        validation.validate(configured(overrides), 1)
    for word in expected.split():
        assert word in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        SUPERVISED,
        {"kl.coef": 0.1, "kl.estimator": "k1", "kl.place": "reward"},
        {"kl.coef": 0.0, "kl.estimator": "k1"},
        {"rollout.slots": 3},
        {"rollout.slots": 1000},  # more than there are rows: all of them
        {"optim.micro_rows": 4},
        {"optim.minibatch_prompts": 8, "optim.epochs": 2},
        {"rollout.train_group": 4, "optim.micro_rows": 0},
        {"rollout.group": 1, "advantage.name": "reinforce_pp", "optim.micro_rows": 0},
        {"data.prompt_buckets": (8, 16), "rollout.response_buckets": (11, 22, 44)},
        {"eval.temperature": 0.0},
    ],
    ids=str,
)
def test_what_can_work_is_let_through(overrides):
    validation.validate(configured(overrides), 1)


def test_a_mesh_that_does_not_divide_the_batch_is_refused():
    c = configured({"mesh.data": 8, "data.prompts_per_step": 4, "optim.micro_rows": 0})
    with pytest.raises(config.ConfigError, match="data.prompts_per_step = 4 .* multiple of 8"):
        validation.validate(c, 8)
    c = configured({"mesh.data": 8, "rollout.slots": 12, "optim.micro_rows": 0})
    with pytest.raises(config.ConfigError, match="rollout.slots = 12 .* multiple of 8"):
        validation.validate(c, 8)
    c = configured({"mesh.fsdp": 8, "optim.micro_rows": 4})
    with pytest.raises(config.ConfigError, match="optim.micro_rows = 4 .* multiple of 8"):
        validation.validate(c, 8)
    c = configured({"mesh.data": 8, "rollout.group": 6, "optim.micro_rows": 32})
    with pytest.raises(config.ConfigError, match="optim.micro_rows = 32 .* a shard, 4, must divide .* 6"):
        validation.validate(c, 8)
    for rows in (8, 16, 32, 64, 128):  # a part of a group a device, or whole ones
        validation.validate(configured({"mesh.data": 8, "optim.micro_rows": rows}), 8)


def test_a_custom_reward_goes_before_the_name():
    validation.validate(configured({"reward.name": "whatever", "reward.fn": "mine.py:reward"}), 1)


def test_how_a_run_is_computed_and_what_came_later_at_its_default_leave_its_hash_alone():
    base = config.config_hash(config.flat(config.default()))
    assert {"mesh.fsdp", "rollout.slots", "log.completions_rows"} <= config.marked("how")
    assert {"answers.check", "verify.template", "model.vocab"} <= config.marked("added")
    before = {k: v for k, v in config.flat(config.default()).items() if k not in config.marked("added")}
    assert config.config_hash(before) == base
    assert config.config_hash(config.flat(configured({"mesh.fsdp": 8, "rollout.slots": 3}))) == base
    assert config.config_hash(config.flat(configured({"answers.check": "countdown"}))) != base


def test_every_default_has_the_type_its_override_needs():
    for key, value in config.flat(config.default()).items():
        assert isinstance(value, str | int | float | list), key
