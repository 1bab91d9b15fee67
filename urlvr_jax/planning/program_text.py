"""What a compiled program's text says: its collectives, and the kernels and copies of a decoded token."""

from __future__ import annotations

import math
import re
import statistics

COLLECTIVES = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
ITEM = {"f64": 8, "s64": 8, "bf16": 2, "f16": 2, "s8": 1, "u8": 1, "pred": 1}  # bytes; 4 if not here
FREE = "parameter|constant|tuple|get-tuple-element|bitcast|after-all|partition-id"  # what runs nothing
ATTENTION = "paged_attention"  # the name of the kernel that a decoded token runs once a layer


def bytes_of(result: str) -> int:
    """Bytes of a result's type, of a tuple all its parts: `(f32[2,3]{1,0}, s32[])`."""
    each = re.findall(r"(\w+)\[([\d,]*)\]", result)
    return sum(
        math.prod(int(n) for n in sides.split(",") if n) * ITEM.get(dtype, 4) for dtype, sides in each
    )


def collectives(hlo: str) -> dict[str, dict[str, int]]:
    """{kind: "count", and "bytes" of the results} in a program's text; those of a loop count once."""
    found = {}
    for result, kind in re.findall(rf"= (.+?) ({COLLECTIVES})(?:-start)?\(", hlo):
        entry = found.setdefault(kind, {"count": 0, "bytes": 0})
        entry["count"] += 1
        entry["bytes"] += bytes_of(result)
    return dict(sorted(found.items()))


ON_CHIP = "S(1)"  # a layout in a TPU's vector memory


def token_loop(hlo: str) -> dict[str, int]:
    """What decoding from pages runs for a token; {} of a program without its kernel.

    "kernels", in order as they are launched; "kernels_a_layer", those from one layer's attention to the next
    (median, 0 with a single layer); "copied_bytes" by copies in main memory: those into a TPU's own are how its
    kernels read; "collectives".
    """
    bodies = set(re.findall(r"body=%?([\w.\-]+)", hlo))
    for name, lines in _computations(hlo).items():
        marks = [ATTENTION in line and "custom-call" in line for line in lines]
        if name in bodies and any(marks):
            at = [i for i, mark in enumerate(marks) if mark]
            between = [b - a for a, b in zip(at, at[1:], strict=False)]
            copied = (
                re.match(r".*?= \(?(\w+\[[\d,]*\](?:\{.*?\})?).*? (copy|copy-start)\(", line)
                for line in lines
            )
            return {
                "kernels": len(lines),
                "kernels_a_layer": round(statistics.median(between)) if between else 0,
                "copied_bytes": sum(
                    bytes_of(found[1]) for found in copied if found and ON_CHIP not in found[1]
                ),
                "collectives": sum(
                    bool(re.search(rf" ({COLLECTIVES})(-start)?\(", line)) for line in lines
                ),
            }
    return {}


def _computations(hlo: str) -> dict[str, list[str]]:
    """{computation: its instructions that run something}."""
    found, lines = {}, []
    for line in hlo.splitlines():
        if head := re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", line):
            lines = found.setdefault(head[1], [])
        elif re.match(r"\s+\S+ = |\s+ROOT ", line) and not re.search(rf" ({FREE})\(", line):
            lines.append(line)
    return found
