"""Every reward as text, for the verb `rewards`, and as the Markdown table of docs/rewards.md."""

from __future__ import annotations

import dataclasses

from urlvr_jax.rewards.expression import REWARDS, needs_labels
from urlvr_jax.rewards.interface import RewardError, defaults, needs_of

BEGIN, END = "<!-- rewards: written by the verb `rewards` -->", "<!-- end of rewards -->"
COLUMNS = {
    "name": "reward", "formula": "formula", "needs": "needs", "norm": "length", "range": "range",
    "papers": "papers", "failure": "known failure",
}  # fmt: skip


def records() -> list[dict[str, str]]:
    """One dict a reward: the fields of `About`, `name` with options, and `needs`."""
    out = []
    for name, fn in REWARDS.items():
        options = ", ".join(f"{k}={v!r}" for k, v in defaults(fn).items())
        needed = [*needs_of(fn), *(["the gold answer"] if needs_labels(fn) else [])]
        needed = ["by its options"] if callable(getattr(fn, "needs", ())) else needed
        fields = dataclasses.asdict(fn.about)
        out.append(
            {"name": f"{name}({options})" if options else name, **fields, "needs": ", ".join(needed) or "-"}
        )
    return out


def text() -> str:
    """A block a reward, fields aligned, under the family's heading."""
    lines, family = [], None
    for record in records():
        if record["family"] != family:
            family = record["family"]
            lines += [f"== {family} ==", ""]
        lines.append(record["name"])
        for key, title in [*list(COLUMNS.items())[1:], ("differs", "elsewhere")]:
            if record[key]:
                lines.append(f"    {title:<14}{record[key]}")
        lines.append("")
    return "\n".join(lines).rstrip()


def markdown() -> str:
    """The table, and under it how public implementations differ."""
    cell = lambda s: s.replace("|", "\\|")
    code = lambda key, s: f"`{s}`" if key in ("name", "formula") else s
    lines = [f"| {' | '.join(COLUMNS.values())} |", "|" + " --- |" * len(COLUMNS)]
    for record in records():
        lines.append("| " + " | ".join(cell(code(key, record[key])) for key in COLUMNS) + " |")
    lines += ["", "Elsewhere:", ""]
    lines += [f"- `{r['name'].partition('(')[0]}`: {r['differs']}." for r in records() if r["differs"]]
    return "\n".join(lines)


def replaced(document: str) -> str:
    """The document with the table between its two marks written anew; RewardError without the marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RewardError(
            f"the document lacks the lines {BEGIN!r} and {END!r}, between which the table goes"
        )
    return f"{before}{BEGIN}\n{markdown()}\n{END}{after}"
