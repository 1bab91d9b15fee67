"""Meshes and layouts: the only file with PartitionSpecs, and the only one that moves global arrays.

The mesh has three axes. `data` replicates weights and splits the batch; `fsdp` splits both; `tensor`
splits heads, feed-forward and vocabulary. Training keeps weights split over (fsdp, tensor); rollouts
want them whole along fsdp, so the engine converts once a step from the one layout to the other.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from urlvr_jax.errors import UserError

AXES = ("data", "fsdp", "tensor")
ROWS = PartitionSpec(("data", "fsdp"))

# Layouts in training: kernels [inputs, outputs] by the side that `tensor` splits, tables [V, D].
SPLIT = {
    "outputs": PartitionSpec("fsdp", "tensor"),
    "inputs": PartitionSpec("tensor", "fsdp"),
    "vocabulary": PartitionSpec("tensor", "fsdp"),
    # adapters [inputs, rank] and [rank, outputs] beside a kernel: split as its side is
    "outputs.a": PartitionSpec("fsdp", None),
    "outputs.b": PartitionSpec(None, "tensor"),
    "inputs.a": PartitionSpec("tensor", None),
    "inputs.b": PartitionSpec(None, "fsdp"),
}

# Parameter name -> layout in training.
RULES = (
    (r"embed|head", SPLIT["vocabulary"]),
    (r"layers\.\d+\.attention\.[qkv]\.kernel", SPLIT["outputs"]),
    (r"layers\.\d+\.attention\.o\.kernel", SPLIT["inputs"]),
    (r"layers\.\d+\.feedforward\.(gate|up)\.kernel", SPLIT["outputs"]),
    (r"layers\.\d+\.feedforward\.down\.kernel", SPLIT["inputs"]),
    (
        r"layers\.\d+\.(attention\.[qkv]|feedforward\.(gate|up))\.(bias|kernel_scale)",
        PartitionSpec("tensor"),
    ),
    (r"layers\.\d+\.(attention\.o|feedforward\.down)\.(bias|kernel_scale)", PartitionSpec()),
    (r"layers\.\d+\.(attention\.[qkv]|feedforward\.(gate|up))\.lora_a", SPLIT["outputs.a"]),
    (r"layers\.\d+\.(attention\.[qkv]|feedforward\.(gate|up))\.lora_b", SPLIT["outputs.b"]),
    (r"layers\.\d+\.(attention\.o|feedforward\.down)\.lora_a", SPLIT["inputs.a"]),
    (r"layers\.\d+\.(attention\.o|feedforward\.down)\.lora_b", SPLIT["inputs.b"]),
    (r".*norm\.scale", PartitionSpec()),
)


class MeshError(UserError):
    """A model that does not divide over the mesh; the message names parameter, axis and remedy."""


def make_mesh(data: int, fsdp: int, tensor: int, devices=None) -> Mesh:
    """A mesh of all devices here, or of those given: a topology's compile as well as real ones."""
    devices = np.array(jax.devices() if devices is None else devices).reshape(data, fsdp, tensor)
    return Mesh(devices, AXES, axis_types=(AxisType.Auto,) * 3)


def tracing_for(mesh: Mesh):
    """Context in which code for this mesh is traced: `platform`, `row_shards`, `split_rows` speak of it."""
    return jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def platform() -> str:
    """What the code being traced will run on: the mesh's platform, which need not be this process's."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device is not None else jax.default_backend()


class ByPlatform(NamedTuple):
    """A number that depends on what the code being traced will run on."""

    cpu: int
    other: int

    def of(self, platform_name: str | None = None) -> int:
        """On the named platform, or on the one being traced for."""
        return self.cpu if (platform_name or platform()) == "cpu" else self.other


def _sizes() -> dict[str, int]:
    """Devices along each axis of the mesh being traced for, as its arrays see them: 1 without a mesh, and
    along the axes whose devices are traced one by one (`on_its_rows`)."""
    mesh = jax.sharding.get_abstract_mesh()
    return {axis: 1 if mesh.empty or axis in mesh.manual_axes else mesh.shape[axis] for axis in AXES}


def row_shards() -> int:
    """Devices that hold different rows of an array being traced; 1 without a mesh."""
    sizes = _sizes()
    return sizes["data"] * sizes["fsdp"]


def tensor_shards() -> int:
    """Devices that hold different heads of an array being traced; 1 without a mesh."""
    return _sizes()["tensor"]


def devices() -> int:
    """Devices that hold an array being traced; 1 without a mesh."""
    return math.prod(_sizes().values())


def _pin(x, spec: PartitionSpec):
    """Fix a traced array's layout; nothing without a mesh of several devices."""
    if devices() == 1:
        return x
    one_by_one = set(jax.sharding.get_abstract_mesh().manual_axes)
    keep = lambda part: None if one_by_one & {*(part if isinstance(part, tuple) else (part,))} else part
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*map(keep, spec)))


