"""A policy with adapters on a mesh: its fresh state, its base, and the merged copy that decodes. See `models/lora.py`."""

from __future__ import annotations

import jax
import numpy as np

from urlvr_jax.models import lora
from urlvr_jax.runtime import sharding


def fresh(params: dict, shapes: dict, layout: dict, seed: int) -> dict:
    """Placed parameters of the plain model -> those of `shapes`: kernels in int8 where they are, new adapters.

    Takes the parameters over: each kernel is let go as soon as it is quantised.
    """
    params = dict(params)
    for name in [
        n for n in shapes if n.endswith(".kernel") and n.replace(".kernel", f".{lora.SCALE}") in shapes
    ]:
        scale = name.replace(".kernel", f".{lora.SCALE}")
        to = layout[name], layout[scale]
        params[name], params[scale] = jax.jit(lora.quantised, out_shardings=to)(params[name])
    adapters = lora.initialise(shapes, seed)
    return params | sharding.put(adapters, {n: layout[n] for n in adapters})


class Base:
    """The base of the latest parameters, which costs no second copy: their adapters with B = 0."""

    def __init__(self, shapes: dict, layout: dict):
        self.shapes = {n: s for n, s in shapes.items() if n.endswith(f".{lora.B}")}
        self.layout = {n: layout[n] for n in self.shapes}
        self.zeros = None

    def of(self, params: dict) -> dict:
        if self.zeros is None:
            zeros = {n: np.zeros(s.shape, s.dtype) for n, s in self.shapes.items()}
            self.zeros = sharding.put(zeros, self.layout)
        return params | self.zeros


class Merged:
    """The latest parameters with their adapters merged in, in the layout of rollouts: one copy at a time.

    A step's rollouts and the evaluation that is asked for meanwhile share it; `drop` lets it go.
    """

    def __init__(self, config, shapes: dict, training_layout: dict, layout: dict):
        changed = {n.rpartition(".")[0] for n in shapes if n.endswith((f".{lora.A}", f".{lora.SCALE}"))}
        same = lambda n: (
            shapes[n].dtype == config.compute_dtype
            and training_layout[n].is_equivalent_to(layout[n], shapes[n].ndim)
            and not (n.endswith(".kernel") and n.rpartition(".")[0] in changed)
        )
        self.shared = frozenset(n for n in layout if same(n))  # the same arrays
        merge = lambda p: lora.merged(p, config.lora, config.compute_dtype)
        self.merge = jax.jit(merge, out_shardings={n: layout[n] for n in layout if n not in self.shared})
        self.drop()

    def drop(self) -> None:
        self.source = self.copy = None

    def of(self, params: dict) -> dict:
        """The parameters of the plain model."""
        if self.source is not params:
            self.drop()
            changed = self.merge({n: x for n, x in params.items() if n not in self.shared})
            self.source, self.copy = params, {n: params[n] for n in self.shared} | changed
        return self.copy
