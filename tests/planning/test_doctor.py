"""Each check of the doctor finds what it is for."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from urlvr_jax import config as config_lib
from urlvr_jax.planning import doctor


def by_name(findings):
    return {f.name: f for f in findings}


def configured(**changes):
    c = config_lib.default()
    c.update_from_flattened_dict({"mesh.data": 8, "optim.micro_rows": 64})
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def test_the_laboratory_passes_on_eight_devices(tmp_path):
    found = doctor.examine(configured(), tmp_path / "run", tmp_path / "cache")
    assert [f for f in found if f.status == "fail"] == []
    assert {"devices", "configuration", "model folder", "weights", "memory", "data.train", "disk"} <= set(
        by_name(found)
    )
    assert all(f.remedy for f in found if f.status != "ok")


def test_versions_outside_their_range_are_said():
    (found,) = doctor.versions(["numpy<1", "absl-py>=2", "torch>99; extra == 'test'"])
    assert found.status == "warn" and "numpy<1" in found.remedy and found.seen == np.__version__
    (found,) = doctor.versions(["no_such_package_here>=1"])
    assert found.status == "fail" and found.seen == "not installed"


def test_a_mesh_for_other_devices_fails():
    (found,) = doctor.devices(configured(mesh__data=2))
    assert found.status == "fail" and "mesh takes 2" in found.seen


def test_a_mesh_fills_the_devices_or_says_why_it_cannot(tmp_path):
    examined = lambda **mesh: by_name(doctor.examine(configured(**mesh), tmp_path, tmp_path / "cache"))
    filled = examined(mesh__data=-1, mesh__fsdp=2)
    assert filled["devices"].status == filled["configuration"].status == "ok"
    assert "mesh takes 8" in filled["devices"].seen
    assert examined(mesh__data=1, mesh__fsdp=3)["configuration"].status == "fail"
    found = examined(mesh__data=-1, mesh__fsdp=3)
    assert found["devices"].status == "fail" and "mesh.fsdp = 3 does not divide 8" in found["devices"].seen


def test_a_configuration_that_cannot_work_fails():
    (found,) = doctor.settings(configured(rollout__top_p=0.9))
    assert found.status == "fail" and "rollout.top_p = 0.9" in found.seen


@pytest.mark.parametrize("harm", ["missing", "truncated", "garbage", "index"])
def test_weights_that_are_not_whole_fail(tmp_path, harm):
    parts = {f"model-{i}.safetensors": {f"t{i}": np.ones(8, np.float32)} for i in (1, 2)}
    for name, tensors in parts.items():
        save_file(tensors, tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"t1": "model-1.safetensors", "t2": "model-2.safetensors"}}))
    assert doctor.weights(tmp_path).status == "ok"
    last = tmp_path / "model-2.safetensors"
    if harm == "missing":
        last.unlink()
    elif harm == "index":
        index.write_text("{")
    else:
        last.write_bytes(last.read_bytes()[:-5] if harm == "truncated" else b"\xff" * 40)
    found = doctor.weights(tmp_path)
    assert (
        found.status == "fail"
        and ("index" if harm == "index" else "model-2") in found.seen
        and found.remedy
    )


def test_a_folder_without_a_model_and_one_without_weights_fail():
    (found,) = doctor.model_folder(configured(model__path="/no/such/folder"))
    assert found.status == "fail" and "/no/such/folder" in found.seen
    found = by_name(doctor.model_folder(configured(model__path="known:Qwen3-1.7B-Base")))
    assert (
        found["model folder"].status == "ok"
        and found["weights"].status == found["tokenizer"].status == "fail"
    )


def test_a_name_of_the_hub_is_looked_for_in_the_cache_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (found,) = doctor.model_folder(configured(model__path="nobody/has-this"))
    assert found.status == "fail" and "nobody/has-this is not in" in found.seen
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    (found,) = doctor.model_folder(configured(model__path="nobody/has-this"))
    assert found.status == "warn"


def test_lengths_beyond_the_context_fail():
    (found,) = doctor.model_folder(
        configured(
            model__path="known:OLMo-2-1124-7B", rollout__max_new_tokens=7168, data__prompt_buckets=(1024,)
        )
    )
    assert found.status == "fail" and "4096" in found.seen


def test_more_memory_than_there_is_fails(monkeypatch):
    monkeypatch.setattr(doctor, "free_ram", lambda: 2**20)
    (found,) = doctor.memory(configured())
    assert found.status == "fail" and "free RAM" in found.seen


def test_without_a_backend_the_checks_of_devices_say_so_and_the_others_go_on(monkeypatch):
    def none():
        raise RuntimeError("no backend")

    monkeypatch.setattr("jax.devices", none)
    monkeypatch.setattr("jax.local_devices", none)
    assert doctor.devices(configured())[0].status == "fail" and doctor.memory(configured()) == []
    assert doctor.settings(configured())[0].status == "ok"


def test_questions_that_are_not_there_fail(tmp_path):
    (train, held) = doctor.questions(configured(data__train=str(tmp_path / "no.jsonl")))
    assert train.status == "fail" and held.status == "ok"


def test_names_of_the_hub_offline_are_a_warning(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor.offline(configured(data__train="hf:a/b:train")).status == "warn"
    assert doctor.offline(configured()).status == "ok"


def test_a_full_disk_and_a_cache_that_cannot_be_written_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    (found,) = doctor.disk(configured(), tmp_path / "runs" / "new")
    assert found.status == "fail" and str(tmp_path) in found.seen
    file = tmp_path / "file"
    file.write_text("")
    assert doctor.compile_cache(file / "below").status == "warn"


def test_few_open_files_are_a_warning(monkeypatch):
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda _: (256, 4096))
    assert doctor.open_files().status == "warn"
