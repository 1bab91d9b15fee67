"""Adapters: their mathematics against float64 and full fine-tuning, merged and not, on an int8 base, in PEFT."""

import dataclasses
import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax.models import lora, transformer
from urlvr_jax.models.lora import LoRA
from urlvr_jax.scoring.score import whole_logits

PLAIN = helpers.model_config(tied=False)
WHOLE = helpers.random_params(PLAIN)
TOKENS = np.random.default_rng(5).integers(0, 13, (3, 9)).astype(np.int32)
COTANGENT = np.random.default_rng(6).standard_normal((3, 9, 13))


def adapted(rank=3, alpha=6.0, targets=lora.TARGETS, base="param_dtype", fresh=False, config=PLAIN):
    """(configuration, graph, parameters): the random model with adapters, whose B is random unless they are fresh."""
    config = dataclasses.replace(config, lora=LoRA(rank, alpha, targets, base))
    graph, shapes = transformer.structure(config)
    params = {n: jnp.asarray(x) for n, x in helpers.random_params(lora.plain(config)).items()}
    for name in [n for n in shapes if n.endswith(f".{lora.SCALE}")]:
        kernel = name.replace(lora.SCALE, "kernel")
        params[kernel], params[name] = lora.quantised(params[kernel])
    params |= lora.initialise(shapes, seed=1)
    rng = np.random.default_rng(7)
    for name in sorted(params) if not fresh else ():
        if name.endswith(f".{lora.B}"):
            params[name] = jnp.asarray(0.3 * rng.standard_normal(params[name].shape), jnp.float32)
    assert {n: (x.shape, x.dtype) for n, x in params.items()} == {
        n: (s.shape, s.dtype) for n, s in shapes.items()
    }
    return config, graph, params


def in_float64(params, config):
    """The plain model's parameters, merged in NumPy by the definition."""
    out = {}
    for name, x in params.items():
        stem, _, last = name.rpartition(".")
        if last in (lora.A, lora.B, lora.SCALE):
            continue
        x = np.asarray(x, np.float64)
        if last == "kernel" and f"{stem}.{lora.SCALE}" in params:
            x = x * np.asarray(params[f"{stem}.{lora.SCALE}"], np.float64)
        if last == "kernel" and f"{stem}.{lora.A}" in params:
            a, b = (np.asarray(params[f"{stem}.{n}"], np.float64) for n in (lora.A, lora.B))
            x = x + config.lora.alpha / config.lora.rank * a @ b
        out[name] = x
    return out


def reference_logits(params, config):
    of = lambda row: helpers.reference_logits(in_float64(params, config), lora.plain(config), row)
    return np.stack([of(row) for row in TOKENS])


def gradient(graph, params):
    """Of sum(COTANGENT * logits), of what is trained."""
    trained, frozen = lora.split(params)
    loss = lambda t: jnp.sum(jnp.asarray(COTANGENT, jnp.float32) * whole_logits(graph, t | frozen, TOKENS))
    return jax.grad(loss)(trained)


@pytest.mark.parametrize("base", lora.BASES)
@pytest.mark.parametrize("targets", [lora.TARGETS, ("q", "down")], ids=len)
def test_logits_are_those_of_the_definition_and_of_the_merged_model(targets, base):
    config, graph, params = adapted(targets=targets, base=base)
    logits = whole_logits(graph, params, TOKENS)
    helpers.assert_close(logits, reference_logits(params, config))
    merged = lora.merged(params, config.lora, jnp.float32)
    assert set(merged) == set(WHOLE)
    plain = transformer.structure(PLAIN)[0]
    helpers.assert_close(whole_logits(plain, merged, TOKENS), logits)
    base_of = {n: x for n, x in params.items() if n in WHOLE and base == "param_dtype"}
    if base_of:
        assert np.abs(whole_logits(plain, base_of, TOKENS) - logits).max() > 0.1, (
            "the adapters do something"
        )


