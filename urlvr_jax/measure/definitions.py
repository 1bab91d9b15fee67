"""What each metric is: the rows of the table of docs/metrics.md, for whoever shows a metric."""

from __future__ import annotations

import re
from typing import NamedTuple


class Definition(NamedTuple):
    """The names in the words of the table, <..> for what a run calls so; unit or range; "labelled" or "label-free"."""

    names: str
    unit: str
    labels: str
    says: str


# fmt: off
# ruff: noqa: E501
DEFINITIONS = (
    Definition('`reward/mean`, `reward/std`', "the reward's", 'label-free', 'the reward the policy is trained on, over trained rollouts'),
    Definition('`reward/rank_correlation`', '-1 to 1', 'labelled', "Spearman's coefficient of the trained reward with the true one over all rollouts, average ranks; absent where either is constant"),
    Definition('`reward/accuracy`', '0 to 1', 'labelled', 'share of all rollouts whose reward equals the true one; absent where a reward is neither 0 nor 1, and where all are 0: nobody was paid'),
    Definition('`reward/<term>/mean`, `/std`', "the term's", 'label-free', 'each term of a sum before its normaliser and weight, over trained rollouts'),
    Definition('`shadow/<reward>/mean`', "the reward's", 'label-free', 'each reward in `reward.shadow`, over all rollouts'),
    Definition('`shadow/<reward>/rank_correlation`', '-1 to 1', 'labelled', "Spearman's coefficient with the true reward over all rollouts, average ranks; absent where either is constant"),
    Definition('`frac_reward_zero_std`', '0 to 1', 'label-free', 'share of groups whose rewards are all equal: they teach nothing'),
    Definition('`train/ensemble/majority_ratio`', '0 to 1', 'label-free', "share of rollouts that give their group's majority answer; those without an answer stay in the denominator"),
    Definition('`train/ensemble/majority_voting_reward`', '0 to 1', 'label-free', 'mean majority pseudo-reward; here always equal to `majority_ratio`, because one relation says what is equal'),
    Definition('`train/ensemble/no_answer`', '0 to 1', 'label-free', 'share of rollouts without an extractable answer'),
    Definition('`train/ensemble/label_accuracy`', '0 to 1', 'labelled', 'share of groups whose majority answer is the gold answer'),
    Definition('`train/ensemble/reward_accuracy`', '0 to 1', 'labelled', 'share of rollouts whose majority pseudo-reward equals the true reward, whatever reward is trained; `vote acc` on the console. A group without any answer counts 0, so junk scores 0'),
    Definition('`train/ensemble/ground_truth_reward`', '0 to 1', 'labelled', "mean true reward of the step's rollouts"),
    Definition('`train/ensemble/pass@G`', '0 to 1', 'labelled', 'share of groups with a right rollout'),
    Definition('`train/self_verify/yes`', '0 to 1', 'label-free', 'share of responses that `verify.judge` called right'),
    Definition('`train/self_verify/ambiguous`', '0 to 1', 'label-free', 'share of verdicts that earn nothing: neither yes nor no, cut, or not asked because the prompt was too long'),
    Definition('`train/self_verify/true_positive_rate`', '0 to 1', 'labelled', 'share judged right of the right responses'),
    Definition('`train/self_verify/false_positive_rate`', '0 to 1', 'labelled', 'share judged right of the wrong responses'),
    Definition('`train/self_verify/reward_accuracy`', '0 to 1', 'labelled', 'share of responses whose verdict is true'),
    Definition('`verifier/kept`', '0 to 1', 'label-free', 'with `verify.train`: share of groups whose majority answer the judge keeps: it says yes to more than half of its supporters'),
    Definition('`verifier/paid`', '0 to 1', 'label-free', 'mean reward of the verdicts in those groups; absent where there are none'),
    Definition('`verifier/loss`, `verifier/grad_norm`, `verifier/entropy`, `verifier/skipped_updates`', '-', 'label-free', "the verdicts' own update, as `actor/...`; absent where no verdict could move it"),
    Definition('`train/continuation/logp`', 'nats', 'label-free', "mean log-probability of a token of what follows in `continuation.corpus`, by the policy after its thought"),
    Definition('`train/continuation/p`', '0 to 1', 'label-free', "mean probability of such a token, where `rlpr` asks for it"),
    Definition('`train/continuation/unscored`', '0 to 1', 'label-free', 'share of rollouts whose thought and continuation do not fit `continuation.buckets`: they earn nothing'),
    Definition('`train/states/scored`', '0 to 1', 'label-free', 'share of rollouts with a state that `covo` compares: they have an answer, their group has another, and they fit'),
    Definition('`train/states/consistency`', '0 to 1', 'label-free', "share of a rollout's states whose nearest answer is its own, mean over those rollouts"),
    Definition('`train/states/volatility`', '0 to 1', 'label-free', 'place of the last state with a nearer answer over the number of states, mean over those rollouts'),
    Definition('`actor/entropy`', 'nats', 'label-free', 'token-mean entropy of sampled tokens at T'),
    Definition('`actor/nll`', 'nats', 'label-free', 'token-mean of minus log-probability of sampled tokens at T'),
    Definition('`actor/loss`', '-', 'label-free', 'the objective'),
    Definition('`actor/grad_norm`', '-', 'label-free', "the gradient's global norm before clipping"),
    Definition('`actor/pg_clipfrac`, `actor/pg_clipfrac_lower`', '0 to 1', 'label-free', 'share of tokens where the clip, or the dual clip, decides'),
    Definition('`actor/ppo_kl`', 'nats', 'label-free', 'token-mean of log pi_old - log pi'),
    Definition('`actor/kl`', 'nats', 'label-free', 'token-mean of the KL estimator against the reference, where `kl.coef` > 0, or `kl.watch`'),
    Definition('`base/majority_nll`', 'nats', 'label-free', "the base's token-mean of minus log-probability of the responses that give the majority's answer, where `kl.coef` or `kl.watch` scores them by the base; absent where nobody answers"),
    Definition('`votes/answers`', '0 to 1', 'label-free', 'different answers over rollouts with one, mean over questions'),
    Definition('`votes/halves_agree`', '0 to 1', 'label-free', 'share of questions to which the majorities of the even and of the odd rollouts are the same answer'),
    Definition('`votes/distinct`', '0 to 1', 'label-free', 'different majority answers over the questions that have one; a question that comes twice in a step counts once'),
    Definition('`votes/commonest`', '0 to 1', 'label-free', 'share of those questions whose majority answer is the one most frequent among them: 1 where all questions get the same answer'),
    Definition('`votes/flips`', '0 to 1', 'label-free', 'of the questions seen before, the share whose majority answer is another than at their last visit (TTRL-Guard, 2605.19444); absent in the first epoch'),
    Definition('`votes/turned`', '0 to 1', 'label-free', 'the same of those questions to which half of the rollouts or more had agreed 20 steps ago or earlier: chance seldom changes such a majority'),
    Definition('`votes/kept`', '0 to 1', 'label-free', "reward accuracy if each question's first majority were the truth, over those questions to which half of the rollouts or more had agreed then, 20 steps ago or earlier"),
    Definition('`votes/locked`', '0 to 1', 'label-free', 'of the questions seen before, the share that has flipped at some time and gave more than 0.7 of the votes to its majority, mean of 5 visits'),
    Definition('`anchors/logp_change`', 'nats', 'label-free', 'how much more likely, a token, the policy after this step finds responses that it was sure of 10 to 19 steps ago: every 10 steps eight that gave an agreed majority answer are kept, one a question; the median over them'),
    Definition('`anchors/lost`', '0 to 1', 'label-free', 'the share of them that lost 0.05 nats a token or more'),
    Definition('`collapse/<detector>`', '-', 'label-free', "a detector's score over its threshold, see [early warning](#early-warning): above 1 is a sign"),
    Definition('`collapse/alarm`', '0 or 1', 'label-free', '1 from the first alarm on; then `collapse/onset` is the step since which, and `collapse/reason` the detector'),
    Definition('`actor/sampler_logp_diff`, `actor/sampler_logp_diff_max`', 'nats', 'label-free', 'mean and greatest \\|log-prob of the trainer - that of the sampler\\| on the same tokens: near 0 by design. Over all tokens of the step with `rollout.rescore`, else over those of the first update; absent in supervised mode'),
    Definition('`actor/sampler_weight`, `actor/sampler_weight_capped`', '-, share', 'label-free', 'mean weight of a token under `loss.sampler_correction`, and how many tokens have the largest that is allowed'),
    Definition('`actor/skipped_updates`', 'count', 'label-free', 'updates left out because loss or gradient was not finite'),
    Definition('`actor/idle_updates`', 'count', 'label-free', "updates left out because all advantages of the step are 0, without a KL term in the loss and weight decay: loss and gradient are then 0 exactly, and weights and moments stay; entropy and nll are the rollouts', `actor/sampler_logp_diff` and `perf/update_padding` absent"),
    Definition('`response_length/mean`, `/max`', 'tokens', 'label-free', 'length of a response, the end token included'),
    Definition('`response_length/clip_ratio`', '0 to 1', 'label-free', 'share of responses cut at `rollout.max_new_tokens`'),
    Definition('`repetition_rate`', '0 to 1', 'label-free', 'share of 4-grams that occurred before in the same response'),
    Definition('`check/late`, `check/lost`, `check/failed`, `check/none`', 'count', 'labelled', "distinct responses that a check of one's own gave no verdict, by cause: [verifiers](verifiers.md); with `eval/<set>/` before them, those of an evaluation"),
    Definition('`timing_s/{rollout,score,reward,pack,metrics,update,eval,step}`', 'seconds', 'label-free', 'time the host spent on it or waiting for it; `step` is the whole step without `eval`'),
    Definition('`timing_s/check`', 'seconds', 'label-free', 'time spent on `answers.check`, or waiting for its workers, within reward or metrics'),
    Definition('`perf/rollout_tokens`', 'tokens', 'label-free', 'tokens sampled'),
    Definition('`perf/rows_put_back`', 'count', 'label-free', 'how often a row was decoded again because the [pages](performance.md#decoding-from-pages) ran out; absent where a ring holds the keys'),
    Definition('`perf/tokens_per_s`', 'tokens/s', 'label-free', 'the same over the whole step'),
    Definition('`perf/compilations`', 'count', 'label-free', 'XLA compilations since the start'),
    Definition('`perf/device_idle`', '0 to 1', 'label-free', "share of the step in which the device has nothing to do, while the host makes rewards and packs; `self_verify`'s generation (`timing_s/verify`) and the passes over supplied texts (`timing_s/supplied`) are not counted"),
    Definition('`perf/update_padding`', '0 to 1', 'label-free', "share of the update's token columns that hold no token"),
    Definition('`eval/<set>/avg@k`', '0 to 1', 'labelled', 'mean accuracy of k samples a question'),
    Definition('`eval/<set>/maj@k`', '0 to 1', 'labelled', 'accuracy of the majority answer'),
    Definition('`eval/<set>/pass@k`', '0 to 1', 'labelled', 'share of questions with a right answer among k samples'),
    Definition('the three with `/low`, `/high`', '0 to 1', 'labelled', '95 % interval over questions, see below'),
    Definition('`eval/<set>/response_length/mean`', 'tokens', 'labelled', 'length of the sampled answers, the end token included'),
    Definition('`eval/<set>/ended`', '0 to 1', 'labelled', 'share of them that ended by themselves'),
    Definition('`eval/<set>/no_answer`', '0 to 1', 'labelled', 'share of them without an extractable answer'),
    Definition('`probe/label_accuracy`', '0 to 1', 'labelled', 'share of the questions of `labels.probe` whose majority of G responses, sampled as in training, is right; with `/low`, `/high`, a 95 % interval over questions. The rest of the probe is under `eval/probe/`'),
    Definition('`probe/votes@64`, `probe/votes@inf`', '0 to 1', 'labelled', 'share of questions in which more than half of 64 responses, or of ever so many, would be right: `/low` and `/high` bound it with 95 % confidence, from two labelled responses a question ([probe](probe.md))'),
    Definition('`probe/fall`', '0 to inf', 'labelled', "how many standard errors the probe's accuracy is below that of an earlier evaluation, over the number that is an alarm"),
    Definition('`probe/alarm`', '0 or 1', 'labelled', "1 from the first evaluation on at which the probe's accuracy has fallen"),
)
# fmt: on


