"""No code of a model folder is run, whatever its files say and whoever answers `y`."""

import io
import itertools
import json
import shutil

import pytest

from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.errors import FolderError
from urlvr_jax.lab import shipped
from urlvr_jax.models import folders

EVIL = """
import pathlib
(pathlib.Path(__file__).parent / "ran").write_text("")
from transformers import PretrainedConfig, PreTrainedTokenizerFast
class Config(PretrainedConfig):
    model_type = "evil"
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""
AUTO_MAPS = {
    "config": {"AutoConfig": "evil.Config"},
    "model": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Config"},
    "another": {"AutoConfig": "owner/name--evil.Config"},
    "tokenizer": {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]},
    "list": ["evil.Tokenizer", None],
}


def folder(path, model_type, auto_map, tokenizer_json):
    """A laboratory's base that brings code of its own, named wherever code is looked for."""
    shutil.copytree(shipped.base("lab:untrained"), path)
    (path / "evil.py").write_text(EVIL)
    change = lambda name, **keys: (path / name).write_text(
        json.dumps((json.loads((path / name).read_text()) if (path / name).is_file() else {}) | keys)
    )
    change("config.json", model_type=model_type, auto_map=auto_map)
    change("tokenizer_config.json", auto_map=auto_map, tokenizer_class="EvilTokenizer")
    change("generation_config.json", custom_generate="evil", auto_map=auto_map)
    change("processor_config.json", auto_map=auto_map, processor_class="Evil")
    change("preprocessor_config.json", auto_map=auto_map, processor_class="Evil")
    if not tokenizer_json:
        (path / "tokenizer.json").unlink()
    return path


CASES = list(itertools.product(("evil", "qwen3", "llama"), AUTO_MAPS, (True, False)))


@pytest.mark.parametrize(("model_type", "auto_map", "tokenizer_json"), CASES)
def test_a_folders_code_is_never_run(tmp_path, monkeypatch, model_type, auto_map, tokenizer_json):
    path = folder(tmp_path / "m", model_type, AUTO_MAPS[auto_map], tokenizer_json)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 100))
    with pytest.raises(FolderError, match="model_type|auto_map"):
        folders.model_config(path)
    if tokenizer_json:
        Tokenizer(path)
    else:
        with pytest.raises(FolderError):
            Tokenizer(path)
    assert not (path / "ran").exists()


@pytest.mark.parametrize("verb", [["generate", "--model"], ["doctor"], ["--dry_run"]])
def test_no_verb_asks_whether_to_run_it(launcher, tmp_path, verb):
    path = folder(tmp_path / "m", "evil", AUTO_MAPS["config"], True)
    named = [str(path)] if verb[-1] == "--model" else ["--config.model.path", str(path)]
    call = launcher.run([*verb, *named], stdin="y\n" * 100)
    assert call.status, call.out
    assert "model_type" in call.out + call.err and not (path / "ran").exists()


@pytest.mark.parametrize("name", ["x" * 300, "../model.safetensors", "/etc/passwd", 3, None, "a/b", "."])
def test_an_index_names_files_beside_it_alone(tmp_path, name):
    path = shutil.copytree(shipped.base("lab:plain"), tmp_path / "m")
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"t": name}}))
    with pytest.raises(FolderError, match="no name of a file beside it|is missing"):
        folders.check_weights(path, folders.model_config(path))


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": 10**30}, {"vocab_size": -1}, {"hidden_size": 0}, {"head_dim": 1.5}, {"rms_norm_eps": "1"}, {"rms_norm_eps": 10**400},
        {"num_attention_heads": True}, {"rope_theta": float("1e300")}, {"rope_parameters": {"rope_type": {}}},
        {"rope_parameters": {"rope_type": "yarn", "factor": "2"}}, {"rope_scaling": 3}, {"architectures": [3]},
    ],
)  # fmt: skip
def test_numbers_of_a_configuration_out_of_range_are_refused_before_anything_is_made(tmp_path, change):
    path = shutil.copytree(shipped.base("lab:plain"), tmp_path / "m")
    written = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(written | change))
    with pytest.raises(FolderError):
        folders.model_config(path)
