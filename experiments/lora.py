"""Majority voting with adapters of low rank: in the laboratory, or a model of 8 billion parameters on one GPU.

    python -m urlvr_jax.main --config experiments/lora.py
    python -m urlvr_jax.main --config experiments/lora.py:qwen3-8b
    python -m urlvr_jax.main plan --config experiments/lora.py:qwen3-8b --hardware h100-1

The argument is lab (default) or qwen3-8b. In the laboratory rank 4 trains 10,240 numbers beside 108,160 frozen ones.
Cost: about 3 minutes on two cores. Expect (seed 0, held-out accuracy): base 0.61, best 0.89 at step 60; seeds 1 and 2: 0.92, 0.93.

The 8B setting is dapo.py's, in the folder paper, with responses of 3072 tokens, 32 x 8 a step, a frozen bfloat16 base and
rank 32; ten times the rate of full fine-tuning. Not run here. By `plan` it fits one H100 of 80 GB.
"""

import pathlib

from urlvr_jax import config

SETTINGS = ("lab", "qwen3-8b")


def get_config(name="lab"):
    if name not in SETTINGS:
        raise config.ConfigError(f"lora.py:{name}: the argument is a setting, one of {SETTINGS}")
    if name == "lab":
        c = config.default()
        c.reward.name = "majority_voting"
        c.model.lora.rank, c.model.lora.alpha = 4, 8.0
        c.optim.lr = 1e-3
        c.steps = 60
        return c
    c = config.load_experiment(str(pathlib.Path(__file__).parent / "paper" / "dapo.py")).unlock()
    c.model.path = "Qwen/Qwen3-8B-Base"
    c.model.param_dtype = "bfloat16"  # of the frozen base; adapters and moments are float32
    c.model.lora.rank, c.model.lora.alpha = 32, 32.0
    c.optim.lr = 1e-5
    c.data.prompts_per_step = 32
    c.rollout.max_new_tokens = 3072
    c.rollout.response_buckets = (1024, 3072)
    c.rollout.slots, c.rollout.pages = 176, 1700
    c.optim.micro_rows = 8
    c.mesh.fsdp, c.mesh.data = 1, -1
    return c.lock()
