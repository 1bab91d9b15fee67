"""The plan: exact counts, an estimate beside the compiler, legal meshes; the paper's experiments."""

import dataclasses
import functools
import json
import math
import pathlib
import re
import runpy
import types

import helpers
import jax
import pytest

from urlvr_jax import config as config_lib
from urlvr_jax import validation
from urlvr_jax.devices import settle
from urlvr_jax.errors import UserError
from urlvr_jax.models import transformer
from urlvr_jax.models.transformer import ModelConfig
from urlvr_jax.planning import compile as compiler
from urlvr_jax.planning import memory, program_text, report
from urlvr_jax.planning.machines import machine as machine_of
from urlvr_jax.planning.meshes import meshes, why_not
from urlvr_jax.planning.seconds import seconds
from urlvr_jax.runtime.engine import Engine
from urlvr_jax.verbs import plan as plan_verb

ROOT = pathlib.Path(__file__).parents[2]
PAPER = sorted((ROOT / "experiments" / "paper").glob("*.py"))


@functools.cache
def model_of(path):
    c = paper()
    c.model.path = path
    return memory.open_model(c)


def paper(machine="h100-8"):
    """On the devices of its machine."""
    c = config_lib.load_experiment(f"{ROOT}/experiments/paper/dapo.py:{machine}")
    return settle(c, machine_of(machine).devices)[0]


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
    c, rounded = settle(c, machine.devices)
    assert not rounded and c.mesh.fsdp == machine.devices
    validation.validate(c, machine.devices)
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
    e = Engine(c, model.config, [0], jax.devices()[:8])
    for training, layout in ((True, e.training_layout), (False, e.rollout_layout)):
        here = sum(
            int(jax.numpy.prod(jax.numpy.array(layout[n].shard_shape(s.shape))))
            for n, s in e.shapes.items()
        )
        assert memory.weight_elements(model, dict(c.mesh), training) == here


def test_the_cache_is_counted_as_the_rollout_makes_it():
    model = model_of(paper().model.path)
    cache = jax.eval_shape(lambda: transformer.empty_cache(model.config, 3, 5))
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(cache))
    assert memory.cache_bytes(model, {"tensor": 1}) * 3 * 5 == size


@pytest.fixture(scope="module", params=["2 x fsdp, 2 x tensor", "1 device, remat, scan"])
def compiled(request):
    """{phase: (parts planned, bytes by the compiler)} of a small model, most of it temporaries."""
    changes = {"mesh.data": 1} | {
        "2 x fsdp, 2 x tensor": {"mesh.fsdp": 2, "mesh.tensor": 2},
        "1 device, remat, scan": {"model.remat": True, "model.scan": True},
    }[request.param]
    c = config_lib.default()
    c.update_from_flattened_dict(
        {
            "data.prompts_per_step": 8, "data.prompt_buckets": (64,), "rollout.group": 4,
            "rollout.rescore": True, "rollout.max_new_tokens": 384, "rollout.response_buckets": (384,),
            "rollout.slots": 16, "optim.micro_rows": 16, "optim.micro_prompts": 4,
        } | changes
    )  # fmt: skip
    model = memory.Model(
        ModelConfig(
            vocab_size=512, d_model=128, n_layers=6, n_heads=4, n_kv_heads=2, head_dim=32, d_ff=384,
            rope_theta=1e6, norm_eps=1e-6, tied_head=True, remat=c.model.remat, scan=c.model.scan,
        )
    )  # fmt: skip
    e = Engine(c, model.config, [0], jax.devices()[: math.prod(dict(c.mesh).values())])
    executables = {
        "rollout": e.sampler(e.rollout_shape(64)),
        "score": e.scorer(64, 384),
        "update": e.updater(64, 384),
    }
    return {
        phase: (memory.PROGRAMS[phase](c, model, "cpu"), compiler.sizes(executable))
        for phase, executable in executables.items()
    }


@pytest.mark.slow
def test_weights_state_and_batch_are_the_compilers_arguments(compiled):
    for phase, (planned, sizes) in compiled.items():
        at_rest = sum(planned.get(part, 0) for part in ("weights", "optimizer", "batch"))
        assert 0 <= sizes["argument"] - at_rest < 2**17, (
            phase
        )  # token ids, lengths and layouts are left out


