"""Model folders: `transformers` and this package read each other's; what cannot be used is named."""

import dataclasses
import functools
import json
import re
import shutil

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax.errors import FolderError
from urlvr_jax.lab import shipped
from urlvr_jax.models import folders as folders_lib
from urlvr_jax.models import transformer
from urlvr_jax.runtime import hosts, opening, sharding
from urlvr_jax.scoring import score, token_statistics

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
    prompt = transformer.prompt_segment(transformer.prefill(model, wide), lengths)
    inputs = jnp.concatenate([PROMPT[-1:], RESPONSE[:-1]])[None]
    positions = len(PROMPT) - 1 + jnp.arange(len(RESPONSE))[None]
    hidden, _ = model(inputs, positions, context=(prompt,))
    logits = token_statistics.logits_at(hidden[0], transformer.head_table(params), 1.0)
    return logits, score.score(graph, params, wide, lengths, RESPONSE[None], 1.0)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_equal_those_of_transformers(folders, tied):
    config = folders_lib.model_config(folders[tied])
    assert config == helpers.model_config(tied=tied, rope_theta=12345.0, norm_eps=1e-3, max_positions=64)
    params = folders_lib.load(folders[tied], config)
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
    config = folders_lib.model_config(folders[tied])
    params = helpers.random_params(config, seed=5)
    out = tmp_path / "out"
    folders_lib.save(out, params, config, folders[tied], NoTokenizer())
    assert (out / "tokenizer.txt").is_file()
    assert folders_lib.model_config(out) == config
    again = folders_lib.load(out, config)
    assert set(again) == set(params)
    for name, x in params.items():
        np.testing.assert_array_equal(again[name], x, err_msg=name)
    want = helpers.reference_logits(params, config, np.concatenate([PROMPT, RESPONSE]))
    np.testing.assert_allclose(torch_logits(out), want, atol=1e-4)


def test_weights_in_several_files_and_in_bfloat16_load(folders, tmp_path):
    model = transformers.Qwen3ForCausalLM.from_pretrained(folders[False], dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "m", max_shard_size="4KB")
    assert len(list((tmp_path / "m").glob("*.safetensors"))) > 1
    config = folders_lib.model_config(tmp_path / "m")
    params = folders_lib.load(tmp_path / "m", config)
    whole = folders_lib.load(folders[False], config)
    for name, x in whole.items():
        assert params[name].dtype == np.float32
        np.testing.assert_array_equal(params[name], x.astype(jnp.bfloat16).astype(np.float32))
    half = folders_lib.load(folders[False], dataclasses.replace(config, param_dtype="bfloat16"))
    assert {x.dtype for x in half.values()} == {jnp.dtype("bfloat16")}
    next((tmp_path / "m").glob("model-00001*")).unlink()
    with pytest.raises(FolderError, match="model-00001"):
        folders_lib.load(tmp_path / "m", config)


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
    config = folders_lib.model_config(folders[False])
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
        with pytest.raises(FolderError) as error:
            folders_lib.load(path, config)
        assert named in str(error.value)


def test_a_tensor_that_is_there_twice_is_named(folders, tmp_path):
    path = tmp_path / "twice"
    shutil.copytree(folders[False], path)
    shutil.copy(path / "model.safetensors", path / "again.safetensors")
    index = {"weight_map": {"a": "model.safetensors", "b": "again.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FolderError, match=r"'(model|lm_head)\..*' is there twice"):
        folders_lib.load(path, folders_lib.model_config(path))


def test_a_tied_model_may_carry_a_copy_of_its_head(folders, tmp_path):
    config = folders_lib.model_config(folders[True])
    copy = lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].copy()})
    params = folders_lib.load(rewritten(folders, tmp_path, copy, tied=True), config)
    assert "head" not in params
    whole = folders_lib.load(folders[True], config)
    jax.tree.map(np.testing.assert_array_equal, params, whole)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file_is_named(folders, tmp_path, keep):
    path = tmp_path / "short"
    shutil.copytree(folders[False], path)
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[:keep])
    with pytest.raises(FolderError, match=r"model\.safetensors"):
        folders_lib.load(path, folders_lib.model_config(path))


