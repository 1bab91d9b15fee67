"""A configuration on the devices there are: a mesh that fills them, and sizes that divide over them."""

import pytest

from urlvr_jax import config, validation
from urlvr_jax.devices import elsewhere, fill, settle


def configured(**changes):
    c = config.default()
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16, 32])
def test_the_defaults_fill_any_power_of_two_and_keep_their_hash(count):
    c, said = settle(configured(), count)
    validation.validate(c, count)
    assert dict(c.mesh) == {"data": count, "fsdp": 1, "tensor": 1}
    assert c.rollout.slots == 64 and c.optim.micro_rows == max(8, count)
    assert len(said) == (count > 8)
    assert config.config_hash(config.flat(c)) == config.config_hash(config.flat(configured(mesh__data=1)))


@pytest.mark.parametrize(
    ("mesh", "count", "filled"),
    [
        ({"fsdp": 2}, 8, (4, 2, 1)),
        ({"fsdp": 2, "tensor": 4}, 8, (1, 2, 4)),
        ({"fsdp": -1}, 8, (1, 8, 1)),  # `data`, -1 by default, stands back
        ({"tensor": -1, "fsdp": 2}, 8, (1, 2, 4)),
        ({"data": 2, "fsdp": -1}, 8, (2, 4, 1)),
        ({"data": 2, "fsdp": 3}, 8, (2, 3, 1)),  # nothing is open: `validation` counts
        ({}, 1, (1, 1, 1)),
    ],
)
def test_an_axis_of_minus_one_takes_what_the_others_leave(mesh, count, filled):
    c = configured(**{f"mesh__{axis}": size for axis, size in mesh.items()})
    assert tuple(fill(c, count).mesh.values()) == filled
    assert dict(c.mesh) == {"data": -1, "fsdp": 1, "tensor": 1} | mesh, "the one given is left alone"


@pytest.mark.parametrize(
    ("mesh", "expected"),
    [
        ({"fsdp": 3}, "mesh.fsdp = 3 does not divide 8 devices --config.mesh.fsdp=1"),
        ({"fsdp": 4, "tensor": 4}, "mesh.fsdp * mesh.tensor = 16 8 --config.mesh.tensor=1"),
        ({"fsdp": -1, "tensor": -1}, "mesh.fsdp = -1, mesh.tensor = -1"),
        ({"data": 0}, "mesh.data = 0 1 -1"),
        ({"tensor": -3}, "mesh.tensor = -3 1 -1"),
    ],
)
def test_a_mesh_that_cannot_be_filled_is_one_line_with_the_remedy(mesh, expected):
    with pytest.raises(config.ConfigError) as error:
        settle(configured(**{f"mesh__{axis}": size for axis, size in mesh.items()}), 8)
    for word in expected.split():
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "count", "sizes"),
    [
        # (slots, micro_rows) after
        ({"rollout__slots": 12}, 8, (16, 8)),
        ({"rollout__slots": 250}, 8, (256, 8)),  # all rows
        ({"rollout__slots": 0}, 8, (0, 8)),
        ({"rollout__slots": 1000}, 8, (1000, 8)),
        ({"optim__micro_rows": 4}, 8, (64, 8)),
        ({"optim__micro_rows": 1}, 4, (64, 4)),
        ({"optim__micro_rows": 0}, 8, (64, 0)),
        ({"rollout__group": 6, "optim__micro_rows": 12}, 8, (64, 16)),
        ({"data__prompts_per_step": 48, "optim__micro_rows": 24}, 8, (64, 32)),
        ({"data__prompts_per_step": 33}, 3, (66, 12)),
        ({"data__prompts_per_step": 6, "optim__minibatch_prompts": 3, "optim__micro_rows": 0}, 2, (64, 8)),
        ({"mesh__fsdp": 2, "mesh__tensor": 4, "rollout__slots": 5}, 8, (6, 8)),
    ],
)
def test_slots_and_micro_batches_are_rounded_to_what_divides_and_that_is_said(changes, count, sizes):
    before = configured(**changes)
    c, said = settle(before, count)
    validation.validate(c, count)
    assert (c.rollout.slots, c.optim.micro_rows) == sizes
    changed = [
        f"{key} = {old} does not divide over {config.shards(c)} devices: {new} is used"
        for key, old, new in (
            ("rollout.slots", before.rollout.slots, sizes[0]),
            ("optim.micro_rows", before.optim.micro_rows, sizes[1]),
        )
        if old != new
    ]
    assert said == changed
    assert config.config_hash(config.flat(c)) == config.config_hash(config.flat(before))


def test_what_is_settled_stays_as_it_is():
    c, _ = settle(configured(), 8)
    assert settle(c, 8) == (c, []) and settle(c, 8)[0] is c


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "data.prompts_per_step = 32 does not divide 3 --config.data.prompts_per_step=33 2 devices"),
        ({"data__prompts_per_step": 33, "optim__micro_rows": 5}, "optim.micro_rows = 5 must divide"),
        (
            {"data__prompts_per_step": 6, "optim__minibatch_prompts": 1, "rollout__group": 4},
            "make it larger",
        ),
        ({"data__prompts_per_step": None}, "data.prompts_per_step = None"),
        ({"optim__minibatch_prompts": -1}, "optim.minibatch_prompts = -1"),
        ({"rollout__group": 0}, "rollout.group = 0"),
        ({"data__prompts_per_step": 3 * 10**8, "rollout__group": 10**9}, "optim.micro_rows"),
    ],
)
def test_what_cannot_be_rounded_is_left_to_the_checks(changes, expected):
    c, _ = settle(configured(**changes), 3)
    with pytest.raises(config.ConfigError) as error:
        validation.validate(c, 3, "gpu")
    for word in expected.split():
        assert word in str(error.value), error.value


def test_on_gpus_the_remedy_is_the_variable_that_hides_some():
    with pytest.raises(config.ConfigError, match="give the process 2 devices, CUDA_VISIBLE_DEVICES=0,1$"):
        validation.validate(configured(), 3, "gpu")


def test_without_training_any_number_of_devices_will_do():
    for count in range(1, 17):
        for changes in (
            {},
            {"data__rephrase": "lab"},
            {"optim__minibatch_prompts": 8, "rollout__slots": 3},
        ):
            c, said = settle(configured(**changes), count, trains=False)
            validation.validate(c, count)
            assert all(line.startswith("rollout.slots") for line in said), "no update is made"


@pytest.mark.parametrize(
    ("mesh", "count", "opened"),
    [
        ({"fsdp": 4}, 1, (1, 1, 1)),
        ({"fsdp": 4, "tensor": 2}, 2, (1, 2, 1)),
        ({"fsdp": 2}, 8, (4, 2, 1)),
        ({"tensor": 4}, 3, (1, 3, 1)),
    ],
)
def test_a_run_that_many_devices_made_opens_on_the_devices_there_are(mesh, count, opened):
    c = configured(**{f"mesh__{axis}": size for axis, size in mesh.items()})
    c = settle(elsewhere(c, count), count, trains=False)[0]
    validation.validate(c, count)
    assert tuple(c.mesh.values()) == opened