@pytest.mark.slow
def test_the_estimate_is_within_a_factor_of_two_of_the_compilers_bytes(compiled):
    for phase, (planned, sizes) in compiled.items():
        assert planned[memory.ESTIMATED] > 0.4 * sizes["total"], phase  # not the exact parts alone
        assert 0.5 < sum(planned.values()) / sizes["total"] < 2, (phase, planned, sizes)


def test_more_slots_devices_and_recomputation_move_memory_the_right_way():
    c = paper("v5e-16")
    model = model_of(c.model.path)
    total = lambda phase: sum(memory.memory(c, model)[phase].values())
    c.rollout.slots, c.rollout.pages = 96, 0
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
    assert update(model, "tpu") == update(model, "gpu") < update(plain, "tpu") == update(plain, "gpu")
    assert update(model, "cpu") == update(plain, "cpu")


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
        c.rollout.slots, c.rollout.pages, c.optim.micro_rows = x.slots, x.pages, x.micro_rows
        validation.validate(c, 16, "tpu")
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


def test_a_kernel_that_a_gpu_lacks_is_refused_whatever_this_host_is(monkeypatch):
    c = paper()
    c.model.attention = "pallas"
    assert report.report(c, machine_of("h100-8"))["configured"]["problem"] == ""
    monkeypatch.setattr(validation, "GPU_WIDTHS", (64, 96))  # as if this model's heads of 128 were too wide
    found = report.report(c, machine_of("h100-8"))
    remedy = "no kernel for heads of 128 on a GPU, only for 64 and 96: use 'auto'"
    assert f"model.attention = 'pallas' has {remedy}" in found["configured"]["problem"]
    assert found["meshes"] == [] and "h100-8, 8 devices: no mesh fits" in report.text(found)
    with pytest.raises(config_lib.ConfigError, match=remedy):
        validation.validate_heads("pallas", 128, "gpu")
    c.mesh.fsdp, c.optim.micro_rows = 16, 16
    assert report.report(c, machine_of("v5e-16"))["configured"]["problem"] == ""


def test_the_verb_prints_json_that_names_mesh_and_slots(capsys):
    flag = types.SimpleNamespace(config=paper(), hardware="v5e-16", json=True, compile=False)
    assert plan_verb.run(flag) == 0
    found = json.loads(capsys.readouterr().out)
    best = found["meshes"][0]
    assert best["mesh"].keys() == {"data", "fsdp", "tensor"} and best["slots"] > 0
    assert found["configured"]["problem"] == "" and "fits" not in found["configured"]  # it is for 8 devices
    flag.config = config_lib.load_experiment(f"{ROOT}/experiments/paper/dapo.py:h100-8")
    assert plan_verb.run(flag) == 0
    own = json.loads(capsys.readouterr().out)["configured"]
    assert own["mesh"] == {"data": 1, "fsdp": 16, "tensor": 1} and "fits" in own
    assert own["micro_rows"] == 16 and own["rounded"] == [
        "optim.micro_rows = 8 does not divide over 16 devices: 16 is used"
    ]
    flag.config.mesh.fsdp = 3
    assert plan_verb.run(flag) == 0
    found = json.loads(capsys.readouterr().out)
    assert "mesh.fsdp = 3 does not divide 16 devices" in found["configured"]["problem"] and found["meshes"]
    flag.config.mesh.fsdp = -1
    alone = report.report(flag.config)["configured"]
    assert alone["mesh"] == {"data": 1, "fsdp": 1, "tensor": 1} and alone["problem"] == ""
    assert report.text(found).splitlines()[0].startswith("Qwen/Qwen3-1.7B-Base: 1,720,574,976 parameters")


def test_the_compiler_is_asked_about_this_process_own_devices(capsys):
    c = config_lib.default()
    c.update_from_flattened_dict(
        {
            "mesh.data": 8,
            "optim.micro_rows": 64,
            "rollout.max_new_tokens": 8,
            "rollout.response_buckets": (8,),
        }
    )
    assert plan_verb.run(types.SimpleNamespace(config=c, hardware="", json=False, compile=True)) == 0
    out = capsys.readouterr().out
    assert re.search(r"\nrollout: compiler [\d.]+ MiB a device, estimate [\d.]+ MiB, ratio [\d.]+", out)
    assert re.search(r"\nupdate: compiler .*\n    [\d.]+ MiB arguments, .*\n    \d+ x all-", out)
    c.mesh.data = 2
    with pytest.raises(config_lib.ConfigError, match="needs 2 devices, this process group has 8"):
        next(compiler.programs(c, jax.devices()))


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("v5e-1", "v5e:1x1"), ("v5e-8", "v5e:2x4"), ("v6e-16", "v6e:4x4"), ("v5p-32", "v5p:2x2x4"),
        ("h100-16", "1x2x8"),
    ],
)  # fmt: skip
def test_a_machine_that_is_not_here_is_described_to_its_compiler(monkeypatch, name, described):
    asked = []

    def describe(name, platform, topology="", **_):
        asked.append(topology or name)
        return types.SimpleNamespace(devices=[None] * machine.devices)

    machine = machine_of(name)
    monkeypatch.setattr(compiler.topologies, "get_topology_desc", describe)
    assert len(compiler.devices_of(machine)) == machine.devices and asked == [described]


