"""An update of adapters: the frozen base is bit for bit as it was, and nothing but adapters has moments, decay or a norm."""

import dataclasses
import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax import config as config_lib
from urlvr_jax.learning import optimizer as optimizer_lib
from urlvr_jax.learning.step import TrainState, UpdateConfig, gradients, update
from urlvr_jax.models import lora, transformer
from urlvr_jax.models.lora import LoRA

CONFIG = helpers.model_config(n_layers=1, lora=LoRA(2, 4.0, ("q", "v", "down"), "int8"))
GRAPH, SHAPES = transformer.structure(CONFIG)
SETTINGS = UpdateConfig(
    temperature=0.7, clip_low=0.2, clip_high=0.3, dual_clip=3.0, aggregation="token-mean", norm_length=7,
    kl_in_loss=None, on_policy=False, clip_norm=0.05,
)  # fmt: skip
BATCH = helpers.random_batch(seed=14)


def fresh_params():
    params = {n: jnp.asarray(x) for n, x in helpers.random_params(lora.plain(CONFIG)).items()}
    for name in [n for n in SHAPES if n.endswith(f".{lora.SCALE}")]:
        kernel = name.replace(lora.SCALE, "kernel")
        params[kernel], params[name] = lora.quantised(params[kernel])
    return params | lora.initialise(SHAPES, 0)


def optimizer(decay=0.0):
    settings = config_lib.default().optim
    settings.lr, settings.weight_decay = 1e-2, decay
    return optimizer_lib.optimizer(settings, 10)


@functools.cache
def compiled(decay=0.0):
    return jax.jit(functools.partial(update, GRAPH, optimizer(decay), SETTINGS))


def fresh_state():
    params = fresh_params()
    return TrainState(params, optimizer().init(lora.trained(params)), jnp.int32(0))


def test_updates_move_adapters_alone_and_the_base_is_bit_for_bit_as_it_was():
    state = before = fresh_state()
    for _ in range(3):
        state, metrics = compiled()(state, BATCH, *helpers.packed_layouts(BATCH, 4, 2))
        assert float(metrics["actor/skipped_updates"]) == 0
    adapters = set(lora.trained(before.params))
    assert adapters == {f"layers.0.{t}.{x}" for t in ("attention.q", "attention.v", "feedforward.down")
                        for x in ("lora_a", "lora_b")}  # fmt: skip
    assert set(state.params) == set(before.params)
    for name, x in before.params.items():
        same = np.asarray(state.params[name]).tobytes() == np.asarray(x).tobytes()
        assert same != (name in adapters), name
    for moments in (state.opt_state[0].mu, state.opt_state[0].nu):
        assert set(moments) == adapters
        assert {x.dtype for x in moments.values()} == {jnp.dtype("float32")}


def test_the_norm_is_over_adapters_and_the_step_is_adamws_on_the_clipped_gradient():
    layouts = helpers.plain_layouts(BATCH)
    before = fresh_state()
    grads = jax.jit(functools.partial(gradients, GRAPH, config=SETTINGS))(before.params, BATCH, *layouts)[0]
    norm = helpers.global_norm(grads)
    assert set(grads) == set(lora.trained(before.params)) and norm > 0.05
    after, metrics = compiled(0.1)(before, BATCH, *layouts)
    np.testing.assert_allclose(metrics["actor/grad_norm"], norm, rtol=1e-5)
    for name, grad in grads.items():
        g, x = np.asarray(grad, np.float64) * 0.05 / norm, np.asarray(before.params[name], np.float64)
        want = x - 1e-2 * (g / (np.abs(g) + 1e-8) + 0.1 * x)
        clear = (np.abs(g) > 1e-5) | (g == 0)
        assert clear.any()
        np.testing.assert_allclose(np.asarray(after.params[name])[clear], want[clear], atol=2e-5)
        assert name.endswith("lora_b") or not np.asarray(grad).any(), "while B is 0 only B has a gradient"


@pytest.mark.parametrize("micro_rows", [16, 4])
def test_an_update_that_is_not_finite_changes_nothing(micro_rows):
    layouts = helpers.packed_layouts(BATCH, micro_rows, 2)
    state, _ = compiled()(fresh_state(), BATCH, *layouts)
    bad = dataclasses.replace(BATCH, advantages=np.where(BATCH.advantages > 1, np.nan, BATCH.advantages))
    after, metrics = compiled()(state, bad, *layouts)
    assert float(metrics["actor/skipped_updates"]) == 1
    jax.tree.map(np.testing.assert_array_equal, after, state)


def test_neither_packing_nor_the_number_of_micro_batches_changes_the_gradient():
    params = fresh_params()
    rng = np.random.default_rng(0)
    params |= {
        n: x + 0.1 * rng.standard_normal(x.shape).astype(np.float32)
        for n, x in lora.trained(params).items()
    }
    run = jax.jit(functools.partial(gradients, GRAPH, config=SETTINGS))
    whole = run(params, BATCH, *helpers.plain_layouts(BATCH))
    for rows, prompts in ((4, 0), (4, 3)):
        parts = run(params, BATCH, *helpers.packed_layouts(BATCH, rows, prompts))
        helpers.assert_gradients_close(parts[0], whole[0])
        np.testing.assert_allclose(parts[1], whole[1], rtol=2e-6, atol=1e-6)
