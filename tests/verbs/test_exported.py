"""An exported folder remembers how its model was asked; what is typed, or a file's, goes before it."""

import json
import types

import pytest

from urlvr_jax import config
from urlvr_jax.errors import FolderError
from urlvr_jax.verbs import opened


def asked(folder, experiment="", **typed):
    """The configuration of a verb on this folder."""
    typed = {key.replace("__", "."): value for key, value in typed.items()}
    c = config.default()
    c.update_from_flattened_dict(typed)
    flag = types.SimpleNamespace(config=c, model=str(folder), experiment=experiment, typed=typed)
    return opened._of_model(flag, opened.folder_of(flag.model))


def test_a_folder_is_asked_as_it_was_trained(tmp_path):
    c = config.default()
    c.update_from_flattened_dict(
        {
            "data.template": "boxed",
            "answers.style": "boxed",
            "data.prompt_buckets": (64, 96),
            "rollout.max_new_tokens": 99,
        }
    )
    (tmp_path / opened.SETTINGS).write_text(opened.settings_text(c))
    found = asked(tmp_path)
    for key in opened.KEPT:
        assert config.value_of(found, key) == config.value_of(c, key), key
    assert found.model.path == str(tmp_path)
    assert asked(tmp_path, answers__style="number").answers.style == "number"
    assert asked(tmp_path, experiment="experiments/majority.py").answers.style == "lab"
    (tmp_path / opened.SETTINGS).unlink()
    assert asked(tmp_path).answers.style == "lab"


@pytest.mark.parametrize(
    "written",
    [
        "[1]",
        '{"model.path": "/"}',
        '{"answers.style": 5}',
        '{"data.prompt_buckets": "x"}',
        "{",
        '{"data": {}}',
    ],
)
def test_a_file_that_says_something_else_is_named(tmp_path, written):
    (tmp_path / opened.SETTINGS).write_text(written)
    with pytest.raises(FolderError, match=opened.SETTINGS):
        asked(tmp_path)
    assert json.loads(opened.settings_text(config.default())).keys() == set(opened.KEPT)
