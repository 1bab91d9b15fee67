"""A run's folder: the name of its configuration, and which configuration may go on in it."""

import json

import pytest

from urlvr_jax import config
from urlvr_jax.config import config_hash
from urlvr_jax.runtime.workdir import Workdir, WorkdirError


def hashed(**changes) -> str:
    flat = config.flat(config.default())
    assert set(changes) <= set(flat)
    return config_hash(flat | changes)


def test_the_hash_is_of_what_is_computed_not_of_how():
    assert hashed(**{"mesh.data": 2, "rollout.slots": 8, "log.completions_rows": 1}) == hashed()
    assert hashed(**{"optim.lr": 2e-4}) != hashed()


def test_a_later_key_at_its_default_does_not_rename_a_configuration():
    flat = config.flat(config.default())
    before = {k: v for k, v in flat.items() if k not in config.marked("added")}
    assert len(before) < len(flat) and config_hash(before) == config_hash(flat)
    assert hashed(**{"verify.temperature": 0.7}) != hashed()


def test_a_folder_made_before_a_key_existed_goes_on_at_its_default_only(tmp_path):
    c = config.default()
    Workdir(tmp_path, c, {})
    file = tmp_path / "config.json"
    old = {k: v for k, v in json.loads(file.read_text()).items() if not k.startswith("verify.")}
    file.write_text(json.dumps(old))
    Workdir(tmp_path, c, {})
    file.write_text(json.dumps(old))
    c.verify.max_new_tokens = 9
    with pytest.raises(WorkdirError, match=r"verify\.max_new_tokens: 4 -> 9"):
        Workdir(tmp_path, c, {})
