"""bfloat16: weights, compute, or both."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from launcher import launcher_fixture, tiny  # noqa: F401

from urlvr_jax import config, optim
from urlvr_jax.models import hf


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_the_laboratory_trains_in_bfloat16_and_exports_what_it_trained(launcher, tmp_path, weights):
    run, out = tmp_path / "run", tmp_path / "out"
    how = {"model.param_dtype": weights, "model.compute_dtype": "bfloat16", "steps": 2, "eval.every": 0}
    call = launcher.run(tiny(run, how))
    assert call.status == 0, call.err
    call = launcher.run(["export", "--model", str(run), "--out", str(out)])
    assert call.status == 0, call.err
    assert "the logits of 64 tokens" in call.out
    from safetensors import safe_open

    with safe_open(out / "model.safetensors", framework="numpy") as tensors:
        stored = {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
    assert stored == {{"float32": "F32", "bfloat16": "BF16"}[weights]}
    assert weights in (out / "config.json").read_text()
    assert hf.load(out, hf.model_config(out))


def test_moments_are_float32_and_the_second_one_shrinks_under_bfloat16_weights():
    adam = optim.optimizer(config.default().optim, 10)
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    state = adam.init(params)
    assert {x.dtype for x in jax.tree.leaves(state) if x.ndim} == {jnp.dtype("float32")}
    for size in (1.0, 0.0, 0.0):
        changes, state = adam.update({"w": jnp.full(3, size, jnp.bfloat16)}, state, params)
    second = state[0].nu["w"]
    np.testing.assert_allclose(second, 1e-3 * 0.999**2, rtol=1e-5)
    assert changes["w"].dtype == jnp.float32
    assert optax.apply_updates(params, changes)["w"].dtype == jnp.bfloat16