def _names(text: str) -> list[str]:
    """Of the first column: each name whole, where later ones give an end alone or a choice; ends of other rows have none."""
    out = []
    parts = re.findall("`([^`]+)`", text)
    for part in parts if not parts[0].startswith("/") else ():
        whole = out[0].rpartition("/")[0] + part if part.startswith("/") else part
        choice = re.fullmatch(r"(.*){(.*)}", whole)
        out += [choice[1] + each for each in choice[2].split(",")] if choice else [whole]
    return out


def _pattern(name: str) -> re.Pattern:
    """`<..>` stands for anything, and @k for a number."""
    text = re.sub(r"<[^>]*>", ".+", re.sub(r"([.()+])", r"\\\1", name))
    return re.compile(re.sub(r"@[kG]$", r"@(\\d+|\\*)", text))


_KNOWN = [(_pattern(name), of) for of in DEFINITIONS for name in _names(of.names)]


_KNOWN.sort(key=lambda known: ".+" in known[0].pattern)  # a name's own before one that stands for many


def definition_of(metric: str) -> Definition | None:
    """What a metric of a run is; None of one that the table does not have."""
    return next((of for pattern, of in _KNOWN if pattern.fullmatch(metric)), None)


def limits(metric: str) -> tuple[float, float] | None:
    """The least and the greatest that it can be, where the table says so."""
    of = definition_of(metric)
    found = {"0 to 1": (0.0, 1.0), "share": (0.0, 1.0), "-1 to 1": (-1.0, 1.0)}
    return found.get(of.unit) if of else None
