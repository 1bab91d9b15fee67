"""Every architecture against `transformers`, in PyTorch: logits, greedy decoding, bfloat16.

Checkpoints are written by `transformers` with every tensor random, norms and biases too, and with the
context before stretching (or a window that no layer uses) shorter than what is tested.
"""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax.models import folders, transformer
from urlvr_jax.rollout import sample
from urlvr_jax.runtime import sharding
from urlvr_jax.scoring import score, token_statistics

torch = pytest.importorskip("torch")
import transformers  # noqa: E402

VOCAB, LENGTH, SPLIT = 54, 512, 200  # of a sequence the first SPLIT tokens are the prompt
SIZE = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, rms_norm_eps=1e-3, max_position_embeddings=1024, dtype="float32",
    bos_token_id=None, pad_token_id=None, eos_token_id=None,
)  # fmt: skip
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
YARN = dict(factor=4.0, original_max_position_embeddings=64)


def rope(kind="default", **options):
    return {"rope_type": kind, "rope_theta": 1234.0, **options}


CASES = {
    "qwen2, a window no layer uses": transformers.Qwen2Config(
        **SIZE, rope_parameters=rope(), tie_word_embeddings=True, sliding_window=16, max_window_layers=0
    ),
    "qwen2, yarn": transformers.Qwen2Config(
        **SIZE, rope_parameters=rope("yarn", **YARN, beta_fast=16.0, beta_slow=2.0)
    ),
    "qwen3": transformers.Qwen3Config(**SIZE, rope_parameters=rope(), head_dim=16),
    "qwen3, biases, yarn with mscale": transformers.Qwen3Config(
        **SIZE, head_dim=16, attention_bias=True, tie_word_embeddings=True,
        rope_parameters=rope("yarn", **YARN, mscale=1.5, mscale_all_dim=0.7, truncate=False),
    ),
    "llama, llama3": transformers.LlamaConfig(**SIZE, rope_parameters=rope("llama3", **LLAMA3)),
    "llama, biases, linear": transformers.LlamaConfig(
        **SIZE, rope_parameters=rope("linear", factor=3.0), attention_bias=True, mlp_bias=True,
        tie_word_embeddings=True, head_dim=16,
    ),
    "olmo2": transformers.Olmo2Config(**SIZE, rope_parameters=rope()),
    "olmo2, tied, yarn with a factor": transformers.Olmo2Config(
        **SIZE, rope_parameters=rope("yarn", **YARN, attention_factor=1.3), tie_word_embeddings=True
    ),
}  # fmt: skip
TOKENS = np.random.default_rng(7).integers(0, VOCAB, (2, LENGTH)).astype(np.int32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    @functools.cache
    def write(case: str):
        path = tmp_path_factory.mktemp("model") / "m"
        torch.manual_seed(3)
        model = transformers.AutoModelForCausalLM.from_config(CASES[case])
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(torch.randn_like(p) * 0.2 + ("norm" in name))
        model.save_pretrained(path)
        return path

    return write


def torch_model(path, dtype=torch.float32):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()


def torch_logits(model, padding: int, left: bool) -> np.ndarray:
    """Logits `[2, LENGTH, V]` of TOKENS, padded by so many columns on one side."""
    sides = (padding, 0) if left else (0, padding)
    tokens = np.pad(TOKENS, ((0, 0), sides), constant_values=5).astype(np.int64)
    mask = np.pad(np.ones_like(TOKENS), ((0, 0), sides)).astype(np.int64)
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    with torch.no_grad():
        out = model(
            torch.tensor(tokens), attention_mask=torch.tensor(mask), position_ids=torch.tensor(positions)
        )
    logits = out.logits.float().numpy()
    return logits[:, padding:] if left else logits[:, :LENGTH]


@functools.partial(jax.jit, static_argnums=(0, 2))
def our_logits(graph, params, padding: int):
    """Logits `[2, LENGTH - SPLIT, V]` from the prompt's last token on, by the scorer's path: the prompt as
    a segment of its own, it and the response padded on the right by so many columns."""
    model = transformer.bind(graph, params)
    prompts = jnp.pad(TOKENS[:, :SPLIT], ((0, 0), (0, padding)), constant_values=5)
    prompt = transformer.prompt_segment(transformer.prefill(model, prompts), jnp.full(2, SPLIT))
    inputs = jnp.pad(TOKENS[:, SPLIT - 1 : -1], ((0, 0), (0, padding)), constant_values=5)
    positions = jnp.broadcast_to(SPLIT - 1 + jnp.arange(inputs.shape[1]), inputs.shape)
    hidden, _ = model(inputs, positions, context=(prompt,))
    logits = token_statistics.logits_at(
        hidden.reshape(-1, hidden.shape[-1]), transformer.head_table(params), 1.0
    )
    return logits.reshape(*inputs.shape, -1)[:, : LENGTH - SPLIT]


def ours(path, **dtypes):
    config = folders.model_config(path, **dtypes)
    return transformer.structure(config)[0], folders.load(path, config), config


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_those_of_transformers_padded_on_either_side(folder, case):
    graph, params, _ = ours(folder(case))
    model = torch_model(folder(case))
    want = torch_logits(model, 0, True)
    assert want.std() > 0.5
    for padding, left in ((9, True), (9, False)):  # the reference does not move either
        np.testing.assert_allclose(torch_logits(model, padding, left), want, atol=1e-4)
    want = want[:, SPLIT - 1 : -1]
    got = np.asarray(our_logits(graph, params, 9))
    print(f"{case}: {np.abs(got - want).max():.1e} at most")
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_every_setting_of_these_configurations_matters(folder):
    """Scaling, biases and norms of the cases do change their logits: the test above can fail."""
    for case, change in {
        "llama, llama3": dict(rope_scaling=None),
        "qwen3, biases, yarn with mscale": dict(rope_scaling="factor"),
    }.items():
        graph, params, config = ours(folder(case))
        if change.get("rope_scaling") == "factor":
            change = dict(rope_scaling=dataclasses.replace(config.rope_scaling, attention_factor=1.0))
        other = transformer.structure(dataclasses.replace(config, **change))[0]
        difference = np.abs(our_logits(graph, params, 9) - our_logits(other, params, 9))
        assert difference.max() > 0.02, case


@pytest.mark.parametrize("case", ["llama, biases, linear", "olmo2"])
def test_split_over_devices_a_model_says_the_same(folder, case):
    """Biases and norms over the whole projection are split with, or beside, what they belong to."""
    config = folders.model_config(folder(case))
    graph, shapes = transformer.structure(config)
    mesh = sharding.make_mesh(2, 2, 2)
    params = folders.load(folder(case), config, sharding.training_layout(mesh, shapes))
    assert not params["layers.1.attention.q.kernel"].is_fully_replicated
    tokens = sharding.put(np.repeat(TOKENS, 2, axis=0)[:, :64], sharding.rows(mesh))
    whole = score.whole_logits(graph, folders.load(folder(case), config), TOKENS[:, :64])
    got = np.asarray(score.whole_logits(graph, params, tokens))
    np.testing.assert_allclose(got[::2], whole, atol=2e-5)


@pytest.mark.parametrize("case", ["qwen2, yarn", "qwen3", "llama, llama3", "olmo2"])
def test_greedy_decoding_gives_the_tokens_of_transformers(folder, case):
    graph, params, _ = ours(folder(case))
    prompts, new = TOKENS[:, :70], 64  # beyond the context before stretching
    options = dict(group=1, slots=2, max_new_tokens=new, temperature=0.0, top_p=1.0, block=64)
    run = jax.jit(functools.partial(sample.sample, graph, **options))
    never = np.array([VOCAB], np.int32)  # no token ends a response
    wide = np.pad(prompts, ((0, 0), (0, 6)))
    out = run(params, wide, np.full(2, 70, np.int32), jax.random.key(0), never)
    given = torch.tensor(prompts.astype(np.int64))
    want = torch_model(folder(case)).generate(
        given,
        attention_mask=torch.ones_like(given),
        do_sample=False,
        max_new_tokens=new,
        min_new_tokens=new,
    )
    np.testing.assert_array_equal(out["tokens"], want[:, 70:].numpy())
    assert len(np.unique(out["tokens"])) > 5


@pytest.mark.parametrize("case", ["qwen2, yarn", "qwen3", "llama, llama3", "olmo2"])
def test_bfloat16_compute_is_no_further_from_float32_than_that_of_torch(folder, case):
    exact = torch_logits(torch_model(folder(case)), 0, True)[:, SPLIT - 1 : -1]
    theirs = torch_logits(torch_model(folder(case), torch.bfloat16), 0, True)[:, SPLIT - 1 : -1]
    graph, params, _ = ours(folder(case), compute_dtype="bfloat16")
    got = np.asarray(our_logits(graph, params, 9))
    rms = lambda x: float(np.sqrt(np.mean((x - exact) ** 2)))
    print(f"{case}: bfloat16 off by {rms(got):.4f} here, by {rms(theirs):.4f} in torch (rms of logits)")
    assert 0 < rms(got) <= rms(theirs)


@pytest.mark.parametrize("case", CASES)
def test_the_spelling_of_transformers_4_means_the_same(folder, tmp_path, case):
    """rope_theta and rope_scaling instead of rope_parameters, torch_dtype instead of dtype."""
    written = json.loads((folder(case) / "config.json").read_text())
    parameters = written.pop("rope_parameters")
    written["rope_theta"] = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type")
    written["rope_scaling"] = {**parameters, "type": kind} if kind != "default" else None
    written["torch_dtype"] = written.pop("dtype")
    written.pop("layer_types", None)
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert folders.model_config(tmp_path) == folders.model_config(folder(case))