def split_rows(x, axis: int = 0):
    """Pin an activation's rows to their devices, where they divide; the other axes are XLA's choice.

    Without it XLA carries the weights' layout into the activations, and every device computes all rows.
    """
    if x.shape[axis] % row_shards():
        return x
    spec = [PartitionSpec.UNCONSTRAINED] * x.ndim
    spec[axis] = ROWS[0]
    return _pin(x, PartitionSpec(*spec))


def split_features(x):
    """Pin what was taken from a table `[.., D]` to the table's own layout: rows move, not the table."""
    return _pin(x, PartitionSpec(*[PartitionSpec.UNCONSTRAINED] * (x.ndim - 1), "fsdp"))


def whole(kernel, split: str):
    """A kernel or table gathered along fsdp, for a product with this device's rows."""
    return _pin(kernel, _without(SPLIT[split], "fsdp"))


def scattered(gradient, split: str):
    """The way back for its gradient: summed over the rows' devices, each keeping its share."""
    return _pin(gradient, SPLIT[split])


def like_weights(tree: dict) -> dict:
    """Pin gradients, by name, to the layout of their parameters."""
    return {name: _pin(x, partition_spec(name)) for name, x in tree.items()}


def partition_spec(name: str) -> PartitionSpec:
    """The one rule that matches a parameter's name; none or two is an error."""
    found = [spec for pattern, spec in RULES if re.fullmatch(pattern, name)]
    if len(found) != 1:
        raise ValueError(f"parameter {name!r} matches {len(found)} sharding rules, expected one")
    return found[0]


def _without(spec: PartitionSpec, axis: str) -> PartitionSpec:
    return PartitionSpec(*(None if part == axis else part for part in spec))


def training_layout(mesh: Mesh, shapes: dict) -> dict[str, NamedSharding]:
    """Sharding of each parameter in training; raises where a dimension does not divide."""
    layout = {}
    for name, leaf in shapes.items():
        spec = partition_spec(name)
        for size, axis in zip(leaf.shape, tuple(spec), strict=False):
            if axis is not None and size % mesh.shape[axis]:
                raise MeshError(
                    f"parameter {name!r} {tuple(leaf.shape)}: {size} does not divide over mesh.{axis}"
                    f" = {mesh.shape[axis]}; choose a divisor of {size}"
                )
        layout[name] = NamedSharding(mesh, spec)
    return layout


def rollout_layout(mesh: Mesh, shapes: dict) -> dict[str, NamedSharding]:
    """Sharding of each parameter while decoding: whole along fsdp."""
    return {n: NamedSharding(mesh, _without(partition_spec(n), "fsdp")) for n in shapes}


def tree_layout(mesh: Mesh, tree, layout: dict[str, NamedSharding]):
    """Layout of a tree holding parameter-like leaves under their names (optimizer state)."""

    def find(path, leaf):
        names = [getattr(step, "key", None) for step in path]
        named = [layout[n] for n in names if n in layout]
        return named[-1] if named and leaf.ndim else replicated(mesh)

    return jax.tree_util.tree_map_with_path(find, tree)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh) -> NamedSharding:
    """Leading axis (prompts or rows) split over data and fsdp."""
    return NamedSharding(mesh, ROWS)


