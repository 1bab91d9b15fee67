"""External rewards: a check outside the sampled distribution, without labels.

The policy's own verdict, as long as checking is easier than solving; the same question in other words; or a
computation that reads the task from the question.
"""

from __future__ import annotations

import jax.numpy as jnp

from urlvr_jax.checks import countdown as countdown_check
from urlvr_jax.checks import integration as integration_check
from urlvr_jax.checks import programs as programs_check
from urlvr_jax.rewards.ensemble import supporters
from urlvr_jax.rewards.interface import RewardError, about, needs, paid_where
from urlvr_jax.rewards.self_verification import kept_majority
from urlvr_jax.types import RewardInputs


@about(
    family="external",
    formula="1[pi says yes to (x, y)]",
    norm="none",
    range="{0, 1}",
    papers="self-verification (2603.08660); RLSR, self-judged (2505.08827)",
    failure="where checking is no easier than solving the policy learns what convinces itself",
    differs="the released code doubles every brace of the solution it shows, reads 'true' before 'false' "
    "where both stand, and knows Countdown only",
)
@needs("verification")
def self_verify(inputs: RewardInputs):
    """1 where the policy, asked by `verify.template`, says yes to its response; ambiguous is no."""
    return (inputs.verification == 1).astype(jnp.float32)


@about(
    family="external",
    formula="1[a_g = m], m the majority answer, where pi says yes to more than half of its supporters; else 0",
    norm="none",
    range="{0, 1}",
    papers="CoVerRL (2603.17775)",
    failure="a mistake that most make and the judge believes; a judge that never says yes ends all training",
    differs="with verify.train = majority the judge learns, by an update of its own, to say yes to the majority's responses and no to the "
    "others; the paper's balance of both and its schedule are not reproduced",
)
@needs("answers", "verification")
def coverrl(inputs: RewardInputs):
    """1 where the answer is the majority answer and the judge keeps that; see `verify.train` for the judge."""
    label = kept_majority(inputs.answers, inputs.verification, jnp)[:, None]
    return ((inputs.answers == label) & (inputs.answers >= 0)).astype(jnp.float32)


@about(
    family="external",
    formula="1[pi, given a_g and x without its part h, finds h]",
    norm="none",
    range="{0, 1}",
    papers="DuPO (2508.14460)",
    failure="a policy that reads the hidden part off its own habits, not off the answer; questions that several values fit; an "
    "answer that tells what is hidden, where a function of your own lets it through",
    differs="there several parts of each question are hidden, one after the other, and questions whose dual has no single answer are "
    "left out; here one, a function of the question",
)
@needs("reconstruction")
def dupo(inputs: RewardInputs):
    """1 where what `verify.dual` hides of the question is found again from the answer. No answer, or no clear reply, is 0."""
    return (inputs.reconstruction == 1).astype(jnp.float32)


@about(
    family="external",
    formula="1[a_g = majority of the rephrased question's answers]",
    norm="none",
    range="{0, 1}",
    papers="Co-Reward, now Co-rewarding (2508.00410)",
    failure="a mistake that both wordings share is taken for the truth",
    differs="there an offline model writes the rephrasings; here a column of the file, a function, or the laboratory's",
)
@needs("answers", "rephrased")
def co_reward(inputs: RewardInputs):
    """1 where the answer is the majority answer to the question's other wording. See `data.rephrase`."""
    other = inputs.rephrased[:, None]
    return ((inputs.answers == other) & (inputs.answers >= 0)).astype(jnp.float32)


@about(
    family="external",
    formula="1[a_g = argmax_a sum_m SC_m p_m(a)], p_m(a) the share of model m's responses, SC_m = max_a p_m(a)",
    norm="none",
    range="{0, 1}",
    papers="RLCCF (2508.12338)",
    failure="a mistake that the models share; one that is sure and wrong outvotes others that are not sure",
    differs="read by its abstract: there all models are trained together; here the others' responses are on file and stay as they were, "
    "so they hold the vote while the policy changes",
)
@needs("answers", "collective")
def rlccf(inputs: RewardInputs):
    """1 where the answer is that of several models together. See `data.votes`."""
    return ((inputs.answers == inputs.collective[:, None]) & (inputs.answers >= 0)).astype(jnp.float32)