def test_an_absent_file_or_configuration_is_named(folders, tmp_path):
    path = tmp_path / "empty"
    path.mkdir()
    with pytest.raises(FolderError, match=r"no config\.json"):
        folders_lib.model_config(path)
    with pytest.raises(FolderError, match=r"'model\.safetensors' is missing"):
        folders_lib.load(path, helpers.model_config())


UNSUPPORTED = {  # what the message must name -> the change of a Qwen3 configuration
    "gemma": {"model_type": "gemma"},
    "attention_chunk_size": {"attention_chunk_size": 8},
    "final_logit_softcapping": {"final_logit_softcapping": 30.0},
    "residual_multiplier": {"residual_multiplier": 0.2},
    "quantization_config": {"quantization_config": {"quant_method": "fp8"}},
    "auto_map": {"auto_map": {"AutoModelForCausalLM": "mine.Model"}},
    "Qwen3ForSequenceClassification": {"architectures": ["Qwen3ForSequenceClassification"]},
    "hidden_act": {"hidden_act": "gelu"},
    "rope_type = 'dynamic'": {
        "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    },
    "partial_rotary_factor": {"partial_rotary_factor": 0.5},
    "partial_rotary_factor = 0.25": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}
    },
    "low_freq_factor": {"rope_parameters": {"rope_type": "llama3", "factor": 2.0, "rope_theta": 1e4}},
    "layer_types": {"layer_types": ["full_attention", "chunked_attention"]},
}


