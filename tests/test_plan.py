"""The plan: exact counts, sizes that follow from the configuration, meshes that are legal; the paper's experiments."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import jax
import pytest

from urlvr_jax import config as config_lib
from urlvr_jax import engine, plan, sharding

ROOT = pathlib.Path(__file__).parents[1]
PAPER = sorted((ROOT / "experiments" / "paper").glob("*.py"))


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def paper(argument="majority_voting"):
    return load(ROOT / "experiments" / "paper" / "dapo.py").get_config(argument)


@pytest.mark.parametrize(
    ("file", "argument"),
    [
        *[("dapo", f"{r}@{m}") for m in ("h100-8", "v5e-16") for r in (
            "ground_truth", "majority_voting", "self_certainty", "token_level_entropy",
            "trajectory_level_entropy", "probability")],
        *[("mcs", name) for name in load(ROOT / "experiments" / "paper" / "mcs.py").MODELS],
        ("ttt_amc", "majority_voting"), ("ttt_amc", "trajectory_level_entropy"),
    ],
)  # fmt: skip
def test_every_experiment_of_the_paper_is_legal_and_fits_its_machine(file, argument):
    c = load(ROOT / "experiments" / "paper" / f"{file}.py").get_config(argument)
    machine = plan.machine(argument.partition("@")[2] or "h100-8")
    config_lib.validate(c, machine.devices)
    model = plan.open_model(c)
    assert not plan.why_not(c, model, machine.devices)
    assert c.data.prompt_buckets[-1] + c.rollout.max_new_tokens <= model.config.max_positions
    for phase, parts in plan.memory(c, model).items():
        assert sum(parts.values()) <= plan.USABLE * machine.chip.memory, phase
    for phase in ("rollout", "update"):
        assert 0 < plan.seconds(c, model, machine.chip, 1000)[phase] < 3600


def test_every_experiment_file_of_the_paper_is_tested():
    assert [p.stem for p in PAPER] == ["dapo", "mcs", "ttt_amc"]


def test_parameters_are_counted_exactly_without_weights():
    assert plan.open_model(paper()).parameters == 1_720_574_976


def test_weights_a_device_are_those_that_the_engine_places():
    c = config_lib.default()
    c.update_from_flattened_dict({"mesh.data": 2, "mesh.fsdp": 2, "mesh.tensor": 2, "optim.micro_rows": 32})
    model = plan.open_model(c)
    e = engine.Engine(c, model.config, [0], jax.devices()[:8])
    for training, layout in ((True, e.training), (False, e.rollout)):
        here = sum(
            int(jax.numpy.prod(jax.numpy.array(layout[n].shard_shape(s.shape))))
            for n, s in e.shapes.items()
        )
        assert plan.weight_elements(model, dict(c.mesh), training) == here


def test_the_plan_and_the_compiler_agree_on_a_small_program():
    c = config_lib.default()
    c.update_from_flattened_dict({"mesh.fsdp": 4, "rollout.slots": 32, "optim.micro_rows": 32})
    model = plan.open_model(c)
    e = engine.Engine(c, model.config, [0], jax.devices()[:4])
    m = e.updater(16, 44).memory_analysis()
    compiled = m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes
    planned = plan.update_memory(c, model, "cpu")
    at_rest = planned["weights"] + planned["optimizer"] + planned["batch"]
    assert 0.85 < at_rest / compiled < 1.15, (at_rest, compiled)


def test_more_slots_devices_and_recomputation_move_memory_the_right_way():
    c = paper("majority_voting@v5e-16")
    model = plan.open_model(c)
    total = lambda phase: sum(plan.memory(c, model)[phase].values())
    rollout, update = total("rollout"), total("update")
    c.rollout.slots *= 2
    assert total("rollout") > 1.3 * rollout and total("update") == update
    c.model.remat = False
    assert total("update") > update
    c.mesh.fsdp, c.optim.micro_rows = 32, 32
    assert total("rollout") < 1.1 * rollout


def test_meshes_are_legal_fit_and_are_ranked():
    c = paper()
    model, machine = plan.open_model(c), plan.machine("v5e-16")
    found = plan.meshes(c, model, machine)
    assert found and [sum(x.seconds.values()) for x in found] == sorted(
        sum(x.seconds.values()) for x in found
    )
    for x in found:
        assert x.peak <= plan.USABLE * machine.chip.memory
        c.mesh.update(x.mesh)
        c.rollout.slots, c.optim.micro_rows = x.slots, x.micro_rows
        config_lib.validate(c, 16)
        mesh = sharding.make_mesh(*x.mesh.values(), [jax.devices()[0]] * 16) if False else None
        del mesh
    assert not any(x.mesh["tensor"] == 16 and model.config.n_heads % 16 for x in found)


def test_what_does_not_fit_is_said():
    c = paper()
    c.model.path = "known:Qwen3-8B-Base"
    assert plan.meshes(c, plan.open_model(c), plan.machine("v5e-4")) == []
    c.rollout.max_new_tokens = 40_000
    c.rollout.response_buckets = (40_000,)
    assert "exceed the model's 32768" in plan.report(c)["configured"]["problem"]


@pytest.mark.parametrize("name", ["v5e", "v7-8", "h100-0", "v4-3"])
def test_unknown_hardware_names_the_choices(name):
    with pytest.raises(config_lib.ConfigError, match=f"--hardware={name}"):
        plan.machine(name)


def test_sizes_of_v4_and_v5p_count_cores():
    assert plan.machine("v5p-16").devices == 8 and plan.machine("v5e-16").devices == 16


def test_the_verb_prints_json_that_names_mesh_and_slots():
    command = [sys.executable, "-m", "urlvr_jax.main", "plan", "--json", "--hardware", "v5e-16"]
    command += ["--config", "experiments/paper/dapo.py:majority_voting"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    best = found["meshes"][0]
    assert best["mesh"].keys() == {"data", "fsdp", "tensor"} and best["slots"] > 0
    assert "needs 8 devices" not in found["configured"]["problem"]
    assert plan.text(found).splitlines()[0].startswith("Qwen/Qwen3-1.7B-Base: 1,720,574,976 parameters")
