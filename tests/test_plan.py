"""The plan: exact counts, sizes that follow from the configuration, meshes that are legal; the paper's experiments."""

import dataclasses
import functools
import json
import pathlib
import runpy
import types

import jax
import pytest

from urlvr_jax import config as config_lib
from urlvr_jax.planning import memory, report
from urlvr_jax.planning.machines import machine as machine_of
from urlvr_jax.planning.meshes import meshes, why_not
from urlvr_jax.planning.seconds import seconds
from urlvr_jax.runtime import engine
from urlvr_jax.verbs import plan as plan_verb

ROOT = pathlib.Path(__file__).parents[1]
PAPER = sorted((ROOT / "experiments" / "paper").glob("*.py"))


@functools.cache
def model_of(path):
    c = paper()
    c.model.path = path
    return memory.open_model(c)


def paper(machine="h100-8"):
    return config_lib.load_experiment(f"{ROOT}/experiments/paper/dapo.py:{machine}")


REWARDS = (
    "ground_truth", "majority_voting", "self_certainty", "token_level_entropy", "trajectory_level_entropy",
    "probability",
)  # fmt: skip
MODELS = tuple(runpy.run_path(str(ROOT / "experiments" / "paper" / "mcs.py"))["MODELS"])


@pytest.mark.parametrize(
    ("experiment", "reward"),
    [
        *((f"dapo.py:{machine}", reward) for machine in ("h100-8", "v5e-16") for reward in REWARDS),
        *((f"mcs.py:{name}", "majority_voting") for name in MODELS),
        ("ttt_amc.py", "majority_voting"),
        ("ttt_amc.py", "trajectory_level_entropy"),
    ],
)
def test_every_experiment_of_the_paper_is_legal_and_fits_its_machine(experiment, reward):
    c = config_lib.load_experiment(f"{ROOT}/experiments/paper/{experiment}")
    c.reward.name = reward
    machine = machine_of("v5e-16" if experiment.endswith("v5e-16") else "h100-8")
    config_lib.validate(c, machine.devices)
    model = model_of(c.model.path)
    assert not why_not(c, model, machine.devices, machine.chip.platform)
    assert c.data.prompt_buckets[-1] + c.rollout.max_new_tokens <= model.config.max_positions
    for phase, parts in memory.memory(c, model, machine.chip.platform).items():
        assert sum(parts.values()) <= machine.usable, phase
    for phase in ("rollout", "update"):
        assert 0 < seconds(c, model, machine.chip, 1000)[phase] < 3600


def test_every_experiment_file_of_the_paper_is_tested():
    assert [p.stem for p in PAPER] == ["dapo", "mcs", "ttt_amc"]


def test_parameters_are_counted_exactly_without_weights():
    assert model_of(paper().model.path).parameters == 1_720_574_976


def test_weights_a_device_are_those_that_the_engine_places():
    c = config_lib.default()
    c.update_from_flattened_dict({"mesh.data": 2, "mesh.fsdp": 2, "mesh.tensor": 2, "optim.micro_rows": 32})
    model = memory.open_model(c)
    e = engine.Engine(c, model.config, [0], jax.devices()[:8])
    for training, layout in ((True, e.training_layout), (False, e.rollout_layout)):
        here = sum(
            int(jax.numpy.prod(jax.numpy.array(layout[n].shard_shape(s.shape))))
            for n, s in e.shapes.items()
        )
        assert memory.weight_elements(model, dict(c.mesh), training) == here


def test_the_plan_and_the_compiler_agree_on_a_small_program():
    c = config_lib.default()
    c.update_from_flattened_dict({"mesh.fsdp": 4, "rollout.slots": 32, "optim.micro_rows": 32})
    model = memory.open_model(c)
    e = engine.Engine(c, model.config, [0], jax.devices()[:4])
    m = e.updater(16, 44).memory_analysis()
    compiled = m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes
    planned = memory.update_memory(c, model, "cpu")
    at_rest = planned["weights"] + planned["optimizer"] + planned["batch"]
    assert 0.85 < at_rest / compiled < 1.15, (at_rest, compiled)


def test_more_slots_devices_and_recomputation_move_memory_the_right_way():
    c = paper("v5e-16")
    model = model_of(c.model.path)
    total = lambda phase: sum(memory.memory(c, model)[phase].values())
    rollout, update = total("rollout"), total("update")
    c.rollout.slots *= 2
    assert total("rollout") > 1.3 * rollout and total("update") == update
    c.model.remat = False
    assert total("update") > update
    c.mesh.fsdp, c.optim.micro_rows = 32, 32
    assert total("rollout") < 1.1 * rollout


