"""Seconds of a step on a named chip, by a roofline of its data sheet: unconfirmed, for ranking meshes."""

from __future__ import annotations

import math

from urlvr_jax import config as config_lib
from urlvr_jax.planning import memory
from urlvr_jax.planning.machines import Chip
from urlvr_jax.planning.memory import Model

# Assumed, not measured.
PRODUCTS = 0.40  # share of peak FLOP/s that products reach
READING = 0.60  # share of the memory's bandwidth that decoding reaches
LINKS = 0.60  # share of the links that a collective reaches; none is hidden behind products
LATENCY = 10e-6  # seconds that a collective takes however little it moves: felt by every decoded column
MEAN_LENGTH = (
    0.25  # mean response, as a share of max_new_tokens, in the time "expected"; lengths are exponential
)


def seconds(c, model: Model, chip: Chip, length: float) -> dict[str, float]:
    """{phase: predicted seconds} of a step whose responses have `length` tokens on average."""
    times = {
        "rollout": lambda: _rollout(c, model, chip, length),
        "score": lambda: _over_tokens(c, model, chip, length, scoring=True),
        "update": lambda: _over_tokens(c, model, chip, length, scoring=False) * c.optim.epochs,
    }
    return {phase: times[phase]() for phase in memory.phases(c)}


def expected(c, model: Model, chip: Chip) -> dict[str, float]:
    """`seconds` of responses of the length assumed."""
    return seconds(c, model, chip, MEAN_LENGTH * c.rollout.max_new_tokens)


def _flops(model: Model, tokens: float, context: float) -> float:
    """Of a forward pass over so many tokens, each attending to `context` others."""
    m = model.config
    table = m.vocab_size * m.d_model
    body = model.parameters - memory.table_elements(model)
    return tokens * (2 * body + 2 * table + 4 * m.n_layers * m.n_heads * m.head_dim * context)


def columns(rows: float, slots: float, length: float, longest: float) -> float:
    """Columns that a device decodes until the last of its rows has ended: refilled slots, then those that drain.

    Lengths are exponential and cut, so the last of `slots` rows goes on for so many means as the harmonic number.
    """
    last = min(longest, length * (math.log(slots) + 0.577 + 0.5 / slots))
    return (rows - slots) * length / slots + max(last, length)


def _rollout(c, model: Model, chip: Chip, length: float) -> float:
    """Every column reads the weights once, and the keys and values of each slot."""
    m = model.config
    mesh = dict(c.mesh)
    shards = config_lib.shards(c)
    rate = PRODUCTS * chip.flops * math.prod(mesh.values())
    here, rows = config_lib.slots(c) / shards, config_lib.rows_per_step(c) / shards
    prompt, longest = c.data.prompt_buckets[-1], c.rollout.max_new_tokens
    count = columns(rows, here, length, longest)
    context = (
        longest / 2 if length == longest else min(longest / 2, length)
    )  # of a token, in its own response
    if config_lib.decodes_from_pages(c, chip.platform):
        # The slots of a group read their prompt at once: from a GPU's own cache all but once.
        seen = context + prompt / (c.rollout.group if chip.platform == "gpu" else 1)
        read = rows * length * seen * memory.cache_bytes(model, mesh)
    else:  # as far back as the oldest row needs
        read = count * here * (prompt + min(longest / 2, 2 * context)) * memory.cache_bytes(model, mesh)
    read += count * memory.weight_elements(model, mesh, training=False) * memory.item(m.compute_dtype)
    tokens = config_lib.rows_per_step(c) * length
    total = max(read / (READING * chip.bandwidth), _flops(model, tokens, prompt + context) / rate)
    if mesh["tensor"] > 1:  # two sums a layer
        summed = 2 * 2 * m.n_layers * here * m.d_model * memory.item(m.compute_dtype)
        a_column = summed * (1 - 1 / mesh["tensor"]) / (LINKS * chip.link) + 2 * m.n_layers * LATENCY
        total += count * a_column
    return total + _flops(model, c.data.prompts_per_step * prompt, prompt / 2) / rate


def _over_tokens(c, model: Model, chip: Chip, length: float, scoring: bool) -> float:
    """An update, or a scoring pass: products over all tokens, and weights gathered for each micro-batch."""
    mesh = dict(c.mesh)
    width = config_lib.response_buckets(c)[-1]
    prompt = c.data.prompt_buckets[-1]
    tokens = config_lib.rows_per_step(c) * length
    shape, _ = memory.micro_shape(c, scoring)
    micro_batches = max(1.0, tokens / (shape.units * shape.rows * width))
    prompts = micro_batches * shape.units * shape.prompts * prompt
    passes = 1 if scoring else 4 if c.model.remat else 3  # forward passes' worth of products
    passes -= bool(model.config.lora and not scoring)  # frozen kernels have no gradient
    gathers = 1 if scoring else passes - 1  # the weights forward, again, and their gradients back
    work = passes * (_flops(model, tokens, width) + _flops(model, prompts, prompt))
    moved = (1 - 1 / mesh["fsdp"]) * model.parameters / mesh["tensor"]
    moved *= memory.item(model.config.compute_dtype) * micro_batches * gathers
    return work / (PRODUCTS * chip.flops * math.prod(mesh.values())) + moved / (LINKS * chip.link)