def test_fresh_adapters_change_nothing_and_are_a_function_of_the_seed():
    _, graph, params = adapted(fresh=True)
    plain = whole_logits(transformer.structure(PLAIN)[0], {n: params[n] for n in WHOLE}, TOKENS)
    np.testing.assert_array_equal(whole_logits(graph, params, TOKENS), plain)
    shapes = transformer.structure(dataclasses.replace(PLAIN, lora=LoRA(3, 6.0)))[1]
    first, again, other = (lora.initialise(shapes, seed) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    drawn = [x for n, x in sorted(first.items()) if n.endswith(f".{lora.A}")]
    assert len(drawn) == 14 and len({float(x[0, 0]) for x in drawn}) == 14
    for name, x in first.items():
        if name.endswith(f".{lora.B}"):
            assert not x.any()
        else:  # uniform within 1 / sqrt(inputs), PEFT's kaiming_uniform_(a=sqrt(5))
            bound = x.shape[0] ** -0.5
            assert 0.8 * bound < np.abs(x).max() <= bound and (x != other[name]).any()


@pytest.mark.parametrize("base", lora.BASES)
@pytest.mark.parametrize("at", ["attention.q.lora_a", "attention.v.lora_b", "attention.o.lora_a", "attention.o.lora_b",
                                "feedforward.gate.lora_b", "feedforward.down.lora_a", "feedforward.down.lora_b"])  # fmt: skip
def test_gradients_equal_differences_of_the_float64_model(at, base):
    config, graph, params = adapted(base=base)
    name, step = f"layers.0.{at}", 1e-5
    host = {n: np.asarray(x) for n, x in params.items()}
    direction = np.random.default_rng(8).standard_normal(host[name].shape)
    loss = lambda sign: np.sum(
        COTANGENT
        * reference_logits(host | {name: host[name].astype(np.float64) + sign * step * direction}, config)
    )
    want = (loss(+1) - loss(-1)) / (2 * step)
    got = np.sum(np.asarray(gradients_of(base)[name], np.float64) * direction)
    assert abs(want) > 1e-2
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


@functools.cache
def gradients_of(base):
    _, graph, params = adapted(base=base)
    return gradient(graph, params)


def test_only_adapters_have_gradients():
    grads = gradients_of("int8")
    assert set(grads) == {f"layers.{i}.{m}.{x}" for i in (0, 1) for x in ("lora_a", "lora_b") for m in (
        "attention.q", "attention.k", "attention.v", "attention.o", "feedforward.gate", "feedforward.up", "feedforward.down",
    )}  # fmt: skip
    assert {x.dtype for x in grads.values()} == {jnp.dtype("float32")}


@pytest.mark.parametrize("target", ["q", "o", "down"])
def test_with_a_square_identity_for_a_the_gradient_of_b_is_that_of_full_fine_tuning(target):
    """y = x W + s (x A) B: dB = s A^T dW. With A = 1 it is s dW, and one step of B by SGD is a full step of s^2 times it."""
    config, graph, params = adapted(targets=(target,), fresh=True)
    plain = transformer.structure(PLAIN)[0]
    full = gradient(plain, {n: params[n] for n in WHOLE})
    module = "attention" if target in "qkvo" else "feedforward"
    names = [f"layers.{i}.{module}.{target}" for i in (0, 1)]
    inputs = WHOLE[f"{names[0]}.kernel"].shape[0]
    config = dataclasses.replace(PLAIN, lora=LoRA(inputs, 2.0 * inputs, (target,)))
    graph = transformer.structure(config)[0]
    square = {n: params[n] for n in WHOLE}
    for name in names:
        square[f"{name}.lora_a"] = jnp.eye(inputs)
        square[f"{name}.lora_b"] = jnp.zeros((inputs, WHOLE[f"{name}.kernel"].shape[1]))
    grads = gradient(graph, square)
    for name in names:
        helpers.assert_close(grads[f"{name}.lora_b"], 2 * full[f"{name}.kernel"])
        assert not np.asarray(grads[f"{name}.lora_a"]).any(), "B is 0"
    drawn = gradient(*adapted(targets=(target,), fresh=True)[1:])
    for name in names:  # of any A
        want = 2 * np.asarray(params[f"{name}.lora_a"]).T @ np.asarray(full[f"{name}.kernel"])
        helpers.assert_close(drawn[f"{name}.lora_b"], want)
    stepped = square | {f"{n}.lora_b": -1e-3 * grads[f"{n}.lora_b"] for n in names}
    fully = {
        n: params[n] - 4e-3 * full[n] if n.removesuffix(".kernel") in names else params[n] for n in WHOLE
    }
    helpers.assert_close(whole_logits(graph, stepped, TOKENS), whole_logits(plain, fully, TOKENS))


def test_kernels_in_int8_are_within_half_a_step_and_logits_near():
    config, graph, params = adapted(base="int8", fresh=True)
    back = lora.merged(params, config.lora, jnp.float32)
    for name, x in WHOLE.items():
        if name.endswith(".kernel"):
            step = np.abs(x).max(axis=0) / 127
            assert params[name].dtype == jnp.int8
            assert (np.abs(np.asarray(back[name]) - x) <= 0.501 * step).all()
        else:
            np.testing.assert_array_equal(back[name], x)  # tables and norms stay as they are
    exact = np.stack([helpers.reference_logits(WHOLE, PLAIN, row) for row in TOKENS])
    off = np.asarray(whole_logits(graph, params, TOKENS), np.float64) - exact
    assert 0 < np.sqrt(np.mean(off**2)) < 0.02 * np.std(exact), np.sqrt(np.mean(off**2)) / np.std(exact)
    zero, scale = lora.quantised(jnp.zeros((4, 2)))
    assert not zero.any() and (scale == 1).all()


@pytest.mark.parametrize("base", lora.BASES)
def test_in_bfloat16_merged_and_unmerged_differ_by_rounding(base):
    half = dataclasses.replace(PLAIN, param_dtype="bfloat16", compute_dtype="bfloat16")
    config, _, _ = adapted(base=base, config=PLAIN)
    params = adapted(base=base)[2]
    params = {n: x if n.endswith(("lora_a", "lora_b", "scale")) and "norm" not in n or x.dtype == jnp.int8
              else x.astype(jnp.bfloat16) for n, x in params.items()}  # fmt: skip
    graph = transformer.structure(dataclasses.replace(half, lora=config.lora))[0]
    want = reference_logits(params, config)
    unmerged = whole_logits(graph, params, TOKENS)
    merged = whole_logits(
        transformer.structure(half)[0], lora.merged(params, config.lora, jnp.bfloat16), TOKENS
    )
    for got in (unmerged, merged):
        assert np.sqrt(np.mean((np.asarray(got, np.float64) - want) ** 2)) < 0.03 * np.std(want)
    trained, frozen = lora.split(params)
    grads = jax.grad(lambda t: jnp.sum(whole_logits(graph, t | frozen, TOKENS) ** 2))(trained)
    assert {x.dtype for x in grads.values()} == {jnp.dtype("float32")}


def test_layers_as_one_loop_and_recomputed_give_the_same_gradients():
    for base in lora.BASES:
        config = helpers.model_config(tied=False, scan=True, remat=True)
        graph, params = adapted(base=base, config=config)[1:]
        helpers.assert_gradients_close(gradient(graph, params), gradients_of(base))