@pytest.mark.parametrize("named", UNSUPPORTED)
def test_a_configuration_that_is_not_supported_is_named(folders, tmp_path, named):
    theirs = json.loads((folders[False] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(theirs | UNSUPPORTED[named]))
    with pytest.raises(FolderError, match=re.escape(named)):
        folders_lib.model_config(tmp_path)


def test_a_window_or_a_context_shorter_than_the_run_is_an_error(folders, tmp_path):
    theirs = json.loads((folders[False] / "config.json").read_text())
    theirs.pop("layer_types")
    window = {"use_sliding_window": True, "sliding_window": 40}
    for last, sees in ((2, 0), (1, 40)):  # layers from max_window_layers on have the window
        (tmp_path / "config.json").write_text(json.dumps(theirs | window | {"max_window_layers": last}))
        assert folders_lib.model_config(tmp_path).window == sees
    config = folders_lib.model_config(tmp_path)
    folders_lib.check_length(tmp_path, config, 40)
    with pytest.raises(FolderError, match="sliding_window = 40"):
        folders_lib.check_length(tmp_path, config, 41)
    with pytest.raises(FolderError, match="max_position_embeddings = 64"):
        folders_lib.check_length(tmp_path, dataclasses.replace(config, window=0), 65)


def test_a_model_is_a_folder_or_a_name_on_the_hub(tmp_path, monkeypatch):
    """No network here, as HF_HUB_OFFLINE=1 says: a folder has to be given."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert folders_lib.resolve(str(tmp_path)) == tmp_path
    with pytest.raises(FolderError, match=r"'no/such/folder' does not exist"):
        folders_lib.resolve("no/such/folder")
    with pytest.raises(FolderError, match=r"some-owner/some-model.* set model\.path to that folder"):
        folders_lib.resolve("some-owner/some-model")
    asked = {}
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda repo, **k: asked.update(k, repo=repo) or "/x"
    )
    assert str(folders_lib.resolve("some-owner/some-model@v1")) == "/x"
    assert asked["repo"] == "some-owner/some-model" and asked["revision"] == "v1"
    assert "*.safetensors" in asked["allow_patterns"] and "*.bin" not in asked["allow_patterns"]


def test_weights_in_pickles_are_refused(folders, tmp_path):
    shutil.copy(folders[False] / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(FolderError, match=r"pickles .*pytorch_model\.bin.*save_pretrained"):
        folders_lib.load(tmp_path, folders_lib.model_config(tmp_path))


def test_weights_of_another_type_are_refused(folders, tmp_path):
    ints = lambda t: t.update({"model.norm.weight": np.ones(16, np.int8)})
    path = rewritten(folders, tmp_path, ints)
    with pytest.raises(FolderError, match=r"model\.norm\.weight.* I8"):
        folders_lib.load(path, folders_lib.model_config(path))


def test_buffers_of_old_files_are_passed_over(folders, tmp_path):
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32)}
    path = rewritten(folders, tmp_path, lambda t: t.update(buffer))
    whole = folders_lib.load(folders[False], folders_lib.model_config(path))
    jax.tree.map(
        np.testing.assert_array_equal, folders_lib.load(path, folders_lib.model_config(path)), whole
    )


def test_weights_that_cannot_be_used_are_told_when_a_run_is_opened(tmp_path):
    path = tmp_path / "m"
    shutil.copytree(shipped.base("lab:plain"), path)
    c = helpers.experiment(model__path=str(path), data__prompt_buckets=(16,), eval__every=0)
    c.mesh.data = jax.device_count()
    assert opening.open_run(c).model_path == path
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[:-4])
    with pytest.raises(FolderError, match=r"model\.safetensors"):
        opening.open_run(c)


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path):
    source = shipped.base("lab:plain")
    path = tmp_path / "m"
    shutil.copytree(source, path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"vocab_size": 19}))
    c = helpers.experiment(model__path=str(path))
    with pytest.raises(FolderError, match="ids up to 19.* vocab_size is 19"):
        opening.open_model(c)
    c = helpers.experiment(model__path=str(path), rollout__max_new_tokens=200)
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FolderError, match="max_position_embeddings = 128"):
        opening.open_model(c)
    with pytest.raises(FolderError, match="'known:Qwen2.5-7B' has neither weights nor a tokenizer"):
        opening.open_model(helpers.experiment(model__path="known:Qwen2.5-7B"))


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"model_type": "no-such-architecture"}', "{}"], ids=["cut", "list", "new", "bare"]
)
def test_a_broken_configuration_is_a_folder_error(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(FolderError) as error:
        folders_lib.model_config(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_parameters_that_are_not_finite_are_not_exported(folders, tmp_path):
    params = helpers.random_params(folders_lib.model_config(folders[True]))
    params["layers.1.attention.o.kernel"][2, 3] = np.nan
    with pytest.raises(FolderError, match=r"layers\.1\.attention\.o\.kernel"):
        folders_lib.save(
            tmp_path / "out", params, folders_lib.model_config(folders[True]), folders[True], NoTokenizer()
        )
    assert not list(tmp_path.iterdir()), "the message says that nothing was exported"


KINDS = {
    "qwen2": dict(attention_bias="qkv", qk_norm="none"),
    "qwen3": dict(qk_norm="head"),
    "llama": dict(attention_bias="qkvo", qk_norm="none", mlp_bias=True),
    "olmo2": dict(qk_norm="whole", norm_after=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_one_to_one_and_every_parameter_has_a_sharding_rule(kind):
    config = helpers.model_config(tied=False, n_layers=12, vocab_size=16, **KINDS[kind])
    shapes = transformer.structure(config)[1]
    names = folders_lib.their_names(shapes, config)
    assert set(names) == set(shapes) and len({theirs for theirs, _ in names.values()}) == len(shapes)
    for ours, (_, transpose) in names.items():
        assert transpose == (len(shapes[ours].shape) == 2 and ours not in ("embed", "head"))
    layout = sharding.training_layout(sharding.make_mesh(2, 2, 2), shapes)
    for name, leaf in shapes.items():  # a product's two operands are split alike
        if name.endswith(".bias"):
            kernel = layout[name.replace(".bias", ".kernel")].spec
            assert (layout[name].spec or (None,))[0] == (kernel[1] if kernel[1] == "tensor" else None)
        assert len(layout[name].spec) <= leaf.ndim
    with pytest.raises(ValueError, match="v_norm"):
        folders_lib.their_names(["layers.0.attention.v_norm.scale"], config)


def test_each_device_reads_its_own_slices_and_nothing_else(folders, monkeypatch):
    config = folders_lib.model_config(folders[False])
    whole = folders_lib.load(folders[False], config)
    shapes = transformer.structure(config)[1]
    mesh = sharding.make_mesh(2, 2, 2)
    tables = ("embed", "head")  # whose 13 words do not divide
    layout = sharding.training_layout(mesh, {n: s for n, s in shapes.items() if n not in tables})
    layout |= {n: sharding.replicated(mesh) for n in tables}
    read, sizes = folders_lib._Stored.read, {}

    def counted(self, index, dtype):
        out = read(self, index, dtype)
        sizes.setdefault(id(self), []).append(out.size)
        return out

    monkeypatch.setattr(folders_lib._Stored, "read", counted)
    placed = folders_lib.load(folders[False], config, layout)
    for name, value in whole.items():
        np.testing.assert_array_equal(placed[name], value, err_msg=name)
        assert placed[name].sharding == layout[name]
    name = "layers.1.feedforward.down.kernel"
    assert placed[name].addressable_shards[0].data.size * 4 == whole[name].size
    assert whole[name].size not in {n for of in sizes.values() for n in of}, "no kernel was read whole"


def test_an_export_in_several_files_is_read_by_both(folders, tmp_path):
    """bfloat16 parameters: the configuration says what the files hold, in the source's spelling."""
    source = tmp_path / "source"
    shutil.copytree(folders[False], source)
    written = json.loads((source / "config.json").read_text())
    written["torch_dtype"] = written.pop("dtype")
    (source / "config.json").write_text(json.dumps(written))
    (source / "generation_config.json").write_text('{"eos_token_id": 7}')
    config = folders_lib.model_config(source, param_dtype="bfloat16")
    params = folders_lib.load(source, config)
    out = tmp_path / "deep" / "out"
    folders_lib.save(out, params, config, source, NoTokenizer(), shard_bytes=3000)
    files = sorted(p.name for p in out.glob("*.safetensors"))
    assert len(files) > 2 and files[0].endswith(f"-of-{len(files):05d}.safetensors")
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert "dtype" not in json.loads((out / "config.json").read_text())
    assert json.loads((out / "generation_config.json").read_text()) == {"eos_token_id": 7}
    again = folders_lib.load(out, folders_lib.model_config(out, param_dtype="bfloat16"))
    jax.tree.map(np.testing.assert_array_equal, again, params)
    model = transformers.Qwen3ForCausalLM.from_pretrained(out, dtype="auto")
    assert model.dtype == torch.bfloat16
    want = params["layers.1.attention.q.kernel"].T.astype(np.float32)
    np.testing.assert_array_equal(
        model.model.layers[1].self_attn.q_proj.weight.detach().float().numpy(), want
    )
    with pytest.raises(FolderError, match="is not empty"):
        folders_lib.save(out, params, config, source, NoTokenizer())
    (out / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(FolderError, match="index"):
        folders_lib.load(out, config)


def test_a_process_that_does_not_write_is_not_stopped_by_what_the_writer_has_finished(
    tmp_path, monkeypatch
):
    source = shipped.base("plain")
    config = folders_lib.model_config(source)
    params = folders_lib.load(source, config)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    with pytest.raises(FolderError, match="exists and is not empty"):
        folders_lib.save(tmp_path / "out", params, config, source, None)
    monkeypatch.setattr(hosts, "is_writer", lambda: False)
    folders_lib.save(tmp_path / "out", params, config, source, None)
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "config.json"]