def test_a_compiler_that_is_not_installed_is_named(monkeypatch):
    def missing(*_, **__):
        raise RuntimeError("not installed")

    monkeypatch.setattr(compiler.topologies, "get_topology_desc", missing)
    for name, extra in (("v5e-16", "tpu"), ("h100-8", "cuda")):
        with pytest.raises(UserError, match=rf"urlvr_jax\[{extra}\]"):
            compiler.devices_of(machine_of(name))
    with pytest.raises(UserError, match="a slice of 1, 4, 8"):
        compiler.devices_of(machine_of("v5e-12"))


def test_collectives_are_counted_in_a_compiled_programs_text():
    hlo = """
    %a = bf16[16,8]{1,0} all-gather(%x), dimensions={0}
    %b = (f32[4]{0}, f32[2,2]{1,0}) all-reduce-start(%y, %z), to_apply=%sum
    %c = f32[4]{0} add(%all-gather, %x)"""
    assert program_text.collectives(hlo) == {
        "all-gather": {"count": 1, "bytes": 256},
        "all-reduce": {"count": 1, "bytes": 32},
    }


def test_kernels_and_copies_of_a_decoded_token_are_counted_in_a_compiled_programs_text():
    attention = (
        '%k.{0} = bf16[4,8]{{1,0}} custom-call(%q), metadata={{op_name="fn/paged_attention/pallas_call"}}'
    )
    layer = (
        """
  %q.{0} = bf16[4,8]{{1,0}} fusion(%x), kind=kCustom
  %b.{0} = bf16[8,4]{{1,0}} bitcast(%q.{0})
  """
        + attention
        + """
  %o.{0} = bf16[4,8]{{1,0}} fusion(%k.{0}), kind=kCustom"""
    )
    body = "".join(layer.format(i) for i in range(3))
    hlo = f"""HloModule m
%other (p: s32[]) -> s32[] {{
  %p = s32[] parameter(0)
  ROOT %copy.9 = f32[999]{{0}} copy(%p)
}}
%token (p: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {{
  %p = (s32[], bf16[4,8]) parameter(0){body}
  %copy.1 = (f32[3]{{0}}, f32[3]{{0}}, u32[]) copy-start(%p)
  %copy.2 = f32[999]{{0:T(1024)S(1)}} copy(%p)
  %sum = f32[3]{{0}} all-reduce(%y), to_apply=%add
  ROOT %t = (s32[], bf16[4,8]) tuple(%p)
}}
ENTRY %main (p: s32[]) -> s32[] {{
  ROOT %w = (s32[], bf16[4,8]) while(%p), condition=%c, body=%token
}}"""
    assert program_text.token_loop(hlo) == {
        "kernels": 12, "kernels_a_layer": 3, "copied_bytes": 12, "collectives": 1,
    }  # fmt: skip
    assert program_text.token_loop(hlo.replace("paged_attention", "other")) == {}


def with_adapters(**changes):
    """The experiment of 8 billion parameters and one GPU."""
    c = config_lib.load_experiment(f"{ROOT}/experiments/lora.py:qwen3-8b")
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return settle(c, 1)[0]


@functools.cache
def model_with(rank=32, base="param_dtype"):
    """Of that experiment."""
    return memory.open_model(with_adapters(model__lora__rank=rank, model__lora__base=base))


