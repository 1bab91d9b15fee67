"""The published models at full size, abstractly: `benchmarks/full_size.py` lowers an update of each."""

import numpy as np
import pytest

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
