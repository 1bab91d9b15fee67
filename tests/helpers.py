"""Tiny models with every tensor random, random rollouts, and a float64 policy written apart.

The reference policy below is plain NumPy, one sequence at a time, no cache, no segments: slow, and
too simple to be wrong in the same way as the package.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.models import transformer
from urlvr_jax.models.transformer import ModelConfig
from urlvr_jax.rewards import interface
from urlvr_jax.rewards.derived import DERIVED
from urlvr_jax.scoring import packing, score
from urlvr_jax.scoring.packing import PackShape, pack
from urlvr_jax.types import Batch, RewardInputs


def model_config(tied: bool = True, **changes) -> ModelConfig:
    """GQA, and a head width that is not d_model / n_heads."""
    settings = dict(
        vocab_size=13,
        d_model=16,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        head_dim=8,
        d_ff=24,
        rope_theta=10_000.0,
        norm_eps=1e-6,
        tied_head=tied,
    )
    return ModelConfig(**(settings | changes))


def random_params(config: ModelConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Every tensor random, norms included, on the host; logits have a spread of about one."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, leaf in sorted(transformer.structure(config)[1].items()):
        if name.endswith("norm.scale"):
            value = 1 + 0.3 * rng.standard_normal(leaf.shape)
        elif name in ("embed", "head"):
            value = 0.25 * rng.standard_normal(leaf.shape)
        else:
            value = rng.standard_normal(leaf.shape) / np.sqrt(leaf.shape[0])
        out[name] = value.astype(np.float32)
    return out


def model(config: ModelConfig, seed: int = 0):
    """(graph, parameters on the device)."""
    params = {n: jnp.asarray(x) for n, x in random_params(config, seed).items()}
    return transformer.structure(config)[0], params


def random_prompts(rng, prompts: int, width: int, vocab: int = 13):
    """Tokens `[P, L]` and lengths `[P]`: the shortest is 1, the longest fills the width."""
    lengths = rng.integers(1, width + 1, prompts).astype(np.int32)
    lengths[0], lengths[-1] = 1, width
    tokens = rng.integers(0, vocab, (prompts, width)).astype(np.int32)
    return tokens * (np.arange(width) < lengths[:, None]), lengths


def random_responses(rng, rows: int, width: int, vocab: int = 13):
    """Tokens `[B, T]` and unequal lengths `[B]`, 1 and T among them."""
    lengths = rng.integers(1, width + 1, rows).astype(np.int32)
    lengths[0], lengths[-1] = 1, width
    tokens = rng.integers(0, vocab, (rows, width)).astype(np.int32)
    return tokens * (np.arange(width) < lengths[:, None]), lengths


def random_batch(seed=0, prompts=4, group=4, prompt_width=5, width=7, vocab=13) -> Batch:
    """A mini-batch whose old policy is near, but not at, the scored one."""
    rng = np.random.default_rng(seed)
    prompt_tokens, prompt_lengths = random_prompts(rng, prompts, prompt_width, vocab)
    tokens, lengths = random_responses(rng, prompts * group, width, vocab)
    mask = np.arange(width) < lengths[:, None]
    draw = lambda: (rng.standard_normal(tokens.shape) * mask).astype(np.float32)
    return Batch(
        prompt_tokens,
        prompt_lengths,
        tokens,
        lengths,
        draw(),
        (-2.5 + 0.5 * draw()) * mask,
        (-2.5 + 0.5 * draw()) * mask,
    )


def plain_layouts(batch: Batch):
    """(layouts, count) of a batch without packing: one micro-batch, a row a response."""
    prompts, (rows, width) = len(batch.prompt_tokens), batch.tokens.shape
    plain = packing.plain_layout(prompts, rows // prompts, width)
    return jax.tree.map(lambda x: np.asarray(x)[None], plain), np.int32(1)


def packed_layouts(batch: Batch, micro_rows: int, micro_prompts: int = 0):
    """(layouts, count) of a packed batch."""
    prompts, (rows, width) = len(batch.prompt_tokens), batch.tokens.shape
    shape = PackShape.of(rows // prompts, micro_rows, micro_prompts, 1)
    layouts, count = pack(np.asarray(batch.lengths).reshape(prompts, -1), width, width, shape)
    return layouts, np.int32(count)


def experiment(**changes) -> ml_collections.ConfigDict:
    """`config.default()` at a size for tests; `changes` are dotted keys with __ for the dot."""
    c = config_lib.default()
    small = {
        "steps": 4,
        "data.prompts_per_step": 8,
        "data.prompt_buckets": (5,),
        "rollout.group": 4,
        "rollout.max_new_tokens": 6,
        "rollout.response_buckets": (6,),
        "rollout.slots": 0,
        "optim.micro_rows": 0,
        "optim.micro_prompts": 0,
    }
    small |= {key.replace("__", "."): value for key, value in changes.items()}
    c.update_from_flattened_dict(small)
    return c


def reward_inputs(
    fn=None, options=None, *, stats=None, answers=None, span=None, lengths, group, key=0, **changes
) -> RewardInputs:
    """What `fn` would be given: what it declared, and nothing else of it. changes: fields, or derived inputs."""
    width = next(iter(stats.values())).shape[1] if stats else 1
    derived = {n: made.example(len(lengths) // group, group, width) for n, made in DERIVED.items()}
    if answers is not None:  # any integers will do
        derived |= {"answers": answers, "verification": answers, "rephrased": np.max(answers, axis=1)}
        derived |= {"rephrased_votes": np.maximum(answers, 0)}
    derived |= {} if span is None else {"answer_span": span}
    values = {**derived, "max_new_tokens": 10, "key": jax.random.key(key), **changes}
    given = interface.own_inputs(lengths, group, stats=stats, **values)
    return given.only(interface.needs_of(fn, options) if fn else ())


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def jitted_score(graph, params, prompt_tokens, prompt_lengths, tokens, temperature, _trace=0):
    """`score.score`, compiled; give `_trace` a new value after changing a module constant."""
    return score.score(graph, params, prompt_tokens, prompt_lengths, tokens, temperature)


# ---- float64 NumPy ----------------------------------------------------------------------------


def _norm(x, scale, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * scale


def _rotate(x, theta):
    """x `[n, heads, H]` at positions 0..n-1, as complex numbers."""
    half = x.shape[-1] // 2
    angle = np.arange(len(x))[:, None] * theta ** (-np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angle)[:, None]
    return np.concatenate([turned.real, turned.imag], axis=-1)


def reference_logits(params, config: ModelConfig, tokens) -> np.ndarray:
    """Qwen3 in float64: tokens `[n]` -> logits `[n, V]`."""
    w = {n: np.asarray(x, np.float64) for n, x in params.items()}
    x = w["embed"][np.asarray(tokens)]
    n, width = len(x), config.head_dim
    future = np.triu(np.ones((n, n), bool), 1)
    for i in range(config.n_layers):
        at = lambda name, i=i: w[f"layers.{i}.{name}"]
        h = _norm(x, at("attention_norm.scale"), config.norm_eps)
        q, k, v = (
            (h @ at(f"attention.{name}.kernel")).reshape(n, heads, width)
            for name, heads in (("q", config.n_heads), ("k", config.n_kv_heads), ("v", config.n_kv_heads))
        )
        q = _rotate(_norm(q, at("attention.q_norm.scale"), config.norm_eps), config.rope_theta)
        k = _rotate(_norm(k, at("attention.k_norm.scale"), config.norm_eps), config.rope_theta)
        heads = []
        for j in range(config.n_heads):
            own = j * config.n_kv_heads // config.n_heads
            z = q[:, j] @ k[:, own].T / np.sqrt(width)
            z = np.exp(np.where(future, -np.inf, z - z.max()))
            heads.append(z / z.sum(axis=1, keepdims=True) @ v[:, own])
        x = x + np.concatenate(heads, axis=1) @ at("attention.o.kernel")
        h = _norm(x, at("feedforward_norm.scale"), config.norm_eps)
        gate = h @ at("feedforward.gate.kernel")
        x = x + (gate / (1 + np.exp(-gate)) * (h @ at("feedforward.up.kernel"))) @ at(
            "feedforward.down.kernel"
        )
    return _norm(x, w["final_norm.scale"], config.norm_eps) @ w.get("head", w["embed"]).T


def reference_statistics(logits, target: int) -> dict[str, float]:
    """Statistics of one token in float64 from logits `[V]`, by their definitions."""
    z = np.asarray(logits, np.float64)
    z = z - z.max()
    p = np.exp(z) / np.exp(z).sum()
    log_p = z - np.log(np.exp(z).sum())
    first, second = np.sort(p)[::-1][:2]
    return {
        "logp": log_p[target],
        "entropy": -np.sum(p * log_p),
        "self_certainty": np.sum((np.log(1 / len(z)) - log_p) / len(z)) + np.log(len(z)),
        "top2_gap": first - second,
    }


def reference_rows(params, config, prompt_tokens, prompt_lengths, tokens, lengths, temperature):
    """Logits / temperature that predict each response token: a list over rows of `[length, V]`."""
    group = len(tokens) // len(prompt_tokens)
    out = []
    for b, (row, length) in enumerate(zip(tokens, lengths, strict=True)):
        prompt = prompt_tokens[b // group][: prompt_lengths[b // group]]
        z = reference_logits(params, config, np.concatenate([prompt, row[:length]]))
        out.append(z[len(prompt) - 1 : len(prompt) - 1 + length] / temperature)
    return out


def reference_score(params, config, prompt_tokens, prompt_lengths, tokens, lengths, temperature):
    """Teacher-forced statistics `[B, T]` in float64, zero past each row's length."""
    rows = reference_rows(params, config, prompt_tokens, prompt_lengths, tokens, lengths, temperature)
    out = {n: np.zeros(tokens.shape) for n in ("logp", "entropy", "self_certainty", "top2_gap")}
    for b, z in enumerate(rows):
        for t, logits in enumerate(z):
            for name, value in reference_statistics(logits, tokens[b, t]).items():
                out[name][b, t] = value
    return out


