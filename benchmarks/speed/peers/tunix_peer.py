"""Tunix: its GRPOLearner with the vanilla rollout, paused in the prompts' iterator. Started by run.py.

A step lasts from the learner's asking for prompts to its asking again, with the device done. Rollout and
update are timed at the cluster's own methods.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from importlib.metadata import version

from protocol import Seam, Server, check_tokens, clock, read_job, toy_reward, work_done

server = Server()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from flax import nnx  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402
from tunix.models.qwen3 import model as qwen3  # noqa: E402
from tunix.models.qwen3 import params as qwen3_params  # noqa: E402
from tunix.rl import common, rl_cluster  # noqa: E402
from tunix.rl.grpo import grpo_learner  # noqa: E402
from tunix.rl.rollout import base_rollout  # noqa: E402

ENDLESS = 10**6
job = read_job(sys.argv[1])
role = rl_cluster.Role
mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
tokenizer = AutoTokenizer.from_pretrained(job.model)


def load_model():
    c = json.loads((pathlib.Path(job.model) / "config.json").read_text())
    config = qwen3.ModelConfig(
        num_layers=c["num_hidden_layers"],
        vocab_size=c["vocab_size"],
        embed_dim=c["hidden_size"],
        hidden_dim=c["intermediate_size"],
        num_heads=c["num_attention_heads"],
        head_dim=c["head_dim"],
        num_kv_heads=c["num_key_value_heads"],
        norm_eps=c["rms_norm_eps"],
        rope_theta=int(c["rope_parameters"]["rope_theta"]),
        use_tied_embedding=c["tie_word_embeddings"],
    )
    return qwen3_params.create_model_from_safe_tensors(
        job.model, config, mesh, dtype=getattr(jnp, job.dtype)
    )


def make_cluster():
    training = rl_cluster.RLTrainingConfig(
        actor_optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(job.lr, weight_decay=0.0)),
        eval_every_n_steps=ENDLESS,
        max_steps=ENDLESS,
        mini_batch_size=job.prompts,
        train_micro_batch_size=job.micro_batch // job.samples,
        rollout_micro_batch_size=job.prompts,
        compute_logps_micro_batch_size=job.prompts,
    )
    sampling = base_rollout.RolloutConfig(
        max_tokens_to_generate=job.new_tokens,
        max_prompt_length=job.prompt_len,
        kv_cache_size=job.prompt_len + job.new_tokens,
        temperature=job.temperature,
        top_p=1.0,
        top_k=None,
    )
    return rl_cluster.RLCluster(
        actor=load_model(),
        reference=None,
        tokenizer=tokenizer,
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh={role.ACTOR: mesh, role.REFERENCE: mesh, role.ROLLOUT: mesh},
            rollout_engine="vanilla",
            offload_to_cpu=False,
            training_config=training,
            rollout_config=sampling,
        ),
    )


def score() -> dict:
    prompts = np.repeat(job.prompt_tokens, job.samples, axis=0)
    chunks = len(prompts) // job.score_micro_batch
    parts = list(zip(np.split(prompts, chunks), np.split(job.probe, chunks), strict=True))
    graph, state = nnx.split(cluster.actor_trainer.model)

    def whole():
        return np.concatenate([
            np.asarray(
                common.compute_per_token_logps(
                    graph, state, prompt_tokens=prompt, completion_tokens=completion,
                    pad_id=job.pad_id, eos_id=job.stop_ids[0], temperature=job.temperature,
                )
            )
            for prompt, completion in parts
        ])  # fmt: skip

    seconds, logp = clock(whole)
    return {
        "score": seconds,
        "probe_logp": float(logp.mean(dtype=np.float64)),
        **work_done(job.probe_lengths),
    }


def batches():
    """The prompts again and again: one `step` command, one batch."""
    while True:
        server.serve({"score": score}, until="step")
        rollout.take(), update.take()
        began = time.perf_counter()
        yield {"prompts": np.array(job.texts)}
        waited = clock(lambda: jax.block_until_ready(nnx.state(cluster.actor_trainer.model)))[0]
        seconds = time.perf_counter() - began
        out = rollout.result
        check_tokens(job, out.tokens)
        if (np.asarray(out.left_padded_prompt_tokens)[:: job.samples] != job.prompt_tokens).any():
            raise AssertionError("the prompts' texts do not give back their tokens")
        server.send(
            step=seconds,
            rollout=rollout.take(),
            update=update.take() + waited,
            **work_done([len(row) for row in np.asarray(out.tokens)]),
        )


cluster = make_cluster()
learner = grpo_learner.GRPOLearner(
    rl_cluster=cluster,
    reward_fns=toy_reward,
    algo_config=grpo_learner.GRPOConfig(
        num_generations=job.samples, num_iterations=1, beta=0.0, epsilon=job.clip_eps
    ),
)
rollout, update = Seam(cluster, "generate"), Seam(cluster, "update_actor")
server.send(
    versions={p: version(p) for p in ("google-tunix", "jax", "flax", "transformers")},
    device=jax.devices()[0].device_kind,
)
learner.train(batches())
raise AssertionError("the learner ended by itself")
