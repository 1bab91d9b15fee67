"""Which weights a folder holds, from a sample of every tensor: cheap, whatever the model's size."""

from __future__ import annotations

import hashlib
import pathlib

import numpy as np
from safetensors import safe_open

from urlvr_jax.models.folders import weight_files
from urlvr_jax.untrusted import json_text

FACT = "base_fingerprint"  # its name in a run's record
ROWS = 8  # of a tensor that are read


def fingerprint(path: pathlib.Path) -> str:
    """Of every tensor's name, type, shape and `ROWS` rows: equal for one model however it is cut into files.

    Another training of the same model has other values in nearly every tensor. Raises FolderError, see `weight_files`.
    """
    lines = []
    for file in weight_files(path):
        with safe_open(str(file), framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is no dict
                part = tensors.get_slice(name)
                shape = part.get_shape()
                rows = np.unique(np.linspace(0, shape[0] - 1, ROWS).astype(int)) if len(shape) > 1 else ()
                found = [part[row : row + 1] for row in map(int, rows)] or [part[:]]
                digest = hashlib.sha256(
                    b"".join(np.ascontiguousarray(x).tobytes() for x in found)
                ).hexdigest()
                lines.append(f"{name} {part.get_dtype()} {shape} {digest}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def require(run: pathlib.Path, found: str | None, error: type[Exception]) -> None:
    """`error` where the record of a run's folder says that its checkpoints belong to other weights than these.

    found: their fingerprint; None where checkpoints have all weights.
    """
    file = run / "record.json"
    if found is None or not file.is_file():
        return
    attempts = json_text.read(file, error).get("attempts")
    first = attempts[0] if isinstance(attempts, list) and attempts else {}
    began = first.get(FACT) if isinstance(first, dict) else None
    if began not in (None, found):
        raise error(
            f"{run} trains adapters of a base with the fingerprint {began!r:.40}; model.path has other weights now, with "
            f"{found!r}: give the base that it began from"
        )
