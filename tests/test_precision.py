"""bfloat16: weights, compute, or both."""

import pytest
from launcher import tiny

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
