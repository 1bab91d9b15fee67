"""From the text of `reward.name` to a reward: one method, its options, or a weighted sum.

    self_certainty
    empo(low=0.1, high=0.9)
    group_z(self_certainty) + 0.5*majority_voting - 0.01*length
    'my_reward.py:my_reward'(scale=2.0) + 0.1*format

`group_z` and `batch_z` bring a term to mean 0 and standard deviation 1 within each group, or over all
rollouts of the step, before its weight. A sum asks for labels if any term does.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Callable
from typing import NamedTuple

from urlvr_jax.errors import UserCodeError
from urlvr_jax.rewards import certainty, continuation, controls, covo, ensemble, external, unified
from urlvr_jax.rewards.interface import (
    RewardError,
    about,
    call,
    check_signature,
    defaults,
    needs_of,
    rehearse,
    takes_reference,
)
from urlvr_jax.runtime.user_code import load_function
from urlvr_jax.types import Reference, RewardInputs, standardised

REWARDS = {
    fn.__name__: fn
    for module in (certainty, covo, ensemble, external, continuation, unified, controls)
    for fn in module.METHODS
}


# ---- normalisation ----------------------------------------------------------------------------


@about(
    family="normaliser",
    formula="(r - mean of the group) / (std of the group + 1e-6)",
    norm="none",
    range="0 where all are equal",
    papers="GDPO (2601.05242): a sum of rewards, each in group_z; multi-reward RLIF (2605.22620) is one",
    failure="a reward that hardly differs within a group counts as much as one that does",
    differs="GDPO then normalises the sum over the batch; advantage.name = dr_grpo leaves the sum as it is, grpo divides "
    "each group by its standard deviation once more",
)
def group_z(values):
    """Scores `[P, G]` against the rollouts of their group."""
    return standardised(values, axis=1)


@about(
    family="normaliser",
    formula="(r - mean of the step) / (std of the step + 1e-6)",
    norm="none",
    range="0 where all are equal",
    papers="-",
    failure="questions that are all easy or all hard outweigh what differs between their rollouts",
)
def batch_z(values):
    """Scores `[P, G]` against all rollouts of the step."""
    return standardised(values, axis=(0, 1))


NORMALISERS = {"group_z": group_z, "batch_z": batch_z}


# ---- sums -------------------------------------------------------------------------------------


class Term(NamedTuple):
    """One reward of a sum."""

    weight: float
    normaliser: str  # a key of NORMALISERS, or ""
    label: str  # what its metrics are called
    fn: Callable
    options: dict


class Sum:
    """A weighted sum of rewards; like any reward it has `needs` and a name."""

    def __init__(self, text: str, terms: list[Term]):
        self.__name__, self.terms = text, terms
        self.needs = tuple(dict.fromkeys(n for t in terms for n in needs_of(t.fn, t.options)))

    @property
    def logs_terms(self) -> bool:
        """Whether the terms differ from the sum."""
        return len(self.terms) > 1 or self.terms[0].weight != 1 or bool(self.terms[0].normaliser)


def needs_labels(fn) -> bool:
    """Whether a reward, or any term of it, asks for the gold answers."""
    return any(takes_reference(t.fn) for t in fn.terms) if isinstance(fn, Sum) else takes_reference(fn)


def compute_terms(fn, inputs: RewardInputs, reference: Reference | None) -> tuple:
    """A reward's float32 `[P, G]`, and {label: float32 `[P, G]`} of its terms before normaliser and weight.

    A term sees only what it declared itself, and the reference only if it asks for labels. The dict is
    empty where there is nothing to tell apart. RewardError for a wrong shape.
    """
    if not isinstance(fn, Sum):
        return call(fn, inputs.only(needs_of(fn)), reference), {}
    total = None
    terms = {}
    for term in fn.terms:
        raw = call(term.fn, inputs.only(needs_of(term.fn, term.options)), reference, term.options)
        value = NORMALISERS[term.normaliser](raw) if term.normaliser else raw
        value = value if term.weight == 1 else term.weight * value
        total = value if total is None else total + value
        terms[term.label] = raw
    return total, terms if fn.logs_terms else {}


def compute(fn, inputs: RewardInputs, reference: Reference | None = None):
    """Call a reward; RewardError unless it returns `[P, G]`."""
    return compute_terms(fn, inputs, reference)[0]


# ---- reading ----------------------------------------------------------------------------------


def load(name: str, fn: str = ""):
    """The configured reward: `fn` ("file.py:function") if given, else what the text `name` says.

    RewardError for anything that is not a reward, with what is.
    """
    if fn:
        try:
            return load_file(fn)
        except RewardError as error:
            raise RewardError(f"reward.fn = {fn!r}: {error}") from error.__cause__
    terms = [_term(weight, node, load_file) for weight, node in _split(name)]
    return _reward(name, terms)


class Configured(NamedTuple):
    """What a configuration trains on, and what it watches beside."""

    fn: Callable | Sum
    shadows: tuple

    @property
    def all(self) -> tuple:
        return (self.fn, *self.shadows)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(name for fn in self.all for name in needs_of(fn))


def load_configured(c) -> Configured:
    """The rewards that a configuration names; RewardError for anything that is not a reward."""
    supervised = c.mode == "supervised"
    fn = controls.constant if supervised else load(c.reward.name, c.reward.fn)
    return Configured(fn, tuple(load_shadows(c.reward.shadow)))


def check(name: str) -> None:
    """As `load`, without opening files."""
    _reward(name, [_term(weight, node, lambda where: None) for weight, node in _split(name)])


def load_shadows(names) -> list:
    """Rewards that are computed beside the trained one; RewardError for what asks for labels, and repetitions."""
    found = [load(name) for name in names]
    for name, fn in zip(names, found, strict=True):
        if needs_labels(fn):
            raise RewardError(f"reward.shadow: {name!r} asks for labels; shadows receive none")
    called = [fn.__name__ for fn in found]
    if len(set(called)) < len(called):
        raise RewardError(f"reward.shadow = {tuple(names)} names a reward more than once")
    return found


def load_file(where: str):
    """The reward of "file.py:function"."""
    try:
        found = load_function(where)
    except UserCodeError as error:
        raise RewardError(str(error)) from error.__cause__
    check_signature(found)
    return found


def _split(text: str) -> list[tuple[float, ast.expr]]:
    """(weight, rest) of every term of a sum."""
    bad = RewardError(
        f"reward {text!r:.200} cannot be read: give a reward, reward(option=value), or a sum such as "
        "'group_z(self_certainty) + 0.1*format'"
    )
    try:
        root = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last for very many brackets
        raise bad from None
    terms: list[tuple[float, ast.expr]] = []

    def walk(node, weight):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            walk(node.left, weight)
            walk(node.right, weight if isinstance(node.op, ast.Add) else -weight)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            factor, rest = (node.left, node.right) if _number(node.left) else (node.right, node.left)
            if not _number(factor):
                raise bad
            walk(rest, weight * factor.value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            walk(node.operand, -weight)
        elif isinstance(node, ast.Name | ast.Call) or _file(node):
            terms.append((weight, node))
        else:
            raise bad

    try:
        walk(root, 1.0)
    except RecursionError:  # a sum of very many terms
        raise bad from None
    return terms


def _number(node) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _file(node) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _term(weight: float, node: ast.expr, open_file) -> Term:
    normaliser = ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NORMALISERS:
        normaliser = node.func.id
        if len(node.args) != 1 or node.keywords:
            raise RewardError(f"{normaliser}(...) takes one reward, has {ast.unparse(node)!r}")
        node = node.args[0]
    named = node.func if isinstance(node, ast.Call) else node
    if isinstance(named, ast.Name):
        fn = _known(named.id)
        label = named.id
        options = _options(node, fn)
        rehearse(fn, options)
    elif _file(named):
        fn = open_file(named.value)
        label = named.value.rpartition(":")[2]
        options = _options(node, fn)
        if fn is not None:
            needs_of(fn, options)
    else:
        raise RewardError(
            f"{ast.unparse(node)!r} is no reward: weights go before normalisers, 0.5*group_z(x)"
        )
    if not math.isfinite(weight):
        raise RewardError(f"the weight {weight} of {label!r} is not finite")
    if options:
        label += "(" + ", ".join(f"{k}={v!r}" for k, v in options.items()) + ")"
    return Term(weight, normaliser, label, fn, options)


def _options(node: ast.expr, fn) -> dict:
    """Options of a call, checked against those of `fn` where it is known: names, and types of defaults."""
    if not isinstance(node, ast.Call):
        return {}
    text = ast.unparse(node)
    if node.args or any(k.arg is None for k in node.keywords):
        raise RewardError(f"{text!r}: options are given by name, reward(option=value)")
    try:
        options = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
    except ValueError:
        raise RewardError(f"{text!r}: an option's value is a number, a string, True or False") from None
    known = options if fn is None else defaults(fn)
    for name, value in options.items():
        if name not in known:
            raise RewardError(f"reward {fn.__name__!r} has no option {name!r}; it has {sorted(known)}")
        default = known[name]
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (value, default))
        if type(value) is not type(default) and not numbers:
            raise RewardError(
                f"reward {fn.__name__!r}: {name}={value!r} must be like its default, {default!r}"
            )
    return options


def _known(name: str):
    if name in REWARDS:
        return REWARDS[name]
    spelled = re.compile(rf"\b{re.sub(r'[-_]', '[-_ ]', name)}\b", re.IGNORECASE)
    called = [n for n, fn in REWARDS.items() if spelled.search(fn.about.papers)]
    around = [n for n, fn in NORMALISERS.items() if spelled.search(fn.about.papers)]
    near = difflib.get_close_matches(name, REWARDS, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if around:
        (z, *_) = around
        hint = f"; papers call a sum of terms in {z} so: '{z}(majority_voting) + {z}(self_certainty)'"
    if called:
        hint = f"; papers call {called} so"
    raise RewardError(f"reward {name!r} is unknown{hint}; available: {sorted(REWARDS)}")


def _reward(text: str, terms: list[Term]):
    """The function itself where there is nothing around it, else the sum."""
    labels = [t.label for t in terms]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise RewardError(f"reward {text!r} has {twice} more than once: add their weights")
    (first, *others) = terms
    if not others and first.weight == 1 and not first.normaliser and not first.options:
        return first.fn
    return Sum(text, [t for t in terms if t.fn is not None])
