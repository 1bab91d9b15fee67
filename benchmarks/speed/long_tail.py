"""A long tail of lengths: what refilled slots save while decoding, and packing in the update.

    python benchmarks/speed/long_tail.py --scale 0.1                   a look, in a minute or two
    python benchmarks/speed/long_tail.py --out result.json             the figures, four minutes on one core

512 rows (64 prompts x 8), lengths log-normal with median 400 and sigma 1, cut at 7168, imposed through `limits`;
64 slots. The model is random and tiny. `--scale` shrinks lengths and blocks alike. Three questions:

(a) The makespan in decode columns of the refilled rollout, beside greedy list scheduling of the same rows in
    the same order on 64 machines, where each row takes its length and none waits. Slots are refilled between
    blocks, so ours is blocks x block: an upper bound, for the last block ends early. Bar: 1.05 times.
(b) Tokens a second with refill, beside the same rows in 8 waves of 64, each a call with a slot a row. The waves
    run at the widest block: with nothing to refill it is the quickest, and ends with the longest row. Bar: twice.
(c) The share of the update's columns that hold no token when the responses are packed. Bar: 10 %.
"""

from __future__ import annotations

import argparse
import functools
import heapq
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import numpy as np  # noqa: E402

from urlvr_jax.models import transformer  # noqa: E402
from urlvr_jax.rollout import sample  # noqa: E402
from urlvr_jax.rollout.slots import blocks_of  # noqa: E402
from urlvr_jax.scoring.packing import PackShape, pack  # noqa: E402

PROMPTS, GROUP, SLOTS = 64, 8, 64
MEDIAN, SIGMA, LONGEST = 400, 1.0, 7168
PROMPT_WIDTH = 16
BARS = {"makespan": 1.05, "speedup": 2.0, "padding": 0.10}
SHAPES = ((1, 1, 4), (1, 2, 8), (1, 4, 8), (1, 4, 12))
MODEL = transformer.ModelConfig(
    vocab_size=256, d_model=64, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=16, d_ff=128,
    rope_theta=1e6, norm_eps=1e-6, tied_head=True,
)  # fmt: skip


def draw_lengths(scale: float, seed: int) -> tuple[np.ndarray, int]:
    """(lengths `[512]`, the greatest that is allowed)."""
    longest = max(1, round(LONGEST * scale))
    normal = np.random.default_rng(seed).normal(np.log(MEDIAN * scale), SIGMA, PROMPTS * GROUP)
    return np.clip(np.ceil(np.exp(normal)), 1, longest).astype(np.int32), longest


def list_schedule(lengths, machines: int) -> int:
    """Makespan when each row, in this order, goes to the machine that is free first."""
    free = [0] * machines
    for n in lengths:
        heapq.heapreplace(free, free[0] + int(n))
    return max(free)


# ---- rollouts -------------------------------------------------------------------------------


class Rollout:
    """Rows of so many prompts in so many slots, compiled before it is timed."""

    def __init__(self, prompts: int, longest: int, block: int):
        self.graph = transformer.structure(MODEL)[0]
        self.params = transformer.initialise(MODEL, 0)
        rng = np.random.default_rng(1)
        self.tokens = rng.integers(0, MODEL.vocab_size, (prompts, PROMPT_WIDTH)).astype(np.int32)
        self.lengths = np.full(prompts, PROMPT_WIDTH, np.int32)
        self.never = np.array([MODEL.vocab_size], np.int32)  # a stop token that does not exist
        fn = functools.partial(
            sample.sample, self.graph, group=GROUP, slots=SLOTS, max_new_tokens=longest,
            temperature=1.0, top_p=1.0, block=block,
        )  # fmt: skip
        arguments = self._arguments(np.zeros(prompts * GROUP, np.int32), 0)
        self._run = jax.jit(fn).lower(*arguments[0], **arguments[1]).compile()
        self(np.minimum(np.arange(prompts * GROUP), 2), 0)

    def _arguments(self, limits, seed: int):
        given = self.params, self.tokens, self.lengths, jax.random.key(seed), self.never
        return given, {"limits": np.asarray(limits, np.int32)}

    def __call__(self, limits, seed: int) -> tuple[float, int]:
        """(seconds, blocks); every row has its length."""
        given, named = self._arguments(limits, seed)
        began = time.perf_counter()
        out = jax.block_until_ready(self._run(*given, **named))
        seconds = time.perf_counter() - began
        np.testing.assert_array_equal(out["length"], limits)
        return seconds, int(out["blocks"])


def refilled(lengths, longest: int, block: int, greedy: int) -> dict:
    seconds, blocks = Rollout(PROMPTS, longest, block)(lengths, 0)
    _, width = blocks_of(longest, block)
    columns = blocks * width
    return {
        "block": block, "seconds": seconds, "columns": columns, "makespan": columns / greedy,
        "tokens_per_s": int(lengths.sum()) / seconds,
    }  # fmt: skip


