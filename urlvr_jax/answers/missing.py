"""What to say of responses in which no answer is found."""

from __future__ import annotations

from urlvr_jax.answers.extract import EXTRACTORS, extract

MOST_RESPONSES = 256  # that other styles are tried on
SHOWN = 120  # characters of a response; its end, where answers stand
FEW = 0.1  # of the responses: so few answers are too few, if another style finds five times as many


def missing(texts: list[str], answered: int, style: str) -> str:
    """A sentence on how few answers this style finds, what others find, and one response; "" where all is well."""
    if not texts or answered >= FEW * len(texts):
        return ""
    looked = texts[:MOST_RESPONSES]
    others = {s: sum(extract(t, s) is not None for t in looked) for s in EXTRACTORS if s != style}
    if answered and max(others.values()) < 5 * FEW * len(looked):
        return ""
    found = ", ".join(f"{n} with {s!r}" for s, n in sorted(others.items(), key=lambda x: -x[1]) if n)
    return (
        f"answers.style = {style!r} finds an answer in {answered} of {len(texts)} responses; of {len(looked)}, other "
        f"styles find {found or 'none either'}. One response ends {texts[0][-SHOWN:]!r}: choose the style in which the "
        "model answers, or ask for this one by data.template"
    )
