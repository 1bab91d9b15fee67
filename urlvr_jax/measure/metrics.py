"""What one step tells: metrics of rollouts, votes and rewards under the field's names.

A metric that cannot be computed (no labels, say) is absent from the line; it is never zero instead. What held-out
questions tell (avg@k, maj@k, pass@k) is in evaluate.py, what a whole run tells in collapse.py.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.learning.objective import KL_ESTIMATORS
from urlvr_jax.measure.intervals import rank_correlation
from urlvr_jax.rewards.covo import paths
from urlvr_jax.rewards.self_verification import AMBIGUOUS, YES

# Of an update, what depends on the advantages, and so on labels where the reward does.
FROM_ADVANTAGES = ("actor/loss", "actor/grad_norm", "actor/pg_clipfrac", "actor/pg_clipfrac_lower")


@dataclasses.dataclass
class Line:
    """One line of metrics.jsonl, in two halves: what needs no label, and what does.

    A detector of collapse is a function of the `free` halves of the lines so far, so it cannot read a label.
    """

    step: int
    free: dict[str, float] = dataclasses.field(default_factory=dict)
    labelled: dict[str, float] = dataclasses.field(default_factory=dict)

    def whole(self) -> dict[str, float]:
        """As it is written."""
        return {"step": self.step, **self.free, **self.labelled}


def of_step(c, step: int, rollouts, answers, rewards, graded, stats, ref_logp) -> Line:
    """What a step's rollouts tell.

    graded: what `answers.check` found; stats, ref_logp float32 `[B, T]`: read where a reference has scored the rollouts.
    """
    correct = graded.correct
    line = Line(step, of_rollouts(rollouts, c.log.repetition_ngram))
    if c.mode == "supervised":
        return line
    kept = config_lib.train_group(c)
    own = line.labelled if rewards.labelled else line.free
    own |= of_rewards(rewards.values[:, :kept])
    own |= of_terms({name: x[:, :kept] for name, x in rewards.terms.items()})
    line.free |= of_shadows(rewards.shadows) | of_votes(answers.classes, answers.majority)
    if c.kl.coef or c.kl.watch:
        line.free |= of_reference(c, answers, rollouts, stats["logp"] - ref_logp, ref_logp)
    if rewards.verdicts is not None:
        line.free |= of_verdicts(rewards.verdicts)
    for name, value in (("logp", rewards.continuation_logp), ("p", rewards.continuation_p)):
        if value is not None:
            line.free |= of_continuations(name, value)
    if rewards.answer_distance is not None:
        line.free |= of_states(rewards.answer_distance, answers.classes)
    line.labelled |= {f"check/{cause}": float(n) for cause, n in graded.ungraded.items()}
    if correct is not None:
        line.labelled |= of_rewards_against_labels(rewards.values, correct)
        line.labelled |= of_shadows_against_labels(rewards.shadows, correct)
        line.labelled |= of_votes_against_labels(answers.classes, answers.majority, correct)
        if rewards.verdicts is not None:
            line.labelled |= of_verdicts_against_labels(rewards.verdicts, correct)
    return line


def of_rollouts(rollouts, ngram: int) -> dict[str, float]:
    """Length, truncation and repetition of the responses."""
    lengths = rollouts.lengths
    return {
        "response_length/mean": float(lengths.mean()),
        "response_length/max": float(lengths.max()),
        "response_length/clip_ratio": float(1 - rollouts.ended.mean()),
        "repetition_rate": repetition_rate(rollouts.tokens, lengths, ngram),
        "perf/rollout_tokens": float(lengths.sum()),
    } | ({} if rollouts.put_back is None else {"perf/rows_put_back": float(rollouts.put_back)})


def of_reference(c, answers, rollouts, log_ratio: np.ndarray, ref_logp: np.ndarray) -> dict[str, float]:
    """How far the rollouts are from the reference, whose log-probabilities are float32 `[B, T]`.

    `actor/kl` by the configured estimator, where the update does not measure it. `base/majority_nll`: the base's mean
    negative log-probability of a token of the majority's rollouts, where the reference is the base and there are any.
    """
    mask, out = rollouts.mask, {}
    if not c.kl.coef or c.kl.place == "reward":
        distance = KL_ESTIMATORS[c.kl.estimator](jnp.asarray(log_ratio))
        out["actor/kl"] = float(np.asarray(distance)[mask].mean())
    chosen = mask & _pseudo_reward(answers.classes, answers.majority).reshape(-1, 1)
    if c.kl.reference == "fixed" and chosen.any():
        out["base/majority_nll"] = float(-ref_logp[chosen].mean())
    return out


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


def of_rewards_against_labels(values: np.ndarray, correct: np.ndarray) -> dict[str, float]:
    """How far the trained reward agrees with the true one over all rollouts `[P, G]`, voters included, as a shadow's is.

    The rank correlation is absent where either is constant; the accuracy where the reward is not 0 or 1, or pays nobody.
    """
    out = {}
    if (found := rank_correlation(values.reshape(-1), correct.reshape(-1))) is not None:
        out["reward/rank_correlation"] = found
    if values.any() and np.isin(values, (0, 1)).all():
        out["reward/accuracy"] = float((values == correct).mean())
    return out


def of_terms(terms: dict[str, np.ndarray]) -> dict[str, float]:
    """{label: float `[P, G]`} of a sum's terms, the trained rollouts, before normaliser and weight."""
    out = {f"reward/{name}/mean": float(x.mean()) for name, x in terms.items()}
    return out | {f"reward/{name}/std": float(x.std()) for name, x in terms.items()}