def micro_batches(mesh: Mesh) -> NamedSharding:
    """Layouts `[micro-batch, unit, ...]`: units split over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(None, *ROWS))


def on_each_device(fn, units: int, heads: int):
    """`fn` of arrays `[rows, heads, ...]` or `[rows, ...]` int32, every device on its own rows and heads.

    For kernels, which the compiler cannot split. Rows stay whole where `units` do not divide over their
    devices, and heads likewise.
    """
    mesh = jax.sharding.get_abstract_mesh()
    rest = set(AXES) - set(mesh.manual_axes)  # none where a device is traced by itself
    if mesh.empty or mesh.size == 1 or not rest:
        return fn
    by_rows = tuple(axis for axis in ROWS[0] if axis in rest)
    row = by_rows if by_rows and units % row_shards() == 0 else None
    head = "tensor" if "tensor" in rest and heads % mesh.shape["tensor"] == 0 else None
    of = lambda x: PartitionSpec(row, head) if x.ndim > 2 else PartitionSpec(row)

    def run(*args):
        specs = jax.tree.map(of, args)
        out = PartitionSpec(row, head)
        return jax.shard_map(fn, in_specs=specs, out_specs=out, axis_names=rest, check_vma=False)(*args)

    return run


def over_heads(fn, split: tuple[bool, ...], results: tuple[bool, ...], heads: int):
    """`fn` with every device along `tensor` on its own heads: axis 1 of the arguments and results that are marked.

    As `on_each_device` for arrays whose other axes are whole; nothing where `heads` do not divide.
    """
    shares = tensor_shards()
    if shares == 1 or heads % shares:
        return fn
    of = lambda marks: tuple(PartitionSpec(None, "tensor") if mark else PartitionSpec() for mark in marks)
    rest = set(AXES) - set(
        jax.sharding.get_abstract_mesh().manual_axes
    )  # a TPU's kernels leave none to XLA
    return jax.shard_map(fn, in_specs=of(split), out_specs=of(results), axis_names=rest, check_vma=False)


def on_its_rows(fn, rows: tuple[bool, ...]):
    """`fn(queue, *args)`, every device for itself with its own rows (of the arguments marked) and `queue`, which
    of the shards it is. What `fn` returns has rows too. Nothing crosses devices but along `tensor`."""
    mesh = jax.sharding.get_abstract_mesh()
    if row_shards() == 1:
        return lambda *args: fn(0, *args)
    specs = tuple(ROWS if mark else PartitionSpec() for mark in rows)
    return jax.shard_map(
        lambda *args: fn(jax.lax.axis_index(ROWS[0]), *args),
        mesh=mesh,
        in_specs=specs,
        out_specs=ROWS,
        axis_names=set(ROWS[0]) if tensor_shards() > 1 else set(AXES),
        check_vma=False,
    )


def anywhere(flag):
    """Whether a device's flag, traced within `on_its_rows`, is set on any device with which it must keep step.

    With `tensor` those are all: some runtimes have every device take part in what some exchange.
    """
    manual = set(jax.sharding.get_abstract_mesh().manual_axes)
    if tensor_shards() == 1 or not manual:
        return flag
    return jax.lax.pmax(flag.astype(jax.numpy.int32), ROWS[0]) > 0


def put(tree, sharding):
    """Host arrays, the same on every process -> global device arrays."""

    def one(x, s):
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, s, lambda index: x[index])

    with jax.transfer_guard_host_to_device("allow"):  # this is the door
        if isinstance(sharding, NamedSharding):
            return jax.tree.map(lambda x: one(x, sharding), tree)
        return jax.tree.map(one, tree, sharding)


def place_key(key, sharding):
    """The data of a random key uint32, on every device of the mesh; `jax.random.wrap_key_data` undoes it.

    With one process nothing waits for the device; with several its bits go through the host.
    """
    data = jax.random.key_data(key)
    return jax.device_put(data, sharding) if jax.process_count() == 1 else put(data, sharding)


@jax.jit
def _equal(a, b):
    return jax.numpy.array_equal(a, b)


def equal(a, b) -> bool:
    """Whether two arrays have the same values, wherever their parts are: on every process the same."""
    return bool(_equal(a, b))


def to_host(tree):
    """Global device arrays -> NumPy arrays, whole on every process."""
    if jax.process_count() > 1:
        tree = multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(np.asarray, jax.device_get(tree))
