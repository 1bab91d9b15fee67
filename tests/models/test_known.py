"""The published models at full size, abstractly: `benchmarks/checks/full_size.py` lowers an update of each."""

import numpy as np
import pytest

from urlvr_jax.errors import FolderError
from urlvr_jax.models import folders, transformer

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
    config = folders.model_config(folders.known(name))
    shapes = transformer.structure(config)[1]
    assert sum(int(np.prod(s.shape)) for s in shapes.values()) == PARAMETERS[name]
    assert len(folders.their_names(shapes, config)) == len(shapes)


def test_every_configuration_that_ships_is_in_the_table_and_an_unknown_name_lists_them():
    with pytest.raises(FolderError) as error:
        folders.resolve("known:Qwen9")
    for name in PARAMETERS:
        assert name in str(error.value)
        assert folders.resolve(f"known:{name}") == folders.known(name)
    assert len(list(folders.known("Qwen2.5-7B").parent.iterdir())) == len(PARAMETERS)
