"""The published models at full size, abstractly: what they need is known without their weights."""

import time

import numpy as np
import pytest

from urlvr_jax import config as config_lib
from urlvr_jax import engine as engine_lib
from urlvr_jax.models import hf, transformer

PARAMETERS = {
    "Qwen2.5-1.5B": 1_543_714_304,
    "Qwen2.5-Math-1.5B": 1_543_714_304,
    "Qwen2.5-7B": 7_615_616_512,
    "DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "Qwen3-1.7B-Base": 1_720_574_976,
    "Qwen3-8B-Base": 8_190_735_360,
    "Llama-3.1-8B": 8_030_261_248,
    "Llama-3.1-Tulu-3-8B-SFT": 8_030_326_784,
    "OLMo-2-1124-7B": 7_298_617_344,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_published_model_has_its_number_of_parameters(name):
    config = hf.model_config(hf.known(name))
    shapes = transformer.structure(config)[1]
    assert sum(int(np.prod(s.shape)) for s in shapes.values()) == PARAMETERS[name]
    assert len(hf.their_names(shapes, config)) == len(shapes)


def test_every_configuration_that_ships_is_in_the_table_and_an_unknown_name_lists_them():
    with pytest.raises(hf.FolderError) as error:
        hf.resolve("known:Qwen9")
    for name in PARAMETERS:
        assert name in str(error.value)
        assert hf.resolve(f"known:{name}") == hf.known(name)
    assert len(list(hf.known("Qwen2.5-7B").parent.iterdir())) == len(PARAMETERS)


def lower_an_update(name: str, monkeypatch, length: int = 8192) -> str:
    """One update at full size as StableHLO, on a pretended mesh of 2 x 2 x 2 devices."""
    monkeypatch.setattr(engine_lib, "compiled", lambda lowered: lowered)
    config = hf.model_config(hf.known(name), compute_dtype="bfloat16", remat=True)
    response = min(length, config.max_positions) - 1024
    c = config_lib.default()
    c.update_from_flattened_dict(
        {
            "model.remat": True,
            "model.compute_dtype": "bfloat16",
            "data.prompts_per_step": 64,
            "data.prompt_buckets": (1024,),
            "rollout.max_new_tokens": response,
            "rollout.response_buckets": (response,),
            "optim.micro_rows": 32,
            "mesh.data": 2,
            "mesh.fsdp": 2,
            "mesh.tensor": 2,
        }
    )
    config_lib.validate(c, 8)
    return engine_lib.Engine(c, config, (1,)).updater(1024, response).as_text()


# The others take as long: `python benchmarks/full_size.py` lowers all nine.
def test_one_update_of_a_published_model_is_lowered_within_20_seconds(monkeypatch):
    began = time.perf_counter()
    text = lower_an_update("OLMo-2-1124-7B", monkeypatch)
    seconds = time.perf_counter() - began
    print(f"{seconds:.1f} s")
    assert seconds < 20
    assert "100352x4096" in text