# ---- comparing --------------------------------------------------------------------------------


def assert_close(got, want, tolerance=1e-5):
    """Within tolerance * max(1, |want|), element by element; returns the worst share of it."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    worst = np.max(np.abs(got - want) / np.maximum(1, np.abs(want)))
    assert worst <= tolerance, f"{worst:.2e}"
    return worst


def assert_statistics_close(ours, theirs, lengths, tolerance=1e-5):
    """Within tolerance * max(1, |x|) wherever a row has a token."""
    mask = np.arange(next(iter(theirs.values())).shape[1]) < np.asarray(lengths)[:, None]
    assert set(ours) >= set(theirs)
    for name, want in theirs.items():
        got, want = np.asarray(ours[name], np.float64)[mask], np.asarray(want, np.float64)[mask]
        worst = np.max(np.abs(got - want) / np.maximum(1, np.abs(want)))
        assert worst <= tolerance, f"{name}: {worst:.2e}"


def global_norm(tree) -> float:
    return float(np.sqrt(sum(np.sum(np.asarray(x, np.float64) ** 2) for x in jax.tree.leaves(tree))))


def assert_gradients_close(ours, theirs, tolerance=3e-6):
    """The norm of the difference within tolerance of the global norm."""
    assert set(ours) == set(theirs)
    size = global_norm(theirs)
    assert size > 1e-3, "a vanishing gradient proves nothing"
    difference = {n: np.asarray(ours[n], np.float64) - np.asarray(theirs[n], np.float64) for n in ours}
    assert global_norm(difference) <= tolerance * size, global_norm(difference) / size