def of_shadows(shadows: dict[str, np.ndarray]) -> dict[str, float]:
    """{name: float `[P, G]`} of rewards that are only watched, over all rollouts of the step."""
    return {f"shadow/{name}/mean": float(x.mean()) for name, x in shadows.items()}


def of_shadows_against_labels(shadows: dict[str, np.ndarray], correct: np.ndarray) -> dict[str, float]:
    """Rank correlation of each shadow with the true reward; absent where either is constant."""
    found = {n: rank_correlation(x.reshape(-1), correct.reshape(-1)) for n, x in shadows.items()}
    return {f"shadow/{name}/rank_correlation": x for name, x in found.items() if x is not None}


def _pseudo_reward(classes: np.ndarray, majority: np.ndarray) -> np.ndarray:
    """bool `[P, G]`: which rollouts give the majority's answer. classes int `[P, G]`, majority int `[P]`."""
    return (classes == majority[:, None]) & (classes >= 0)


def of_votes(classes: np.ndarray, majority: np.ndarray) -> dict[str, float]:
    """The paper's ensemble metrics that need no label, for every reward.

    classes int `[P, G]`; majority int `[P]`, the class of the majority's answer.
    """
    share = float(_pseudo_reward(classes, majority).mean())
    return {
        "train/ensemble/majority_ratio": share,
        "train/ensemble/majority_voting_reward": share,
        "train/ensemble/no_answer": float((classes < 0).mean()),
    }


def of_votes_against_labels(
    classes: np.ndarray, majority: np.ndarray, correct: np.ndarray
) -> dict[str, float]:
    """The paper's ensemble metrics that compare with the truth. correct bool `[P, G]`.

    reward_accuracy compares the majority pseudo-reward with the true reward, rollout by rollout. In
    a group without any valid answer every rollout disagrees: a policy that writes junk scores 0.
    """
    pseudo = _pseudo_reward(classes, majority)
    agree = (pseudo == correct) & (majority >= 0)[:, None]
    return {
        "train/ensemble/label_accuracy": float((pseudo & correct).any(axis=1).mean()),
        "train/ensemble/reward_accuracy": float(agree.mean()),
        "train/ensemble/ground_truth_reward": float(correct.mean()),
        f"train/ensemble/pass@{classes.shape[1]}": float(correct.any(axis=1).mean()),
    }


def of_verdicts(verdicts: np.ndarray) -> dict[str, float]:
    """Self-verification: shares of verdicts int `[P, G]`."""
    return {
        "train/self_verify/yes": float((verdicts == YES).mean()),
        "train/self_verify/ambiguous": float((verdicts == AMBIGUOUS).mean()),
    }


def of_lesson(lesson) -> dict[str, float]:
    """The second update of a judge that is trained: a `runtime.judges.Lesson`, on the host, or None."""
    if lesson is None:
        return {}
    out = {"verifier/kept": float(lesson.kept)}
    if lesson.paid is not None:
        out["verifier/paid"] = float(lesson.paid)
    for update in lesson.updates:  # one, or none
        for name in ("loss", "grad_norm", "entropy", "skipped_updates"):
            out[f"verifier/{name}"] = float(update[f"actor/{name}"])
    return out


def of_continuations(name: str, value: np.ndarray) -> dict[str, float]:
    """What follows in the corpus: its `logp` or `p` a token after the thoughts, float `[P, G]`, -inf where not scored."""
    scored = np.isfinite(value)
    out = {"train/continuation/unscored": float(1 - scored.mean())}
    return out | ({f"train/continuation/{name}": float(value[scored].mean())} if scored.any() else {})