def test_blocks_of_scores_are_planned_where_attention_takes_no_kernel():
    c = paper("v5e-16")
    model = model_of(c.model.path)
    plain = memory.Model(dataclasses.replace(model.config, attention="xla"))
    update = lambda model, platform: sum(memory.memory(c, model, platform)["update"].values())
    assert update(model, "tpu") < update(plain, "tpu") == update(model, "gpu")


def test_weights_are_gathered_along_fsdp_alone_and_every_layers_at_once_on_a_cpu_without_a_loop():
    c = paper("v5e-16")
    model = model_of(c.model.path)
    m, part = model.config, "gathered table and kernels"
    table, kernels = m.vocab_size * m.d_model * 2, 2 * (model.parameters - memory.table_elements(model))
    gathered = lambda platform: memory.score_memory(c, model, platform)[part]
    assert gathered("cpu") == table  # a layer's kernels come and go with the loop over layers
    assert gathered("tpu") == pytest.approx(table + kernels * 2 / m.n_layers)
    c.model.scan = False
    assert gathered("cpu") == pytest.approx(table + kernels)
    assert memory.update_memory(c, model, "cpu")[part] == pytest.approx(table + 3 * kernels)
    c.mesh.data, c.mesh.fsdp = 16, 1
    assert gathered("cpu") == gathered("tpu") == table  # in the compute type, which is not the parameters'


def test_a_head_split_over_tensor_is_gathered_for_its_gradient():
    c = paper("v5e-16")
    model = model_of(c.model.path)
    work = lambda: memory.update_memory(c, model)["larger of head and layer"]
    c.mesh.fsdp, c.mesh.tensor = 8, 2
    whole = model.config.vocab_size * model.config.d_model
    assert work() > whole * (2 + 4 / 8)


def test_one_cpu_device_with_few_slots_holds_its_kernels_twice_while_decoding():
    c = paper("v5e-16")
    model = model_of(c.model.path)
    again = lambda: memory.rollout_memory(c, model, "cpu")["kernels in another order"]
    c.mesh.data = c.mesh.fsdp = c.mesh.tensor = 1
    c.rollout.slots = 128
    kernels = model.parameters - memory.table_elements(model)
    assert again() == pytest.approx(2 * kernels, rel=1e-3)  # all but the norms, in bfloat16
    c.rollout.slots = 129
    assert again() == 0
    c.rollout.slots, c.mesh.fsdp = 128, 2
    assert again() == 0


def test_meshes_are_legal_fit_and_are_ranked():
    c = paper()
    model, machine = model_of(c.model.path), machine_of("v5e-16")
    found = meshes(c, model, machine)
    assert found and [sum(x.seconds.values()) for x in found] == sorted(
        sum(x.seconds.values()) for x in found
    )
    for x in found:
        assert x.peak <= machine.usable
        c.mesh.update(x.mesh)
        c.rollout.slots, c.optim.micro_rows = x.slots, x.micro_rows
        config_lib.validate(c, 16)
    assert not any(x.mesh["tensor"] == 16 and model.config.n_heads % 16 for x in found)


def test_what_does_not_fit_is_said():
    c = paper()
    assert meshes(c, model_of("Qwen/Qwen3-8B-Base"), machine_of("v5e-4")) == []
    c.rollout.max_new_tokens = 40_000
    c.rollout.response_buckets = (40_000,)
    assert "exceed the model's 32768" in report.report(c)["configured"]["problem"]


@pytest.mark.parametrize("name", ["v5e", "v7-8", "h100-0", "v4-3"])
def test_unknown_hardware_names_the_choices(name):
    with pytest.raises(config_lib.ConfigError, match=f"--hardware={name}"):
        machine_of(name)


def test_sizes_of_v4_and_v5p_count_cores():
    assert machine_of("v5p-16").devices == 8 and machine_of("v5e-16").devices == 16


def test_a_kernel_that_a_gpu_lacks_is_refused_whatever_this_host_is():
    c = paper()
    c.model.attention = "pallas"
    found = report.report(c, machine_of("h100-8"))
    assert "no kernel for a GPU" in found["configured"]["problem"] and found["meshes"] == []
    assert "h100-8, 8 devices: no mesh fits" in report.text(found)
    c.mesh.fsdp, c.optim.micro_rows = 16, 16
    assert report.report(c, machine_of("v5e-16"))["configured"]["problem"] == ""


def test_the_verb_prints_json_that_names_mesh_and_slots(capsys):
    flag = types.SimpleNamespace(config=paper(), hardware="v5e-16", json=True)
    assert plan_verb.run(flag) == 0
    found = json.loads(capsys.readouterr().out)
    best = found["meshes"][0]
    assert best["mesh"].keys() == {"data", "fsdp", "tensor"} and best["slots"] > 0
    assert found["configured"]["problem"] == "" and "fits" not in found["configured"]  # it is for 8 devices
    assert report.text(found).splitlines()[0].startswith("Qwen/Qwen3-1.7B-Base: 1,720,574,976 parameters")
