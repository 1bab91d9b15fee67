"""The paper's main setting: Qwen3-1.7B-Base on DAPO-17k, by any reward, on a named machine.

    python -m urlvr_jax.main --config experiments/paper/dapo.py
    python -m urlvr_jax.main --config experiments/paper/dapo.py:v5e-16 --config.reward.name=ground_truth
    python -m urlvr_jax.main plan --config experiments/paper/dapo.py --hardware h100-8

The argument is a machine: h100-8 (default) or v5e-16; what fits there is from `plan`, see docs/plan.md. The paper's
rewards: majority_voting (default), ground_truth, self_certainty, token_level_entropy, trajectory_level_entropy,
probability.

64 prompts x 8 responses, 1024 + 7168 tokens, T = 1, one update a step, AdamW at 1e-6, no KL, the file's order; every 20
steps avg@32 at T = 0.6, top-p 0.95 on AIME 2024, AIME 2025 and AMC 2023.

Not run here: there were neither weights nor accelerators. Expect of the paper: majority voting at or above ground truth
early, then its reward goes on rising while reward accuracy and evaluation fall; reward accuracy below 1 % near step 280,
which is past one epoch (272 steps). Ground truth: about +7 points on AIME 2024.

Ours to decide, where the paper leaves it open: questions are bare, as in the released code's files, so they come from
the de-duplicated copy of the set (`BytedTsinghua-SIA/DAPO-Math-17k` repeats each about 100 times and has DAPO's own
instruction in its rows); training and evaluation share the boxed instruction. bfloat16 products over float32 weights.
"""

from urlvr_jax import config

EVALUATION = ("hf:HuggingFaceH4/aime_2024:train", "hf:math-ai/aime25:test", "hf:math-ai/amc23:test")

MACHINES = {
    "h100-8": {"rollout.slots": 512, "optim.micro_rows": 8},
    "v5e-16": {"rollout.slots": 512, "rollout.pages": 640, "optim.micro_rows": 16, "model.scan": True},
}


def get_config(machine="h100-8"):
    if machine not in MACHINES:
        raise config.ConfigError(f"dapo.py:{machine}: the argument is a machine, one of {sorted(MACHINES)}")
    c = config.default()
    c.steps = 300
    c.model.path = "Qwen/Qwen3-1.7B-Base"
    c.model.compute_dtype = "bfloat16"
    c.model.remat = True

    c.data.train = "hf:open-r1/DAPO-Math-17k-Processed:all:train"
    c.data.template = "boxed"
    c.answers.style = "boxed"
    c.data.prompts_per_step = 64
    c.data.prompt_buckets = (256, 1024)

    c.rollout.group = 8
    c.rollout.max_new_tokens = 7168
    c.rollout.response_buckets = (2048, 7168)
    c.reward.name = "majority_voting"

    c.mesh.fsdp = -1  # weights split over all devices
    c.optim.lr = 1e-6
    c.optim.micro_prompts = 0
    c.eval.every = 20
    c.eval.sets = EVALUATION
    c.eval.k = 32
    c.checkpoint.every = 20
    c.update_from_flattened_dict(MACHINES[machine])
    return c