def of_states(distance: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """Where the states of the responses lead: distance float `[B, S, G]`, classes int `[P, G]`, as `covo.paths` reads them."""
    consistency, volatility, has = map(np.asarray, paths(jnp.asarray(distance), jnp.asarray(classes)))
    out = {"train/states/scored": float(has.mean())}
    if has.any():
        out["train/states/consistency"] = float(consistency[has].mean())
        out["train/states/volatility"] = float(volatility[has].mean())
    return out


def of_verdicts_against_labels(verdicts: np.ndarray, correct: np.ndarray) -> dict[str, float]:
    """Rates over the step's rollouts, where there are right or wrong ones. verdicts int, correct bool `[P, G]`."""
    yes = verdicts == YES
    out = {"train/self_verify/reward_accuracy": float((yes == correct).mean())}
    if correct.any():
        out["train/self_verify/true_positive_rate"] = float(yes[correct].mean())
    if not correct.all():
        out["train/self_verify/false_positive_rate"] = float(yes[~correct].mean())
    return out


def add_updates(c, line: Line, updates: list[dict], labelled: bool, rollouts, stats, weights=None) -> None:
    """Means over a step's optimizer updates. labelled: the rewards came from labels, so their advantages do.

    The sampler's difference is the first update's: only there the scored policy is the one that sampled. In
    supervised mode nobody sampled. No updates: all advantages were 0, so loss and gradient would have been too, and
    entropy and nll are those of `stats`. weights: see `of_sampler`.
    """
    idle = not updates
    updates = updates or [of_idle_update(c, rollouts, stats)]
    out = {name: float(np.mean([u[name] for u in updates])) for name in updates[0]}
    for name in ("actor/sampler_logp_diff", "actor/sampler_logp_diff_max"):
        if c.mode == "rl" and not idle:
            out[name] = float(updates[0][name])
        else:
            out.pop(name, None)
    out["actor/skipped_updates"] = float(sum(u["actor/skipped_updates"] for u in updates))
    out["actor/idle_updates"] = float(idle * config_lib.updates_per_step(c))
    for name, value in out.items():
        of_labels = labelled and name in FROM_ADVANTAGES
        (line.labelled if of_labels else line.free)[name] = value
    line.free |= of_sampler(c, rollouts, stats, weights)


def of_sampler(c, rollouts, stats: dict[str, np.ndarray], weights: np.ndarray | None) -> dict[str, float]:
    """How far the sampler's log-probabilities are from the trainer's, over all tokens of the step where both are known,
    and the weights float32 `[B, T]` that follow from it. {} without `rollout.rescore`: then the first update tells.
    """
    if not c.rollout.rescore or c.mode != "rl":
        return {}
    apart = np.abs(stats["logp"] - rollouts.stats["logp"])[rollouts.mask]
    out = {
        "actor/sampler_logp_diff": float(apart.mean()),
        "actor/sampler_logp_diff_max": float(apart.max()),
    }
    if weights is not None:
        inside = weights[rollouts.mask]
        out["actor/sampler_weight"] = float(inside.mean())
        out["actor/sampler_weight_capped"] = float((inside >= np.float32(c.loss.sampler_cap)).mean())
    return out


def of_idle_update(c, rollouts, stats: dict[str, np.ndarray]) -> dict[str, float]:
    """What an update tells whose advantages are all 0 and which was left out. stats: float32 `[B, T]`."""
    kept = np.arange(len(rollouts.lengths)) % c.rollout.group < config_lib.train_group(c)
    mask = rollouts.mask & kept[:, None]
    zero = dict.fromkeys((*FROM_ADVANTAGES, "actor/ppo_kl", "actor/skipped_updates"), 0.0)
    of = {"actor/entropy": stats["entropy"][mask].mean(), "actor/nll": -stats["logp"][mask].mean()}
    return zero | {name: float(x) for name, x in of.items()}


def of_speed(metrics: dict[str, float]) -> dict[str, float]:
    """Tokens a second and the share of a step in which the device waits, from a step's clocks."""
    seconds = metrics["timing_s/step"]
    idle = metrics["timing_s/reward"] + metrics["timing_s/pack"]
    for name in (
        "verify",
        "supplied",
    ):  # a second generation, passes of the scorer: within the reward's seconds
        idle -= metrics.get(f"timing_s/{name}", 0.0)
    return {
        "perf/tokens_per_s": metrics["perf/rollout_tokens"] / seconds,
        "perf/device_idle": idle / seconds,
    }


def completions_table(c, prompts, rollouts, answers, rewards, asked, graded) -> dict[str, list]:
    """Columns of a completions table: the first rows of the step, in rollout order.

    `gold`, `right`: None without labels. `votes`: how many rollouts of the question give the row's answer, 0 for none.
    """
    gold, correct = asked.gold, graded.correct
    rows = range(min(c.log.completions_rows, len(answers.texts)))
    group = c.rollout.group
    votes = (answers.classes[..., None] == answers.classes[:, None]).sum(-1) * (answers.classes >= 0)
    return {
        "prompt": [prompts.texts[b // group] for b in rows],
        "completion": [answers.texts[b] for b in rows],
        "answer": [answers.keys[b] for b in rows],
        "gold": [None if gold is None else gold[b // group] for b in rows],
        "right": [None if correct is None else bool(correct[b // group, b % group]) for b in rows],
        "votes": [int(votes[b // group, b % group]) for b in rows],
        "reward": [float(rewards.values[b // group, b % group]) for b in rows],
        "length": [int(rollouts.lengths[b]) for b in rows],
        "ended": [bool(rollouts.ended[b]) for b in rows],
        "mean_logp": [float(rollouts.stats["logp"][b].sum() / max(1, rollouts.lengths[b])) for b in rows],
    }
