"""What one step tells: metrics of rollouts, votes and rewards under the field's names.

A metric that cannot be computed (no labels, say) is absent from the line; it is never zero instead.
"""

from __future__ import annotations

import numpy as np


def of_rollouts(rollouts, ngram: int) -> dict[str, float]:
    """Length, truncation and repetition of the responses."""
    lengths = rollouts.lengths
    return {
        "response_length/mean": float(lengths.mean()),
        "response_length/max": float(lengths.max()),
        "response_length/clip_ratio": float(1 - rollouts.ended.mean()),
        "repetition_rate": repetition_rate(rollouts.tokens, lengths, ngram),
        "perf/rollout_tokens": float(lengths.sum()),
    }


def repetition_rate(tokens: np.ndarray, lengths: np.ndarray, ngram: int) -> float:
    """Share of n-grams that occurred before in the same response, averaged over responses.

    tokens int `[B, T]`; responses shorter than two n-grams count as 0.
    """
    rates = []
    for row, length in zip(tokens, lengths, strict=True):
        count = int(length) - ngram + 1
        if count < 2:
            rates.append(0.0)
            continue
        grams = np.lib.stride_tricks.sliding_window_view(row[:length], ngram)
        distinct = len({g.tobytes() for g in grams})
        rates.append(1 - distinct / count)
    return float(np.mean(rates))


def of_rewards(values: np.ndarray) -> dict[str, float]:
    """values float `[P, G]`, the trained rollouts."""
    return {
        "reward/mean": float(values.mean()),
        "reward/std": float(values.std()),
        "frac_reward_zero_std": float((values.max(axis=1) == values.min(axis=1)).mean()),
    }


def of_terms(terms: dict[str, np.ndarray]) -> dict[str, float]:
    """{label: float `[P, G]`} of a sum's terms, the trained rollouts, before normaliser and weight."""
    out = {f"reward/{name}/mean": float(x.mean()) for name, x in terms.items()}
    return out | {f"reward/{name}/std": float(x.std()) for name, x in terms.items()}


def of_shadows(shadows: dict[str, np.ndarray], correct: np.ndarray | None):
    """{name: float `[P, G]`} of rewards that are only watched, over all rollouts of the step.

    Their rank correlation with the true reward is absent without labels, and where either is constant.
    """
    out = {f"shadow/{name}/mean": float(x.mean()) for name, x in shadows.items()}
    if correct is not None:
        for name, x in shadows.items():
            correlation = rank_correlation(x.reshape(-1), correct.reshape(-1))
            if correlation is not None:
                out[f"shadow/{name}/rank_correlation"] = correlation
    return out


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's coefficient of two `[n]`, average ranks for ties; None where either is constant."""

    def ranks(x):
        _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[place]

    if np.min(a) == np.max(a) or np.min(b) == np.max(b):
        return None
    x, y = ranks(a), ranks(b)
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()), -1, 1))


def of_votes(answers: np.ndarray, label: np.ndarray, correct: np.ndarray | None) -> dict[str, float]:
    """The paper's ensemble metrics, for every reward.

    answers int `[P, G]`; label int `[P]`, the majority's answer; correct bool `[P, G]` or None.

    reward_accuracy compares the majority pseudo-reward with the true reward, rollout by rollout. In
    a group without any valid answer every rollout disagrees: a policy that writes junk scores 0.
    """
    group = answers.shape[1]
    pseudo = (answers == label[:, None]) & (answers >= 0)
    out = {
        "train/ensemble/majority_ratio": float(pseudo.mean()),
        "train/ensemble/majority_voting_reward": float(pseudo.mean()),
        "train/ensemble/no_answer": float((answers < 0).mean()),
    }
    if correct is not None:
        agree = (pseudo == correct) & (label >= 0)[:, None]
        out |= {
            "train/ensemble/label_accuracy": float((pseudo & correct).any(axis=1).mean()),
            "train/ensemble/reward_accuracy": float(agree.mean()),
            "train/ensemble/ground_truth_reward": float(correct.mean()),
            f"train/ensemble/pass@{group}": float(correct.any(axis=1).mean()),
        }
    return out


def of_updates(updates: list[dict]) -> dict[str, float]:
    """Means over a step's optimizer updates. The sampler's difference is the first update's: only
    there the scored policy is the one that sampled."""
    out = {name: float(np.mean([u[name] for u in updates])) for name in updates[0]}
    for name in ("actor/sampler_logp_diff", "actor/sampler_logp_diff_max"):
        out[name] = float(updates[0][name])
    out["actor/skipped_updates"] = float(sum(u["actor/skipped_updates"] for u in updates))
    return out


def table(c, prompts, judged, rollouts) -> dict[str, list]:
    """Columns of a completions table: the first rows of the step, in rollout order."""
    rows = range(min(c.log.completions_rows, len(judged.texts)))
    group = c.rollout.group
    return {
        "prompt": [prompts.texts[b // group] for b in rows],
        "completion": [judged.texts[b] for b in rows],
        "answer": [judged.keys[b] for b in rows],
        "gold": [None if judged.gold is None else judged.gold[b // group] for b in rows],
        "reward": [float(judged.reward[b // group, b % group]) for b in rows],
        "length": [int(rollouts.lengths[b]) for b in rows],
        "ended": [bool(rollouts.ended[b]) for b in rows],
        "mean_logp": [float(rollouts.stats["logp"][b].sum() / max(1, rollouts.lengths[b])) for b in rows],
    }
