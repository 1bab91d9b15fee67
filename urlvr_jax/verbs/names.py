"""A key or flag that is not known: the one that was meant, by its spelling or by its name in verl and TRL."""

from __future__ import annotations

import difflib

from urlvr_jax import config as config_lib
from urlvr_jax.verbs.flags import FLAGS

# Names of verl's and TRL's configurations, by their last parts -> a key here, two that go together, one | another, or
# a flag. docs/coming_from.md says more.
ELSEWHERE = {
    # verl
    "train_batch_size": "data.prompts_per_step",
    "train_files": "data.train",
    "val_files": "eval.sets",
    "prompt_key": "data.columns",
    "max_prompt_length": "data.prompt_buckets",
    "max_response_length": "rollout.max_new_tokens",
    "response_length": "rollout.max_new_tokens",
    "rollout.n": "rollout.group",
    "val_kwargs.n": "eval.k",
    "val_kwargs.temperature": "eval.temperature",
    "val_kwargs.top_p": "eval.top_p",
    "val_kwargs.top_k": "eval.top_k",
    "tensor_model_parallel_size": "mesh.tensor",
    "ppo_mini_batch_size": "optim.minibatch_prompts",
    "ppo_micro_batch_size": "optim.micro_rows",
    "ppo_micro_batch_size_per_gpu": "optim.micro_rows",
    "ppo_epochs": "optim.epochs",
    "clip_ratio": "loss.clip_low loss.clip_high",
    "clip_ratio_low": "loss.clip_low",
    "clip_ratio_high": "loss.clip_high",
    "clip_ratio_c": "loss.dual_clip",
    "loss_agg_mode": "loss.aggregation",
    "grad_clip": "optim.clip_norm",
    "use_kl_loss": "kl.coef",
    "kl_loss_coef": "kl.coef",
    "kl_loss_type": "kl.estimator",
    "use_kl_in_reward": "kl.place",
    "kl_coef": "kl.coef",
    "adv_estimator": "advantage.name",
    "lr_warmup_steps": "optim.warmup_updates",
    "total_training_steps": "steps",
    "total_epochs": "steps",
    "test_freq": "eval.every",
    "save_freq": "checkpoint.every",
    "max_actor_ckpt_to_keep": "checkpoint.keep",
    "n_gpus_per_node": "mesh.data",
    "nnodes": "mesh.data",
    "default_local_dir": "--workdir",
    "experiment_name": "--workdir",
    "trainer.logger": "log.sinks",
    "unsupervised_reward.estimator": "reward.name",
    # TRL
    "num_generations": "rollout.group",
    "max_completion_length": "rollout.max_new_tokens",
    "per_device_train_batch_size": "optim.minibatch_prompts|optim.micro_rows",
    "generation_batch_size": "data.prompts_per_step",
    "batch_size": "data.prompts_per_step",
    "gradient_accumulation_steps": "optim.micro_rows",
    "learning_rate": "optim.lr",
    "beta": "kl.coef",
    "num_iterations": "optim.epochs",
    "epsilon": "loss.clip_low loss.clip_high",
    "epsilon_high": "loss.clip_high",
    "delta": "loss.dual_clip",
    "loss_type": "loss.aggregation",
    "scale_rewards": "advantage.name",
    "max_steps": "steps",
    "num_train_epochs": "steps",
    "eval_steps": "eval.every",
    "save_steps": "checkpoint.every",
    "save_total_limit": "checkpoint.keep",
    "logging_steps": "log.completions_every",
    "warmup_steps": "optim.warmup_updates",
    "lr_scheduler_type": "optim.schedule",
    "adam_beta1": "optim.b1",
    "adam_beta2": "optim.b2",
    "adam_epsilon": "optim.eps",
    "max_grad_norm": "optim.clip_norm",
    "output_dir": "--workdir",
    "report_to": "log.sinks",
    "model_name_or_path": "model.path",
    "lora_rank": "model.lora.rank",
    "lora_r": "model.lora.rank",
    "lora_alpha": "model.lora.alpha",
    "target_modules": "model.lora.targets",
    "lora_target_modules": "model.lora.targets",
    "load_in_8bit": "model.lora.base",
    "dataset_name": "data.train",
    "reward_funcs": "reward.name",
    "gradient_checkpointing": "model.remat",
    "enable_gradient_checkpointing": "model.remat",
    "torch_dtype": "model.compute_dtype",
    # of harnesses that evaluate and generate
    "limit": "eval.max_questions",
    "max_samples": "eval.max_questions",
    "num_samples": "eval.k",
    "n": "eval.k|rollout.group",
    "max_tokens": "rollout.max_new_tokens",
    "max_gen_toks": "rollout.max_new_tokens",
    "dtype": "model.compute_dtype",
}
LONGEST = 60  # characters of a value that are repeated


def meant(name: str) -> tuple[str, ...]:
    """What a name that is no key can have meant: keys, or flags with their two hyphens; none if nothing is near.

    Several are alternatives, but where verl's or TRL's name is two keys here: those come as one, with a blank.
    """
    keys = list(config_lib.flat(config_lib.default()))
    parts = name.lower().replace("-", "_").split(".")
    tails = [".".join(parts[i:]) for i in range(len(parts))]
    for tail in tails:
        if tail in ELSEWHERE:
            return tuple(ELSEWHERE[tail].split("|"))
        if tail in keys:
            return (tail,)
    leaf = [key for key in keys if key.rpartition(".")[2] == parts[-1]]
    if leaf:
        return tuple(
            sorted(leaf, key=lambda key: not key.startswith("rollout."))
        )  # most often the rollouts'
    near = difflib.get_close_matches(tails[0], keys, 1, 0.75)
    if near:
        return tuple(near)
    leaves = {key.rpartition(".")[2]: key for key in reversed(keys)}
    others = {**{other: there for other, there in ELSEWHERE.items() if "." not in other}, **leaves}
    for last in difflib.get_close_matches(parts[-1], others, 1, 0.75):
        return tuple(others[last].split("|"))
    return ()


def unknown_key(key: str, value: str | None) -> str:
    """What is said of `--config.<key>`."""
    head = key.split(".")[0]
    section = [k for k in config_lib.flat(config_lib.default()) if k.startswith(f"{head}.")]
    found = () if section and key == head else meant(key)
    if found:
        return f"--config.{key} is no key: {_instead(found, value)}"
    if section:
        return f"--config.{key} is no key: those of `{head}` are {', '.join(section)}"
    return f"--config.{key} is no key, nor near one: urlvr_jax/config.py has all with their defaults"


def unknown_flag(name: str, value: str | None) -> str:
    """What is said of `--<name>`."""
    near = difflib.get_close_matches(name, [*FLAGS, "config"], 1, 0.7)
    if near:
        return f"--{name} is no option: did you mean --{near[0]}?"
    found = meant(name)
    if found:
        return f"--{name} is no option: {_instead(found, value)}"
    return f"--{name} is no option: --help lists them"


def _instead(found: tuple[str, ...], value: str | None) -> str:
    given = "VALUE" if value is None or len(value) > LONGEST else value
    typed = lambda name: (name if name.startswith("--") else f"--config.{name}") + f"={given}"
    return f"did you mean {' or '.join(' '.join(map(typed, one.split())) for one in found)}?"