@about(
    family="external",
    formula="1[a_g = argmax_a 2 p_0(a) p_1(a) / (p_0(a) + p_1(a))], p_0 and p_1 the answers' shares in both wordings",
    norm="none",
    range="{0, 1}",
    papers="Self-Harmony (2511.01191), its rule of the label; DCRL's too (2603.16223), with another second view",
    failure="a mistake that both wordings share is taken for the truth",
    differs="read by its abstract: there the policy rewords the question, here as for `co_reward`. DCRL's second view is a "
    "copy that un-learned its majority for a moment, and where no answer is in both it falls back to the majority; "
    "here nobody earns",
)
@needs("answers", "rephrased_votes")
def self_harmony(inputs: RewardInputs):
    """1 where the answer has the largest harmonic mean of its shares in both wordings. See `data.rephrase`.

    Both wordings have the same label; nobody earns where they share no answer.
    """
    answers, other = inputs.answers, inputs.rephrased_votes
    own = supporters(answers)
    mean = own * other / jnp.maximum(own + other, 1)  # of counts: half of G times that of shares
    best = jnp.max(mean, axis=1, keepdims=True)
    tied = (mean == best) & (best > 0)
    label = jnp.min(jnp.where(tied, answers, answers.shape[1]), axis=1, keepdims=True)
    return (answers == label).astype(jnp.float32)


@about(
    family="external",
    formula="1[the answer's expression uses every number once and is the target]",
    norm="none",
    range="{0, 1}",
    papers="the oracle of Countdown (2603.08660)",
    failure="none known: the check is exact; the mode tinyzero keeps the holes of TinyZero's scorer",
)
@needs("answer_text")
def countdown(inputs: RewardInputs, *, mode="strict"):
    """Whether the answer solves the Countdown task in its question. Option: mode, strict or tinyzero."""
    if mode not in countdown_check.MODES:
        raise RewardError(f"countdown(mode={mode!r}): choose one of {list(countdown_check.MODES)}")
    texts = inputs.texts, inputs.answer_text, inputs.questions, inputs.prompts
    return paid_where(inputs, lambda: countdown_check.right(*texts, mode))


@about(
    family="external",
    formula="1[P(x) = y: the program in the question, the answer being y (deduction) or x (abduction)]",
    norm="none",
    range="{0, 1}",
    papers="Absolute Zero (2505.03335), its deduction and abduction",
    failure="none known: the interpreter is exact and always ends",
    differs="there Python, proposed by the policy itself; here the laboratory's own language, and a generator's programs",
)
@needs("answer_text")
def programs(inputs: RewardInputs):
    """Whether the answer is what the question's program gives, or an input for which it gives that."""
    return paid_where(inputs, lambda: programs_check.right(inputs.answer_text, inputs.questions))


@about(
    family="external",
    formula="1[the answer's program passes every test in the question], or the share it passes",
    norm="none",
    range="{0, 1}; [0, 1] with mode='share'",
    papers="code with unit tests as a verifier, in Absolute Zero's terms (2505.03335)",
    failure="tests that stand in the question can be met by a table of their answers",
    differs="tests of a column are labels here: `answers.check = 'unit_tests'` with `verifier` trains on those",
)
@needs("tests_passed")
def unit_tests(inputs: RewardInputs, *, mode="all"):
    """Whether the program in the answer passes the assert lines of its question, in a sandbox. Option: mode, all or share."""
    if mode not in ("all", "share"):
        raise RewardError(f"unit_tests(mode={mode!r}): choose one of ['all', 'share']")
    passed = inputs.tests_passed
    return passed if mode == "share" else (passed >= 1).astype(jnp.float32)


@about(
    family="external",
    formula="1[P(x) = y: the Python program in the question, the answer being y (deduction) or x (abduction)]",
    norm="none",
    range="{0, 1}",
    papers="Absolute Zero (2505.03335), its deduction and abduction",
    failure="programs that do not give the same twice, which nobody has sorted out here",
    differs="there the policy proposes the programs, for a second reward; here they stand in the question file",
)
@needs("task_solved")
def python_tasks(inputs: RewardInputs):
    """Whether the question's program turns the input to the output, in a sandbox; the answer is one of the two."""
    return inputs.task_solved


@about(
    family="external",
    formula="1[|dF/dx - f| <= 1e-6 |f| + 1e-9 min(1, max |f|) at random points], F the answer, f the integrand",
    norm="none",
    range="{0, 1}",
    papers="LADDER (2503.00735)",
    failure="none known: an answer with the right derivative is right; what the grammar does not read earns nothing",
    differs="LADDER lets the model write easier variants of its questions; here rules do (the verb `variants`), and the "
    "derivative is exact, by jax.grad, where LADDER integrates numerically",
)
@needs("answer_text")
def integration(inputs: RewardInputs):
    """1 where the answer is an antiderivative of what its question asks to integrate; no verdict is 0."""
    return paid_where(inputs, lambda: integration_check.right(inputs.answer_text, inputs.questions)[0])


METHODS = (
    self_verify,
    coverrl,
    dupo,
    co_reward,
    self_harmony,
    rlccf,
    countdown,
    integration,
    programs,
    unit_tests,
    python_tasks,
)
