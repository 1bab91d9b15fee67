"""Adapters in PEFT's format: PEFT loads them, and its logits on the base are ours."""

import dataclasses
import json

import helpers
import jax.numpy as jnp
import numpy as np
import pytest
from test_lora import PLAIN, adapted

from urlvr_jax.errors import FolderError
from urlvr_jax.models import lora, peft_folder, transformer
from urlvr_jax.scoring.score import whole_logits


def test_names_shapes_and_settings_are_those_of_peft(tmp_path):
    config, _, params = adapted(rank=3, alpha=6.0, targets=("q", "up"))
    assert peft_folder.save(tmp_path / "out", params, config, "some/base") == 8
    from safetensors.numpy import load_file

    found = load_file(tmp_path / "out" / "adapter_model.safetensors")
    stem = "base_model.model.model.layers.1."
    np.testing.assert_array_equal(
        found[f"{stem}self_attn.q_proj.lora_A.weight"], np.asarray(params["layers.1.attention.q.lora_a"]).T
    )
    assert found[f"{stem}self_attn.q_proj.lora_A.weight"].shape == (3, 16)
    assert found[f"{stem}mlp.up_proj.lora_B.weight"].shape == (24, 3)
    written = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (
        written["r"] == 3
        and written["lora_alpha"] == 6.0
        and written["target_modules"] == ["q_proj", "up_proj"]
    )
    assert written["base_model_name_or_path"] == "some/base" and written["task_type"] == "CAUSAL_LM"
    shapes = transformer.structure(config)[1]
    again = peft_folder.load(tmp_path / "out", shapes, config)
    assert set(again) == set(lora.trained(params))
    for name, x in again.items():
        np.testing.assert_array_equal(x, params[name])
    other = dataclasses.replace(config, lora=dataclasses.replace(config.lora, targets=("q",)))
    with pytest.raises(FolderError, match="up_proj.* is unknown"):
        peft_folder.load(tmp_path / "out", transformer.structure(other)[1], other)


def test_what_is_not_finite_is_not_written(tmp_path):
    config, _, params = adapted()
    params["layers.0.attention.q.lora_b"] = jnp.full((3, 32), np.nan)
    with pytest.raises(FolderError, match="lora_b.* not finite"):
        peft_folder.save(tmp_path / "out", params, config, "base")
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("targets", [lora.TARGETS, ("k", "o", "gate")], ids=len)
def test_logits_of_peft_on_the_base_are_ours(tmp_path, targets):
    peft = pytest.importorskip("peft", reason="PEFT is not installed: pip install peft")
    torch = pytest.importorskip("torch")
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config, graph, params = adapted(targets=targets)
    m = PLAIN
    theirs = Qwen3Config(
        vocab_size=m.vocab_size, hidden_size=m.d_model, num_hidden_layers=m.n_layers, num_attention_heads=m.n_heads,
        num_key_value_heads=m.n_kv_heads, head_dim=m.head_dim, intermediate_size=m.d_ff, rope_theta=m.rope_theta,
        rms_norm_eps=m.norm_eps, tie_word_embeddings=m.tied_head,
    )  # fmt: skip
    base = Qwen3ForCausalLM(theirs).float().eval()
    from urlvr_jax.models.names import their_names

    plain = {n: params[n] for n in transformer.structure(PLAIN)[1]}
    state = {
        name: torch.tensor(np.asarray(plain[ours].T if turn else plain[ours]))
        for ours, (name, turn) in their_names(plain, PLAIN).items()
    }
    base.load_state_dict(state)
    peft_folder.save(tmp_path / "out", params, config, "base")
    model = peft.PeftModel.from_pretrained(base, str(tmp_path / "out")).eval()
    tokens = np.random.default_rng(2).integers(0, 13, (2, 9))
    with torch.no_grad():
        got = model(torch.tensor(tokens)).logits.numpy()
    helpers.assert_close(got, whole_logits(graph, params, jnp.asarray(tokens, jnp.int32)))
    with torch.no_grad(), model.disable_adapter():
        assert np.abs(model(torch.tensor(tokens)).logits.numpy() - got).max() > 0.1
