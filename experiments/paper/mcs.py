"""Model Collapse Step: the first step at which majority voting's reward accuracy is below 1 %, for seven models.

    python -m urlvr_jax.main --config experiments/paper/mcs.py:qwen3-1.7b
    python -m urlvr_jax.main --config experiments/paper/mcs.py:olmo2-7b
    python -m urlvr_jax.main plan --config experiments/paper/mcs.py:qwen3-8b --hardware h100-8

Written for 8 x H100. Not run here. Expect of the paper (step; and the gain on AIME 2024 that ground truth brings):

    olmo2-7b 34 (+0.42)   llama3.1-8b 40 (+1.01)   qwen2.5-math-1.5b 160 (+3.96)   qwen2.5-1.5b 221 (+3.96)
    qwen2.5-7b 245 (+6.67)   qwen3-1.7b 280 (+7.08)   qwen3-8b 383 (+17.08)

Responses have 7168 tokens, but 3072 where the model has 4096 positions (OLMo-2, Qwen2.5-Math). The settings are those of
dapo.py beside this file; `steps` is half as many again as the paper's collapse step, so 383 takes two epochs.
"""

import pathlib

from urlvr_jax import config

MODELS = {  # name: (model on the Hub, steps, positions, rollout.slots)
    "olmo2-7b": ("allenai/OLMo-2-1124-7B", 60, 4096, 32),
    "llama3.1-8b": ("meta-llama/Llama-3.1-8B", 60, 8192, 64),
    "qwen2.5-math-1.5b": ("Qwen/Qwen2.5-Math-1.5B", 240, 4096, 256),
    "qwen2.5-1.5b": ("Qwen/Qwen2.5-1.5B", 330, 8192, 256),
    "qwen2.5-7b": ("Qwen/Qwen2.5-7B", 370, 8192, 128),
    "qwen3-1.7b": ("Qwen/Qwen3-1.7B-Base", 420, 8192, 128),
    "qwen3-8b": ("Qwen/Qwen3-8B-Base", 580, 8192, 64),
}


def get_config(name="qwen3-1.7b"):
    if name not in MODELS:
        raise config.ConfigError(f"mcs.py:{name}: the argument is a model, one of {sorted(MODELS)}")
    c = config.load_experiment(str(pathlib.Path(__file__).with_name("dapo.py")))
    c.model.path, c.steps, positions, c.rollout.slots = MODELS[name]
    c.rollout.max_new_tokens = positions - 1024
    c.rollout.response_buckets = tuple(sorted({2048, positions - 1024}))
    return c