@pytest.mark.parametrize("machine", ["h100-1", "h200-1"])
@pytest.mark.parametrize("base", ["param_dtype", "int8"])
def test_adapters_of_8_billion_parameters_fit_one_gpu_and_full_training_does_not(machine, base):
    c, machine = with_adapters(model__lora__base=base), machine_of(machine)
    validation.validate(c, 1, "gpu")
    model = model_with(base=base)
    assert model.parameters == 8_190_735_360
    parts = memory.memory(c, model, "gpu")
    for phase, held in parts.items():
        assert sum(held.values()) <= machine.usable, phase
    kernels = model.parameters - memory.table_elements(model)
    assert parts["rollout"]["merged weights"] == 2 * kernels  # the tables are the base's own
    assert parts["update"]["optimizer"] == 8 * 87_293_952 == 8 * sum(model.trained.values())
    full = with_adapters(model__lora__rank=0)
    assert sum(memory.memory(full, model_with(rank=0), "gpu")["update"].values()) > machine.usable


def test_a_fixed_reference_costs_adapters_nothing_and_the_report_counts_them():
    c = with_adapters(kl__coef=0.1)
    assert all("reference weights" not in parts for parts in memory.memory(c, model_with(), "gpu").values())
    full = with_adapters(kl__coef=0.1, model__lora__rank=0)
    found = memory.memory(full, model_with(rank=0), "gpu")
    assert found["update"]["reference weights"] == 2 * 8_190_735_360
    text = report.text(report.report(c, machine_of("h100-1")))
    assert text.startswith(
        "Qwen/Qwen3-8B-Base: 8,190,735,360 parameters, 87,293,952 in adapters, 256 rollouts a step"
    )
    assert "fits h100-1" in text
    assert memory.saved_bytes(model_with()) == 12 * 87_293_952


@pytest.mark.parametrize("base", ["param_dtype", "int8"])
def test_bytes_of_adapters_and_their_base_are_those_that_the_engine_places(base):
    c = config_lib.default()
    c.update_from_flattened_dict(
        {
            "mesh.data": 2,
            "mesh.fsdp": 2,
            "mesh.tensor": 2,
            "optim.micro_rows": 32,
            "model.lora.rank": 4,
            "model.lora.base": base,
        }
    )
    model = memory.open_model(c)
    e = Engine(c, model.config, [0], jax.devices()[:8])
    share = lambda names: sum(
        math.prod(e.training_layout[n].shard_shape(e.shapes[n].shape)) * e.shapes[n].dtype.itemsize
        for n in names
    )
    assert memory.weight_bytes(model, dict(c.mesh)) == share(e.shapes)
    adapters = [n for n in e.shapes if n.endswith(("lora_a", "lora_b"))]
    assert memory.trained_elements(model, dict(c.mesh)) * 4 == share(adapters)
    moments = e.state_shapes().opt_state[0].mu
    assert set(moments) == set(adapters)


def test_the_second_generation_is_counted_with_the_cache_of_whoever_judges():
    c = helpers.experiment(reward__name="self_verify", verify__prompt_buckets=(1024,), mesh__data=1)
    own_model = memory.open_model(c)
    own = memory.memory(c, own_model, "cpu")
    position = memory.cache_bytes(own_model, dict(c.mesh))
    rows = c.data.prompts_per_step * c.rollout.group
    assert own["verify"]["prompts"] == rows * 1024 * position
    assert "verify" not in memory.memory(helpers.experiment(mesh__data=1), own_model, "cpu")
    c.verify.judge = "known:Qwen3-8B-Base"
    other = memory.memory(c, own_model, "cpu")
    judge = memory.open_model(config_lib.of_judge(c))
    assert other["verify"]["prompts"] == rows * 1024 * memory.cache_bytes(judge, dict(c.mesh))
    assert other["rollout"]["judge's weights"] == memory.weight_bytes(judge, dict(c.mesh))
    assert other["rollout"]["prompts"] == own["rollout"]["prompts"]


def test_a_mesh_fits_only_if_its_second_generation_does():
    c = helpers.experiment(
        model__path="known:Qwen3-1.7B-Base", reward__name="self_verify", data__prompts_per_step=16, rollout__group=8,
        rollout__train_group=0, rollout__max_new_tokens=1024, rollout__response_buckets=(), optim__minibatch_prompts=0,
        verify__prompt_buckets=(1024,), verify__max_new_tokens=4096,
    )  # fmt: skip
    machine = machine_of("v5e-8")
    c.verify.votes = 8
    found = meshes(c, memory.open_model(c), machine)
    assert found and all(choice.peak <= machine.usable and "verify" in choice.memory for choice in found)
