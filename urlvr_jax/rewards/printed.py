"""Every reward as text, for the verb `rewards`, and as the blocks of docs/rewards.md."""

from __future__ import annotations

import dataclasses

from urlvr_jax.rewards.derived import DERIVED
from urlvr_jax.rewards.expression import NORMALISERS, REWARDS, needs_labels
from urlvr_jax.rewards.interface import RewardError, defaults, needs_of

BEGIN, END = "<!-- rewards: written by the verb `rewards` -->", "<!-- end of rewards -->"
FIELDS = {  # of a record, and what they are called
    "formula": "formula", "needs": "needs", "norm": "length", "range": "range", "papers": "papers",
    "failure": "known failure", "differs": "elsewhere",
}  # fmt: skip
STATISTICS_ABOUT = {
    "logp": "log-probability of the sampled token",
    "entropy": "of the policy's distribution, in nats",
    "self_certainty": "KL(U || p) + log V",
    "top2_gap": "probability of the likeliest token minus that of the second",
}
FAMILIES = {
    "certainty": "How sure the policy is of the tokens it wrote",
    "ensemble": "How well a rollout agrees with the others of its group",
    "external": "A check outside the sampled distribution",
    "corpus": "A text that goes on as it does",
    "unified": "The paper's one form",
    "control": "To compare with",
    "normaliser": "Around a term of a sum",
}


def records() -> list[dict[str, str]]:
    """One dict a reward, and one a normaliser: the fields of `About`, `name` with options, and `needs`."""
    out = []
    for name, fn in (REWARDS | NORMALISERS).items():
        options = ", ".join(f"{k}={v!r}" for k, v in defaults(fn).items())
        needed = [*needs_of(fn), *(["labels"] if needs_labels(fn) else [])]
        needed += ["or by its options"] if callable(getattr(fn, "needs", ())) else []
        fields = dataclasses.asdict(fn.about)
        out.append(
            {"name": f"{name}({options})" if options else name, **fields, "needs": ", ".join(needed) or "-"}
        )
    return out


def text() -> str:
    """A block a reward, fields aligned, under the family's heading."""
    lines = []
    family = None
    for record in records():
        if record["family"] != family:
            family = record["family"]
            lines += [f"== {family} ==", ""]
        lines.append(record["name"])
        for key, title in FIELDS.items():
            if record[key]:
                lines.append(f"    {title:<14}{record[key]}")
        lines.append("")
    return "\n".join(lines).rstrip()


def markdown() -> str:
    """A block a reward under its family's heading, and what can be asked for by `@needs`."""
    lines = []
    family = None
    for record in records():
        if record["family"] != family:
            family = record["family"]
            lines += [f"### {FAMILIES[family]} ({family})", ""]
        lines += [f"**`{record['name']}`** `{record['formula']}`", ""]
        said = [f"{title}: {record[key]}" for key, title in list(FIELDS.items())[1:] if record[key]]
        lines += [f"- {text}" for text in said] + [""]
    lines += ["### What `@needs` may name", "", "| name | what |", "| --- | --- |"]
    about = {name: f"float32 `[B, T]`, {text}" for name, text in STATISTICS_ABOUT.items()}
    about |= {name: made.about for name, made in DERIVED.items()}
    return "\n".join(lines + [f"| `{name}` | {text} |" for name, text in about.items()])


def replaced(document: str) -> str:
    """The document with what stands between its two marks written anew; RewardError without the marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RewardError(
            f"the document lacks the lines {BEGIN!r} and {END!r}, between which the rewards go"
        )
    return f"{before}{BEGIN}\n{markdown()}\n{END}{after}"
