"""Write docs/loop.svg: one step of the loop, and the arrays that travel between its stages.

python docs/loop_picture.py
"""

from __future__ import annotations

import pathlib
from html import escape

WIDTH, HEIGHT = 1010, 560
BOX_WIDTH, BOX_HEIGHT = 190, 62
INK, PAPER, LINE, LABEL = "#1d2733", "#ffffff", "#5b6b7c", "#b4531a"

# name: (left, top, title, where it is)
STAGES = {
    "prompts": (30, 60, "1  prompts", "data/"),
    "rollouts": (385, 60, "2  rollouts", "rollout/"),
    "statistics": (740, 60, "3  statistics", "scoring/"),
    "answers": (385, 205, "4  answers", "answers/"),
    "rewards": (740, 205, "5  rewards", "rewards/"),
    "advantages": (740, 350, "6  advantages", "learning/advantages.py"),
    "update": (385, 350, "7  update", "learning/step.py"),
    "metrics": (30, 350, "8  metrics", "measure/metrics.py"),
    "analysis": (30, 470, "9  analysis", "measure/"),
    "labels": (30, 205, "gold answers", "data/labels.py, checks/"),
}

# from, side, to, side, what travels, whether it comes from labels
ARROWS = (
    ("prompts", "right", "rollouts", "left", ("tokens [P, L]",), False),
    ("rollouts", "right", "statistics", "left", ("tokens [B, T]", "lengths [B]"), False),
    ("rollouts", "bottom", "answers", "top", ("texts [B]",), False),
    ("statistics", "bottom", "rewards", "top", ("logp, entropy, ...", "float32 [B, T]"), False),
    ("answers", "right", "rewards", "left", ("classes [P, G]",), False),
    ("rewards", "bottom", "advantages", "top", ("rewards [P, G]",), False),
    ("advantages", "left", "update", "right", ("advantages [B, T]",), False),
    ("update", "left", "metrics", "right", ("one line a step",), False),
    ("metrics", "bottom", "analysis", "top", ("metrics.jsonl",), False),
    ("prompts", "bottom", "labels", "top", ("ids [P]",), True),
    ("labels", "bottom", "metrics", "top", ("correct [P, G]",), True),
)


def edge(stage: str, side: str) -> tuple[float, float]:
    """The middle of one side of a box."""
    left, top, *_ = STAGES[stage]
    return {
        "left": (left, top + BOX_HEIGHT / 2),
        "right": (left + BOX_WIDTH, top + BOX_HEIGHT / 2),
        "top": (left + BOX_WIDTH / 2, top),
        "bottom": (left + BOX_WIDTH / 2, top + BOX_HEIGHT),
    }[side]


def box(stage: str) -> str:
    left, top, title, where = STAGES[stage]
    dashed = ' stroke-dasharray="5 4"' if stage == "labels" else ""
    colour = LABEL if stage == "labels" else LINE
    middle = left + BOX_WIDTH / 2
    return (
        f'<rect x="{left}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8" fill="#f3f6fa" '
        f'stroke="{colour}" stroke-width="1.5"{dashed}/>'
        f'<text x="{middle}" y="{top + 27}" class="title">{escape(title)}</text>'
        f'<text x="{middle}" y="{top + 47}" class="where">{escape(where)}</text>'
    )


def arrow(start, start_side, end, end_side, words, labelled: bool) -> str:
    (x1, y1), (x2, y2) = edge(start, start_side), edge(end, end_side)
    colour, head = (LABEL, "label") if labelled else (LINE, "plain")
    dashed = ' stroke-dasharray="5 4"' if labelled else ""
    line = (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="1.5"{dashed} '
        f'marker-end="url(#{head})"/>'
    )
    level = y1 == y2
    x, y = (x1 + x2) / 2 + (0 if level else 8), (y1 + y2) / 2 + (-8 if level else 4)
    anchor = "middle" if level else "start"
    first = y - 15 * (len(words) - 1) if level else y - 7 * (len(words) - 1)
    return line + "".join(
        f'<text x="{x}" y="{first + 15 * i}" class="array" text-anchor="{anchor}">{escape(word)}</text>'
        for i, word in enumerate(words)
    )


def picture() -> str:
    heads = "".join(
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        for name, colour in (("plain", LINE), ("label", LABEL))
    )
    style = (
        "text{font-family:Helvetica,Arial,sans-serif}"
        f".title{{font-size:17px;font-weight:bold;text-anchor:middle;fill:{INK}}}"
        f".where{{font-size:12.5px;text-anchor:middle;fill:{LINE}}}"
        f".array{{font-size:13px;fill:{INK}}}"
        f".note{{font-size:13px;fill:{LINE}}}"
    )
    # The update's parameters sample the next step: back up past the answers.
    x, top, bottom = 352, 60 + BOX_HEIGHT / 2 + 12, 350 + BOX_HEIGHT / 2 - 18
    again = (
        f'<path d="M385 {bottom} L{x} {bottom} L{x} {top} L383 {top}" fill="none" stroke="{LINE}" '
        'stroke-width="1.5" marker-end="url(#plain)"/>'
        f'<text x="{x - 8}" y="{(top + bottom) / 2 - 52}" class="array" text-anchor="end">new parameters:</text>'
        f'<text x="{x - 8}" y="{(top + bottom) / 2 - 36}" class="array" text-anchor="end">the next step</text>'
    )
    notes = (
        "P prompts, G rollouts a prompt, B = P G rows, L prompt columns, T response columns.",
        "Dashed: labels. They reach metrics, and no reward but a control that asks.",
    )
    said = "".join(
        f'<text x="385" y="{492 + 20 * i}" class="note">{escape(note)}</text>'
        for i, note in enumerate(notes)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="One step of the loop"><defs>{heads}</defs><style>{style}</style>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>'
        f'<text x="30" y="34" class="title" style="text-anchor:start">One step of the loop in main.py</text>'
        + "".join(map(box, STAGES))
        + "".join(arrow(*a) for a in ARROWS)
        + again
        + said
        + "</svg>\n"
    )


if __name__ == "__main__":
    pathlib.Path(__file__).with_name("loop.svg").write_text(picture())
