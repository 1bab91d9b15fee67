"""bfloat16 weights with bfloat16 compute, from the command line. Compute alone: test_sample.py."""

from launcher import tiny
from safetensors import safe_open

from urlvr_jax.lab import shipped
from urlvr_jax.models import folders


def test_the_laboratory_trains_in_bfloat16_and_exports_what_it_trained(launcher, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    how = {"model.param_dtype": "bfloat16", "model.compute_dtype": "bfloat16", "steps": 2, "eval.every": 0}
    call = launcher.run(tiny(run, how))
    assert call.status == 0, call.err
    call = launcher.run(["export", "--model", str(run), "--out", str(out)])
    assert call.status == 0, call.err
    assert "the logits of 64 tokens" in call.out
    with safe_open(out / "model.safetensors", framework="numpy") as tensors:
        assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"BF16"}  # noqa: SIM118
    assert '"bfloat16"' in (out / "config.json").read_text()
    base = folders.load(shipped.base("lab:plain"), folders.model_config(shipped.base("lab:plain")))
    for name, learnt in folders.load(out, folders.model_config(out)).items():
        assert (learnt != base[name].astype(learnt.dtype)).any(), f"{name} is still the base's"
