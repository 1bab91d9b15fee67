"""From measured seconds to tokens/s, shares of the machine's ceilings, and the printed table."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics

PHASES = ("rollout", "score", "update", "step")


@dataclasses.dataclass(frozen=True)
class Cost:
    """Arithmetic and bytes that the work itself needs, whoever does it.

    The prompt of a group is counted once. A response token is one position: its input passes the layers and
    the head. Matrix products are 2 FLOP a parameter and position, attention 4 a (query, key) pair and head
    column; a backward pass is two forward ones.
    """

    layers: int
    layer_parameters: int
    head_parameters: int
    attention_width: int  # query heads times head width
    kv_width: int  # key and value columns of a position and layer
    prompts: int
    samples: int
    prompt_len: float  # mean
    new_tokens: int
    item_bytes: int

    @classmethod
    def of(cls, folder: pathlib.Path, work: dict, prompt_lengths) -> Cost:
        c = json.loads((folder / "config.json").read_text())
        width, heads, kv = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
        h = c["head_dim"]
        layer = 2 * width * heads * h + 2 * width * kv * h + 3 * width * c["intermediate_size"]
        return cls(
            layers=c["num_hidden_layers"],
            layer_parameters=c["num_hidden_layers"] * layer,
            head_parameters=width * c["vocab_size"],
            attention_width=heads * h,
            kv_width=2 * kv * h,
            prompts=work["prompts"],
            samples=work["samples"],
            prompt_len=float(prompt_lengths.mean()),
            new_tokens=work["new_tokens"],
            item_bytes=2 if work["dtype"] == "bfloat16" else 4,
        )

    def forward(self, tokens: float, pairs: float) -> float:
        """FLOP of one pass. pairs: (query, key) within the responses."""
        shared = self.prompt_len - 1  # the last prompt token is the first input of each response
        positions = self.prompts * shared + tokens
        attended = self.prompts * shared * (shared + 1) / 2 + tokens * shared + pairs
        products = 2 * (self.layer_parameters * positions + self.head_parameters * tokens)
        return products + 4 * self.attention_width * self.layers * attended

    def flops(self, phase: str, tokens: float, pairs: float) -> float:
        return {"rollout": 1, "score": 1, "update": 3, "step": 4}[phase] * self.forward(tokens, pairs)

    def decode_bytes(self, tokens: float, pairs: float) -> float:
        """Bytes a rollout must read: all weights every decoding step, and the keys and values attended to."""
        columns = self.new_tokens if tokens else 0
        weights = columns * (self.layer_parameters + self.head_parameters)
        cached = self.kv_width * self.layers * (columns * self.prompts * (self.prompt_len - 1) + pairs)
        return (weights + cached) * self.item_bytes


def summary(replies: dict[str, list[dict]]) -> dict:
    """Replies to `score` and `step`, warm ones -> one entry a phase."""
    out = {}
    for phase in PHASES:
        found = replies["score" if phase == "score" else "step"]
        seconds = [r[phase] for r in found]
        out[phase] = {
            "seconds": statistics.median(seconds),
            "tokens_per_s": statistics.median(r["tokens"] / r[phase] for r in found),
            "all_seconds": seconds,
            "tokens": statistics.median(r["tokens"] for r in found),
            "pairs": statistics.median(r["pairs"] for r in found),
        }
    return out


def compile_seconds(cold: dict[str, list[dict]], entry: dict) -> float:
    """What the cold calls took beyond warm ones."""
    beyond = sum(r["score"] - entry["score"]["seconds"] for r in cold["score"])
    beyond += sum(r["step"] - entry["step"]["seconds"] for r in cold["step"])
    return max(0.0, beyond)


def add_shares(systems: dict, cost: Cost, ceilings: dict) -> None:
    """Useful FLOP/s and decode bytes/s of each entry, as shares of the ceilings."""
    for entry in systems.values():
        for phase in PHASES:
            p = entry[phase]
            p["flops_share"] = cost.flops(phase, p["tokens"], p["pairs"]) / p["seconds"] / ceilings["flops"]
        p = entry["rollout"]
        p["bytes_share"] = cost.decode_bytes(p["tokens"], p["pairs"]) / p["seconds"] / ceilings["bytes"]


def ratios(systems: dict) -> dict[str, float]:
    """Our tokens/s over those of the fastest peer, each phase; empty without peers."""
    peers = [e for name, e in systems.items() if name != "ours"]
    best = lambda phase: max(e[phase]["tokens_per_s"] for e in peers)
    return {p: systems["ours"][p]["tokens_per_s"] / best(p) for p in PHASES} if peers else {}


def table(result: dict) -> str:
    """What a person reads."""
    head = f"{'system':14s}" + "".join(f"{p + ' tok/s':>16s}" for p in PHASES)
    lines = [head + f"{'step s':>9s}{'compile s':>11s}{'peak GiB':>10s}{'micro':>7s}{'score':>7s}"]
    for name, e in result["systems"].items():
        rates = "".join(f"{e[p]['tokens_per_s']:16,.0f}" for p in PHASES)
        lines.append(
            f"{name:14s}{rates}{e['step']['seconds']:9.2f}{e['compile_s']:11.1f}{e['peak_rss_gib']:10.2f}"
            f"{e['micro_batch']:7d}{e['score_micro_batch']:7d}"
        )
    lines += ["", "share of the matmul peak, useful FLOP; the last column: of the bandwidth, decoding"]
    for name, e in result["systems"].items():
        shares = "".join(f"{e[p]['flops_share']:16.1%}" for p in PHASES)
        lines.append(f"{name:14s}{shares}{e['rollout']['bytes_share']:9.1%}")
    if result["ratios"]:
        values = "".join(f"{result['ratios'][p]:16.2f}" for p in PHASES)
        lines += ["", f"{'ours / fastest':14s}{values}"]
    c = result["ceilings"]
    lines += ["", f"ceilings: {c['flops'] / 1e9:,.1f} GFLOP/s, {c['bytes'] / 1e9:,.1f} GB/s"]
    return "\n".join(lines)
