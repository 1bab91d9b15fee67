"""evaluate --align: before training, does each reward pay a policy's right responses more than its wrong ones?

Sampled as training samples. Labels say which responses are right; no reward sees them.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from urlvr_jax.config import ConfigError
from urlvr_jax.learning.advantages import token_advantages
from urlvr_jax.measure import alignment, evaluate
from urlvr_jax.rewards import expression, supplied
from urlvr_jax.rewards.compute import reward_inputs, step_rewards
from urlvr_jax.rewards.derived import OF_OTHERS, SECOND_GENERATION, TWO_WORDINGS, Facts
from urlvr_jax.rewards.interface import needs_of
from urlvr_jax.types import Prompts, Rollouts

FAMILIES = ("certainty", "ensemble")  # the rewards that are always measured
DEAR = dict.fromkeys(SECOND_GENERATION, "needs a second generation")
DEAR |= dict.fromkeys(OF_OTHERS, "needs other models' responses")
DEAR |= dict.fromkeys(TWO_WORDINGS, "needs another wording of every question")
DEAR |= dict.fromkeys(supplied.OF_BASE, "needs the frozen base") | dict.fromkeys(
    supplied.OF_CORPUS, "needs a corpus"
)
DEAR |= dict.fromkeys(supplied.OF_STATES, "needs answers scored after its states")


def how(flag, c) -> dict:
    """How responses are sampled: as in training, `eval.k` a question if that was typed, else `rollout.group`.

    ConfigError for fewer than two, and for keys of another sampling.
    """
    for key in ("eval.temperature", "eval.top_p", "eval.top_k"):
        if key in flag.typed:
            raise ConfigError(
                f"{key} = {flag.typed[key]}: --align samples as training does, at rollout.temperature, of all tokens: "
                f"leave {key} out"
            )
    key, k = ("eval.k", c.eval.k) if "eval.k" in flag.typed else ("rollout.group", c.rollout.group)
    if k < 2:
        raise ConfigError(
            f"{key} = {k}: --align compares the responses of a question: give --config.eval.k=8"
        )
    return dict(k=k, temperature=c.rollout.temperature, top_p=1.0, top_k=0)


def rewards_for(c) -> tuple[dict, dict[str, str]]:
    """{name: reward} of all that read a policy's own rollouts, the configured ones among them; {name: why not}."""
    own = {n: fn for n, fn in expression.REWARDS.items() if fn.about.family in FAMILIES}
    left_out = {n: DEAR[need] for n, fn in own.items() for need in needs_of(fn) if need in DEAR}
    fns = {n: fn for n, fn in own.items() if n not in left_out}
    configured = [expression.load(c.reward.name, c.reward.fn), *expression.load_shadows(c.reward.shadow)]
    for text, fn in zip([c.reward.fn or c.reward.name, *c.reward.shadow], configured, strict=True):
        if expression.needs_labels(fn):
            left_out[text] = "asks for labels"
        elif dear := [why for name, why in DEAR.items() if name in needs_of(fn)]:
            left_out[text] = dear[0]
        elif fn not in fns.values():
            fns[text] = fn
    return fns, left_out


class Collected:
    """What an evaluation shows of each chunk of questions, beside who is right: arrays `[Q, k]`.

    A chunk stands for a step: what a reward or an advantage computes over a whole step is over the chunk.
    """

    def __init__(self, c, fns: dict, tokenizer):
        self.c, self.fns, self.tokenizer = c, fns, tokenizer
        self.correct, self.votes = [], []
        self.rewards = {name: [] for name in fns}
        self.advantages = {name: [] for name in fns}

    def see(self, prompts: Prompts, rollouts: Rollouts, answers, correct: np.ndarray) -> None:
        """Take in a chunk; correct bool `[P, k]`, of the first P prompts."""
        start = sum(map(len, self.correct))
        self.correct.append(correct)
        agrees = (answers.classes == answers.majority[:, None]) & (answers.classes >= 0)
        self.votes.append(agrees.sum(axis=1))
        prompts, rollouts = _first(len(correct), prompts, rollouts, len(answers.texts))
        facts = Facts(answers, rollouts, self.tokenizer, None)  # no reward here asks for verdicts
        needs = {need for fn in self.fns.values() for need in needs_of(fn)}
        inputs = reward_inputs(self.c, needs, facts, prompts, rollouts.stats, start)
        nothing = np.zeros(rollouts.tokens.shape, np.float32)  # no KL: the policy is still the base
        for name, fn in self.fns.items():
            values = step_rewards(expression.Configured(fn, ()), inputs, None, start).values
            paid = token_advantages(self.c.advantage.name, jnp.asarray(values), nothing, rollouts.lengths)
            self.rewards[name].append(values)
            self.advantages[name].append(np.asarray(paid)[:, 0].reshape(values.shape))

    def rows(self, ids, majority: np.ndarray) -> list[dict]:
        """One dict a question. ids, majority `[Q]`: is the majority right."""
        correct, votes = np.concatenate(self.correct), np.concatenate(self.votes)
        each = {n: alignment.aucs(np.concatenate(x), correct) for n, x in self.rewards.items()}
        return [
            {
                "id": name,
                "majority_share": float(votes[q] / correct.shape[1]),
                "majority_right": bool(majority[q]),
                "accuracy": float(correct[q].mean()),
                "auc": {n: None if np.isnan(auc[q]) else float(auc[q]) for n, auc in each.items()},
            }
            for q, name in enumerate(ids)
        ]

    def alignment(self, majority: np.ndarray) -> dict:
        """Of votes and of each reward."""
        correct = np.concatenate(self.correct)
        of = {
            name: alignment.of_reward(np.concatenate(x), np.concatenate(self.advantages[name]), correct)
            for name, x in self.rewards.items()
        }
        return {"votes": alignment.of_votes(np.concatenate(self.votes), majority, correct), "rewards": of}


def _first(count: int, prompts: Prompts, rollouts: Rollouts, rows: int) -> tuple[Prompts, Rollouts]:
    """The first prompts of a chunk and their rows: without those that fill it up."""
    prompts = Prompts(**{f.name: getattr(prompts, f.name)[:count] for f in dataclasses.fields(prompts)})
    stats = {name: x[:rows] for name, x in rollouts.stats.items()}
    return prompts, Rollouts(rollouts.tokens[:rows], rollouts.lengths[:rows], rollouts.ended[:rows], stats)


def measure(engine, params, tokenizer, questions, labels, step: int, options: dict, tell):
    """An `Evaluation` of questions, its alignment, and one dict a question; params in the rollout layout."""
    fns, left_out = rewards_for(engine.c)
    seen = Collected(engine.c, fns, tokenizer)
    result = evaluate.evaluate(
        engine, params, tokenizer, questions, labels, step, tell, options=options, see=seen.see
    )
    found = seen.alignment(result.majority) | ({"left_out": left_out} if left_out else {})
    return result, found, seen.rows(questions.ids, result.majority)
