"""Simple self-distillation (SSD, 2604.01193): imitate one's own raw samples. No reward, no vote, no label.

    mkdir -p runs
    python -m urlvr_jax.main generate --model lab:plain --data lab:train --config.eval.k=4 \\
        --config.eval.temperature=1.5 --config.eval.top_p=0.8 --out runs/self_distillation.jsonl
    python -m urlvr_jax.main --config experiments/self_distillation.py

A control: what a reward without labels has to beat. Temperature and top_p are those of the paper's released code; its
--config.eval.top_k=20 would keep all tokens of the laboratory. That it drops the shortest tenth of the samples is not here. Other
samples: --config experiments/self_distillation.py:FILE. Cost: two minutes on two cores.
"""

from urlvr_jax import config

SAMPLES = "runs/self_distillation.jsonl"


def get_config(samples=SAMPLES):
    c = config.default()
    c.mode = "supervised"
    c.data.documents = samples
    c.data.prompts_per_step = 128
    c.rollout.group = 1
    c.advantage.name = "none"
    c.optim.lr = 1e-3
    c.optim.schedule = "cosine"
    c.optim.warmup_updates = 10
    c.optim.micro_rows = 32
    c.steps = 150
    return c