def in_waves(lengths, longest: int, block: int) -> dict:
    """The same rows, 64 at a time: a wave lasts as long as its longest row."""
    run = Rollout(SLOTS // GROUP, longest, block)
    _, width = blocks_of(longest, block)
    seconds = 0.0
    columns = 0
    for i, wave in enumerate(lengths.reshape(-1, SLOTS)):
        one, blocks = run(wave, i)
        seconds += one
        columns += blocks * width
    return {
        "block": block, "seconds": seconds, "columns": columns,
        "tokens_per_s": int(lengths.sum()) / seconds,
    }  # fmt: skip


# ---- packing --------------------------------------------------------------------------------


def packed(lengths, longest: int, shape: tuple[int, int, int]) -> dict:
    """Padding of the micro-batches in use, and how many prompts they compute, some of them several times."""
    layouts, count = pack(lengths.reshape(PROMPTS, GROUP), longest, longest, PackShape(*shape))
    used = layouts.source[:count]
    return {
        "shape": shape, "micro_batches": count, "padding": float((used < 0).mean()),
        "prompts_computed": int((layouts.prompts[:count] >= 0).sum()),
        "prompt_places": int(layouts.prompts[:count].size),
    }  # fmt: skip


def unpacked_padding(lengths, longest: int) -> float:
    return 1 - float(lengths.sum()) / (len(lengths) * longest)


# ---- the report -----------------------------------------------------------------------------


def mark(value: float, key: str) -> str:
    met = value >= BARS[key] if key == "speedup" else value <= BARS[key]
    return "met" if met else "MISSED"


def report(result: dict) -> str:
    facts = result["lengths"]
    lines = [
        f"{facts['rows']} rows, {facts['tokens']} tokens, longest {facts['longest']} of {facts['cut']}, "
        f"scale {result['scale']}, {SLOTS} slots",
        f"columns a slot at the least {facts['tokens'] / SLOTS:.0f}; greedy list scheduling {result['greedy']}",
        "",
        "rollout            block  columns  / greedy  seconds  tokens/s  x waves",
    ]
    for r in result["refilled"]:
        verdicts = mark(r["makespan"], "makespan"), mark(r["speedup"], "speedup")
        lines.append(
            f"64 slots, refilled {r['block']:5d} {r['columns']:8d}  {r['makespan']:8.3f} {r['seconds']:8.1f} "
            f"{r['tokens_per_s']:9.0f} {r['speedup']:8.2f}   makespan {verdicts[0]}, speed {verdicts[1]}"
        )
    w = result["waves"]
    lines.append(
        f"waves of 64        {w['block']:5d} {w['columns']:8d}  {w['columns'] / result['greedy']:8.3f} "
        f"{w['seconds']:8.1f} {w['tokens_per_s']:9.0f}"
    )
    lines += ["", "packing (units, rows, prompts)  micro-batches  padding  prompts computed / in the batch"]
    for p in result["packed"]:
        lines.append(
            f"{str(tuple(p['shape'])):30s} {p['micro_batches']:14d} {p['padding']:8.1%}  "
            f"{p['prompts_computed']} / {PROMPTS} in {p['prompt_places']} places   {mark(p['padding'], 'padding')}"
        )
    lines.append(f"a row a response: {result['unpacked_padding']:.1%}")
    return "\n".join(lines)


def measure(scale: float, blocks: list[int], seed: int) -> dict:
    lengths, longest = draw_lengths(scale, seed)
    result = {
        "scale": scale,
        "seed": seed,
        "lengths": {
            "rows": len(lengths), "tokens": int(lengths.sum()), "longest": int(lengths.max()), "cut": longest,
        },
        "greedy": list_schedule(lengths, SLOTS),
        "refilled": [],
        "packed": [packed(lengths, longest, shape) for shape in SHAPES],
        "unpacked_padding": unpacked_padding(lengths, longest),
        "device": jax.devices()[0].device_kind,
    }  # fmt: skip
    blocks = [max(1, round(block * scale)) for block in blocks]
    say = lambda what, entry: print(f"{what}: {entry['seconds']:.0f} s", file=sys.stderr, flush=True)
    waves = result["waves"] = in_waves(lengths, longest, max(blocks))
    say("waves", waves)
    for block in blocks:
        entry = refilled(lengths, longest, block, result["greedy"])
        result["refilled"].append(entry | {"speedup": entry["tokens_per_s"] / waves["tokens_per_s"]})
        say(f"refilled, block {block}", entry)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of lengths and blocks")
    parser.add_argument("--blocks", default="32,64,128", help="columns between refills, before scaling")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    result = measure(options.scale, [int(b) for b in options.blocks.split(",")], options.seed)
    print(report(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
