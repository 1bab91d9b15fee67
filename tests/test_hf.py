"""Model folders: `transformers` and this package read each other's, and say the same about a text."""

import dataclasses
import functools
import json
import shutil

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax import score
from urlvr_jax.models import hf, transformer

torch = pytest.importorskip("torch")
import transformers  # noqa: E402

PROMPT = np.array([3, 11, 7, 0, 9], np.int32)
RESPONSE = np.array([4, 4, 12, 1, 8, 2, 6], np.int32)


class NoTokenizer:
    def save(self, path):
        (path / "tokenizer.txt").write_text("saved")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{tied: a folder that transformers wrote}; every tensor random, norms included."""
    out = {}
    for tied in (True, False):
        config = transformers.Qwen3Config(
            vocab_size=13,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
            rope_parameters={"rope_type": "default", "rope_theta": 12345.0},
            rms_norm_eps=1e-3,
            tie_word_embeddings=tied,
            dtype="float32",
        )
        torch.manual_seed(tied)
        model = transformers.Qwen3ForCausalLM(config).to(torch.float32)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(torch.randn_like(p) * 0.4 + ("norm" in name))
        out[tied] = tmp_path_factory.mktemp("hf") / "model"
        model.save_pretrained(out[tied])
    return out


def torch_logits(folder) -> np.ndarray:
    model = transformers.Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        tokens = torch.tensor(np.concatenate([PROMPT, RESPONSE])[None].astype(np.int64))
        return model(tokens).logits[0].numpy()


@functools.partial(jax.jit, static_argnums=0)
def our_outputs(graph, params):
    """Logits that predict each response token, by the path the scorer takes, and its statistics."""
    model = transformer.bind(graph, params)
    wide = jnp.pad(PROMPT, (0, 3))[None]
    lengths = jnp.array([len(PROMPT)])
    prompt = score.prompt_segment(score.prefill(model, wide), lengths)
    inputs = jnp.concatenate([PROMPT[-1:], RESPONSE[:-1]])[None]
    positions = len(PROMPT) - 1 + jnp.arange(len(RESPONSE))[None]
    hidden, _ = model(inputs, positions, context=(prompt,))
    logits = score.logits_at(hidden[0], transformer.head_table(params), 1.0)
    return logits, score.score(graph, params, wide, lengths, RESPONSE[None], 1.0)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_equal_those_of_transformers(folders, tied):
    config = hf.model_config(folders[tied])
    assert config == helpers.model_config(tied=tied, rope_theta=12345.0, norm_eps=1e-3)
    params = hf.load(folders[tied], config)
    assert all(x.dtype == np.float32 and isinstance(x, np.ndarray) for x in params.values())
    logits, stats = our_outputs(transformer.structure(config)[0], params)
    theirs = torch_logits(folders[tied])[len(PROMPT) - 1 : -1]
    assert theirs.std() > 0.5
    np.testing.assert_allclose(logits, theirs, atol=1e-4)
    for t, (z, token) in enumerate(zip(theirs, RESPONSE, strict=True)):
        for name, want in helpers.reference_statistics(z, token).items():
            np.testing.assert_allclose(stats[name][0, t], want, atol=1e-4, err_msg=name)
    # The reference policy of these tests is judged by the same standard.
    float64 = helpers.reference_logits(params, config, np.concatenate([PROMPT, RESPONSE]))
    np.testing.assert_allclose(float64[len(PROMPT) - 1 : -1], theirs, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_saved_is_loaded_bit_by_bit_and_by_transformers_too(folders, tied, tmp_path):
    config = hf.model_config(folders[tied])
    params = helpers.random_params(config, seed=5)
    out = tmp_path / "out"
    hf.save(out, params, folders[tied], NoTokenizer())
    assert (out / "tokenizer.txt").is_file()
    assert hf.model_config(out) == config
    again = hf.load(out, config)
    assert set(again) == set(params)
    for name, x in params.items():
        np.testing.assert_array_equal(again[name], x, err_msg=name)
    want = helpers.reference_logits(params, config, np.concatenate([PROMPT, RESPONSE]))
    np.testing.assert_allclose(torch_logits(out), want, atol=1e-4)


def test_weights_in_several_files_and_in_bfloat16_load(folders, tmp_path):
    model = transformers.Qwen3ForCausalLM.from_pretrained(folders[False], dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "m", max_shard_size="4KB")
    assert len(list((tmp_path / "m").glob("*.safetensors"))) > 1
    config = hf.model_config(tmp_path / "m")
    params = hf.load(tmp_path / "m", config)
    whole = hf.load(folders[False], config)
    for name, x in whole.items():
        assert params[name].dtype == np.float32
        np.testing.assert_array_equal(params[name], x.astype(jnp.bfloat16).astype(np.float32))
    half = hf.load(folders[False], dataclasses.replace(config, param_dtype="bfloat16"))
    assert {x.dtype for x in half.values()} == {jnp.dtype("bfloat16")}
    next((tmp_path / "m").glob("model-00001*")).unlink()
    with pytest.raises(hf.FolderError, match="model-00001"):
        hf.load(tmp_path / "m", config)


def rewritten(folders, tmp_path, change, tied=False):
    """A copy of a folder whose tensors went through `change`."""
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "changed"
    shutil.copytree(folders[tied], path)
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")
    return path


def test_a_tensor_that_is_unknown_missing_or_misshapen_is_named(folders, tmp_path):
    config = hf.model_config(folders[False])
    cases = {
        "model.layers.0.self_attn.q_proj.bias": lambda t: t.update(
            {"model.layers.0.self_attn.q_proj.bias": np.zeros(32, np.float32)}
        ),
        "model.layers.2.input_layernorm.weight": lambda t: t.update(
            {"model.layers.2.input_layernorm.weight": np.zeros(16, np.float32)}
        ),
        "layers.1.attention.k_norm.scale": lambda t: t.pop("model.layers.1.self_attn.k_norm.weight"),
        "'head'": lambda t: t.pop("lm_head.weight"),
        "model.layers.0.mlp.down_proj.weight": lambda t: t.update(
            {"model.layers.0.mlp.down_proj.weight": np.zeros((24, 16), np.float32)}
        ),
    }
    for i, (named, change) in enumerate(cases.items()):
        path = rewritten(folders, tmp_path / str(i), change)
        with pytest.raises(hf.FolderError) as error:
            hf.load(path, config)
        assert named in str(error.value)


def test_a_tensor_that_is_there_twice_is_named(folders, tmp_path):
    path = tmp_path / "twice"
    shutil.copytree(folders[False], path)
    shutil.copy(path / "model.safetensors", path / "again.safetensors")
    index = {"weight_map": {"a": "model.safetensors", "b": "again.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(hf.FolderError, match=r"'(model|lm_head)\..*' is there twice"):
        hf.load(path, hf.model_config(path))


def test_a_tied_model_may_carry_a_copy_of_its_head(folders, tmp_path):
    config = hf.model_config(folders[True])
    copy = lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].copy()})
    params = hf.load(rewritten(folders, tmp_path, copy, tied=True), config)
    assert "head" not in params
    whole = hf.load(folders[True], config)
    jax.tree.map(np.testing.assert_array_equal, params, whole)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file_is_named(folders, tmp_path, keep):
    path = tmp_path / "short"
    shutil.copytree(folders[False], path)
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[:keep])
    with pytest.raises(hf.FolderError, match=r"model\.safetensors"):
        hf.load(path, hf.model_config(path))


def test_an_absent_file_or_configuration_is_named(folders, tmp_path):
    path = tmp_path / "empty"
    path.mkdir()
    with pytest.raises(hf.FolderError, match=r"no config\.json"):
        hf.model_config(path)
    with pytest.raises(hf.FolderError, match=r"'model\.safetensors' is missing"):
        hf.load(path, helpers.model_config())


def test_a_configuration_that_is_not_supported_is_named(folders, tmp_path):
    transformers.LlamaConfig(
        vocab_size=13, hidden_size=16, num_hidden_layers=1, num_attention_heads=4
    ).save_pretrained(tmp_path / "llama")
    with pytest.raises(hf.FolderError, match="llama"):
        hf.model_config(tmp_path / "llama")
    theirs = json.loads((folders[False] / "config.json").read_text())
    for i, (named, change) in enumerate(
        {
            "attention_bias": {"attention_bias": True},
            "hidden_act": {"hidden_act": "gelu"},
            "use_sliding_window": {"use_sliding_window": True, "sliding_window": 8},
            "rope_type": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        }.items()
    ):
        path = tmp_path / str(i)
        path.mkdir()
        (path / "config.json").write_text(json.dumps(theirs | change))
        with pytest.raises(hf.FolderError, match=named):
            hf.model_config(path)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"model_type": "no-such-architecture"}', "{}"], ids=["cut", "list", "new", "bare"]
)
def test_a_broken_configuration_is_a_folder_error(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(hf.FolderError) as error:
        hf.model_config(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_parameters_that_are_not_finite_are_not_exported(folders, tmp_path):
    params = helpers.random_params(hf.model_config(folders[True]))
    params["layers.1.attention.o.kernel"][2, 3] = np.nan
    with pytest.raises(hf.FolderError, match=r"layers\.1\.attention\.o\.kernel"):
        hf.save(tmp_path / "out", params, folders[True], NoTokenizer())
    assert not (tmp_path / "out").exists(), "the message says that nothing was exported"


def test_the_name_table_is_one_to_one_in_both_directions():
    params = helpers.random_params(helpers.model_config(tied=False, n_layers=12))
    back = hf.their_names(params)
    assert set(back) == set(params)
    assert len({theirs for theirs, _ in back.values()}) == len(params)
    for ours, (theirs, transpose) in back.items():
        assert hf.our_name(theirs) == (ours, transpose)
        assert transpose == ours.endswith("kernel")
    assert hf.our_name("model.layers.0.self_attn.v_norm.weight") is None
    assert hf.our_name("model.embed_tokens.weight.extra") is None
