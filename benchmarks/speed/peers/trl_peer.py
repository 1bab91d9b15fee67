"""TRL: its GRPOTrainer, paused between steps, timed at its own seams. Started by run.py.

A step is the trainer's own, from `on_step_begin` to `on_step_end`. The update is what remains of it without the
making of its inputs (rollout, reward, advantages).
"""

from __future__ import annotations

import sys
import tempfile
import time
from importlib.metadata import version

from protocol import Seam, Server, check_tokens, clock, read_job, toy_reward, work_done

server = Server()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

ENDLESS = 10**6
job = read_job(sys.argv[1])
torch.set_num_threads(job.threads)
CUDA = torch.cuda.is_available()
rows = job.prompts * job.samples


class Paused(TrainerCallback):
    """Answers commands before each step, and tells each step's seconds after it."""

    def on_step_begin(self, *_, **__):
        server.serve({"score": score}, until="step")
        rollout.take(), inputs.take()
        self.began = time.perf_counter()

    def on_step_end(self, *_, **__):
        if CUDA:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self.began
        tokens = rollout.result[0]
        check_tokens(job, tokens)
        server.send(
            step=seconds,
            rollout=rollout.take(),
            update=seconds - inputs.take(),
            **work_done([len(row) for row in tokens]),
        )


trainer = GRPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(job.model, dtype=getattr(torch, job.dtype)),
    processing_class=AutoTokenizer.from_pretrained(job.model),
    reward_funcs=toy_reward,
    train_dataset=Dataset.from_dict({"prompt": job.texts}),
    callbacks=[Paused()],
    args=GRPOConfig(
        output_dir=tempfile.mkdtemp(prefix="trl-"),
        use_cpu=not CUDA,
        bf16=False,
        gradient_checkpointing=False,
        seed=job.seed,
        per_device_train_batch_size=job.micro_batch,
        gradient_accumulation_steps=rows // job.micro_batch,
        num_generations=job.samples,
        max_completion_length=job.new_tokens,
        temperature=job.temperature,
        top_k=0,
        top_p=1.0,
        beta=0.0,
        epsilon=job.clip_eps,
        loss_type="grpo",
        learning_rate=job.lr,
        weight_decay=0.0,
        lr_scheduler_type="constant",
        max_steps=ENDLESS,
        num_train_epochs=ENDLESS,
        save_strategy="no",
        report_to="none",
        logging_steps=ENDLESS,
        disable_tqdm=True,
        shuffle_dataset=False,
    ),
)
prompts = np.repeat(job.prompt_tokens, job.samples, axis=0)
probe = torch.tensor(np.concatenate([prompts, job.probe], 1), dtype=torch.long, device=trainer.model.device)


@torch.no_grad()
def score() -> dict:
    def whole():
        return trainer._get_per_token_logps_and_entropies(
            trainer.model, probe, torch.ones_like(probe), job.new_tokens,
            batch_size=job.score_micro_batch,
        )[0].cpu()  # fmt: skip

    seconds, logp = clock(whole)
    return {
        "score": seconds, "probe_logp": float(logp.double().mean()), **work_done(job.probe_lengths)
    }  # fmt: skip


tokenised = trainer.processing_class(job.texts)["input_ids"]
if tokenised != job.prompt_tokens.tolist():
    raise AssertionError("the prompts' texts do not give back their tokens")
rollout = Seam(trainer, "_generate_single_turn")
inputs = Seam(trainer, "_generate_and_score_completions")
server.send(
    versions={p: version(p) for p in ("trl", "torch", "transformers", "accelerate")},
    device=torch.cuda.get_device_name() if CUDA else "cpu",
)
trainer.train()
raise AssertionError("the trainer ended by itself")
