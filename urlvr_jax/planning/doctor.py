"""What is wrong with this machine or configuration, found before anything loads.

A check is a function of the configuration that yields findings; none raises for what the user can cause.
"""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import re
import resource
import shutil
import struct

from urlvr_jax import config as config_lib
from urlvr_jax import validation
from urlvr_jax.devices import alone, settle
from urlvr_jax.errors import DataError, FolderError, UserError
from urlvr_jax.planning import memory as memory_lib
from urlvr_jax.planning import rehearsal
from urlvr_jax.planning.finding import Finding
from urlvr_jax.planning.machines import USABLE
from urlvr_jax.planning.memory import GIB
from urlvr_jax.runtime.compile_cache import trouble
from urlvr_jax.sinks import table as sinks
from urlvr_jax.untrusted import json_text

OPEN_FILES = 4096  # Orbax opens a file an array and process; shards, caches and logs come on top


def examine(c, workdir: pathlib.Path, cache: pathlib.Path | None) -> list[Finding]:
    """Every finding, in the order in which a run would meet the trouble."""
    c, problem = _on_devices(c)
    out = [
        *versions(importlib.metadata.requires("urlvr_jax") or ()),
        *(problem or devices(c)),
        *settings(c),
        *model_folder(c),
        *memory(c),
        *questions(c),
        offline(c),
        *disk(c, workdir),
        compile_cache(cache),
        open_files(),
    ]
    if any(f.status == "fail" for f in out):
        return [*out, Finding("rehearsal", "warn", "not made", "mend what failed, and ask again")]
    read_next = ("data.train", "eval.sets")
    return [f for f in out if f.name not in read_next] + rehearsal.rehearse(c)


def versions(requirements) -> list[Finding]:
    """The packages installed against the ranges this was tested with."""
    from packaging.requirements import Requirement

    out = []
    checked = 0
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        checked += 1
        try:
            seen = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            seen = ""
        if not requirement.specifier.contains(seen or "0", prereleases=True):
            wanted = f"{requirement.name}{requirement.specifier}"
            out.append(
                Finding(f"package {requirement.name}", "fail" if not seen else "warn", seen or "not installed",
                        f"pip install '{wanted}'")
            )  # fmt: skip
    return out or [Finding("packages", "ok", f"{checked} requirements, all within their ranges")]


def _on_devices(c) -> tuple[object, list[Finding]]:
    """The configuration on the devices here, or on one, with the finding that says why."""
    import jax

    try:
        return settle(c, jax.device_count() if _local_devices() else 1)[0], []
    except config_lib.ConfigError as error:
        return alone(c), [Finding("devices", "fail", str(error), "change the key that is named")]


def devices(c) -> list[Finding]:
    """Devices of this process group against the mesh, and whether they are the ones that were meant."""
    import jax

    try:
        seen = jax.devices()
    except RuntimeError as error:
        remedy = "install the extra [cuda] or [tpu] that fits"
        return [Finding("devices", "fail", f"{error!s:.300}", remedy)]
    wanted = c.mesh.data * c.mesh.fsdp * c.mesh.tensor
    text = (
        f"{len(seen)} x {seen[0].device_kind} in {jax.process_count()} process(es); the mesh takes {wanted}"
    )
    if len(seen) != wanted:
        remedy = f"make mesh.data * mesh.fsdp * mesh.tensor = {len(seen)}, or one of them -1; the verb `plan` ranks such meshes"
        return [Finding("devices", "fail", text, remedy)]
    hidden = seen[0].platform == "cpu" and (
        shutil.which("nvidia-smi") or pathlib.Path("/dev/accel0").exists()
    )
    if hidden:
        return [Finding("devices", "warn", f"{text}, but this machine has accelerators",
                        "pip install 'urlvr_jax[cuda]' or 'urlvr_jax[tpu]', and unset JAX_PLATFORMS")]  # fmt: skip
    return [Finding("devices", "ok", text)]


def _local_devices() -> list:
    """This process's devices; none where jax finds no backend, which `devices` says."""
    import jax

    try:
        return jax.local_devices()
    except RuntimeError:
        return []


def settings(c) -> list[Finding]:
    """config.validate, as if this machine had the mesh's devices; and what is legal but seldom meant."""
    local = _local_devices()
    platform = local[0].platform if local else None
    try:
        validation.validate(c, c.mesh.data * c.mesh.fsdp * c.mesh.tensor, platform)
        sinks.require(c.log.sinks)
    except config_lib.ConfigError as error:
        return [Finding("configuration", "fail", str(error), "change the key that is named")]
    out = [Finding("configuration", "ok", f"{len(config_lib.flat(c))} keys")]
    if c.model.compute_dtype == "bfloat16" and not c.rollout.rescore and config_lib.updates_per_step(c) > 1:
        out.append(
            Finding("rollout.rescore", "warn", "bfloat16 sampler's log-probabilities enter the ratio of later updates",
                    "rollout.rescore = True, or watch actor/sampler_logp_diff")
        )  # fmt: skip
    return out


def model_folder(c) -> list[Finding]:
    """Configuration, tokenizer, every shard, of the size its header says; lengths within the context.

    Nothing is downloaded: of a Hub name only the local cache is looked at.
    """
    from urlvr_jax.models import folders
    from urlvr_jax.runtime.opening import model_config
    from urlvr_jax.runtime.opening import model_folder as resolve

    name = "model folder"
    try:
        path = _in_cache(c.model.path) if on_hub(c.model.path) else resolve(c.model.path)
        if path is None:
            status = "fail" if is_offline() else "warn"
            remedy = f"`hf download {c.model.path}`, or set model.path to a folder"
            return [Finding(name, status, f"{c.model.path} is not in the Hub's local cache", remedy)]
        model = model_config(c, path)
        folders.check_length(path, model, c.data.prompt_buckets[-1] + c.rollout.max_new_tokens)
    except (FolderError, DataError, config_lib.ConfigError) as error:
        return [Finding(name, "fail", str(error), "set model.path, or the lengths, to what is there")]
    out = [Finding(name, "ok", f"{path}: {model.n_layers} layers, width {model.d_model}")]
    if not any((path / f).is_file() for f in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        out.append(
            Finding(
                "tokenizer", "fail", f"{path} has none", "copy tokenizer.json and its configuration there"
            )
        )
    if c.model.init == "pretrained":
        out.append(weights(path))
    return out


def on_hub(path: str) -> bool:
    return (
        not path.startswith(("lab:", "known:"))
        and not pathlib.Path(path).expanduser().exists()
        and (path.count("/") == 1)
    )


def _in_cache(name: str) -> pathlib.Path | None:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return pathlib.Path(snapshot_download(repository, revision=revision or None, local_files_only=True))
    except (OSError, ValueError):  # not there; or not a name that the Hub could have
        return None


def is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def weights(path: pathlib.Path) -> Finding:
    """Whether the safetensors of a folder are all there and whole, from their headers alone."""
    index = path / "model.safetensors.index.json"
    try:
        found = json_text.read(index, FolderError)["weight_map"] if index.is_file() else {}
        names = sorted(set(found.values()))
    except (FolderError, KeyError, AttributeError, TypeError):
        return Finding("weights", "fail", f"{index} is no index of safetensors", "download it again")
    names = names or ["model.safetensors"]
    total = 0
    for name in names:
        file = path / name
        if not file.is_file():
            return Finding(
                "weights",
                "fail",
                f"{file} is missing",
                "download the model again, or set model.init = 'random'",
            )
        size = file.stat().st_size
        try:
            with open(file, "rb") as f:
                (header,) = struct.unpack("<Q", f.read(8))
                tensors = json_text.parse(f.read(header), str(file), FolderError) if header < size else None
            ends = [t["data_offsets"][1] for n, t in tensors.items() if n != "__metadata__"]
            whole = 8 + header + max(ends, default=0)
        except (struct.error, FolderError, AttributeError, KeyError, TypeError):
            return Finding("weights", "fail", f"{file} has no safetensors header", "download it again")
        if whole != size:
            return Finding(
                "weights", "fail", f"{file} has {size} bytes, its header says {whole}", "download it again"
            )
        total += size
    return Finding("weights", "ok", f"{len(names)} file(s), {total / GIB:.2f} GiB")


def memory(c) -> list[Finding]:
    """The plan's peak a device against what the devices have; on CPUs, all of them against free RAM."""
    local = _local_devices()
    if not local:
        return []  # said by `devices`
    try:
        model = memory_lib.open_model(c)
    except UserError:
        return []  # said by `model_folder`
    platform = local[0].platform
    try:
        parts = memory_lib.memory(c, model, platform)
    except ValueError:
        return []  # said by `settings`
    phase = max(parts, key=lambda p: sum(parts[p].values()))
    need = sum(parts[phase].values())
    has = (local[0].memory_stats() or {}).get("bytes_limit")
    what = "of the device"
    if platform == "cpu":
        need *= len(local)
        has = free_ram()
        what = "free RAM"
    if has is None:
        text = f"plan: {need / GIB:.2f} GiB; the device does not say what it has"
        return [Finding("memory", "warn", text, "see that it has as much")]
    text = f"plan: {need / GIB:.2f} GiB at the peak ({phase}), {has / GIB:.2f} GiB {what}"
    if need > has:
        keys = "fewer rollout.slots or optim.micro_rows, model.remat = True, or more devices on mesh.fsdp"
        if phase == "verify":
            keys = f"fewer rollout.slots or verify.votes, shorter verify.max_new_tokens or verify.prompt_buckets; {keys}"
        return [Finding("memory", "fail", text, f"{keys}; the verb `plan` says what fits")]
    if need > USABLE * has:
        remedy = "leave some: it is an estimate; `plan --compile` asks the compiler"
        return [Finding("memory", "warn", text, remedy)]
    return [Finding("memory", "ok", text)]


def free_ram() -> float | None:
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", pathlib.Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return float(found[1]) * 1024 if found else None


def questions(c) -> list[Finding]:
    """Question files exist and can be opened. Rows are checked when they are read."""
    from urlvr_jax.data.files import question_path

    names = [("data.train", c.data.train)] if c.mode == "rl" and not c.continuation.corpus else []
    names += [("eval.sets", name) for name in c.eval.sets] if c.eval.every else []
    out = []
    for key, name in names:
        if name.startswith("hf:"):
            out.append(Finding(key, "ok", f"{name}: read from the Hub or its cache when the run starts"))
            continue
        try:
            path = question_path(name)
        except DataError as error:
            out.append(Finding(key, "fail", str(error), f"set {key} to a file that exists"))
            continue
        found = [path] if path.exists() else sorted(path.parent.glob(path.name))
        readable = found and all(os.access(p, os.R_OK) for p in found)
        out.append(
            Finding(key, "ok", f"{name}: {len(found)} file(s) or folder(s)") if readable else
            Finding(key, "fail", f"{name} cannot be read" if found else f"{name} does not exist", f"set {key} to a file")
        )  # fmt: skip
    return out


def offline(c) -> Finding:
    """Whether what the configuration names on the Hub could be fetched at all."""
    remote = [c.model.path] if on_hub(c.model.path) else []
    remote += [n for n in (c.data.train, *c.eval.sets) if n.startswith("hf:")]
    state = "HF_HUB_OFFLINE is set" if is_offline() else "HF_HUB_OFFLINE is not set"
    if remote and is_offline():
        return Finding("Hugging Face Hub", "warn", f"{state}; {remote} must be in the cache already",
                       "give folders and files, or unset it")  # fmt: skip
    return Finding("Hugging Face Hub", "ok", f"{state}; {len(remote)} name(s) of the Hub in use")


def disk(c, workdir: pathlib.Path) -> list[Finding]:
    """Room for the checkpoints that may exist at once."""
    try:
        model = memory_lib.open_model(c)
    except UserError:
        return []
    state = memory_lib.saved_bytes(model)
    count = config_lib.checkpoints_at_once(c)
    need = state * count
    place = _existing(workdir)
    free = shutil.disk_usage(place).free
    taken = f"{count} checkpoints take {need / GIB:.1f} GiB"
    text = f"{free / GIB:.1f} GiB free under {place}; {taken}"
    if not os.access(place, os.W_OK):
        return [Finding("disk", "fail", f"{place} cannot be written", "give another --workdir")]
    if free < need:
        return [
            Finding(
                "disk",
                "fail",
                text,
                "free some, give another --workdir, lower checkpoint.keep or raise checkpoint.every",
            )
        ]
    return [Finding("disk", "ok", text)]


def _existing(path: pathlib.Path) -> pathlib.Path:
    path = path.absolute()
    return next(p for p in (path, *path.parents) if p.exists())


def compile_cache(cache: pathlib.Path | None) -> Finding:
    """The compilation cache can be written; without it every start compiles anew."""
    if why := trouble(cache):
        return Finding("compilation cache", "warn", why, "set XDG_CACHE_HOME to a folder of yours")
    return Finding("compilation cache", "ok", str(cache))


def open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        return Finding("open files", "warn", f"at most {soft}", f"ulimit -n {OPEN_FILES}")
    return Finding("open files", "ok", f"at most {soft}")


def text(findings) -> str:
    """One line a finding, the remedy below it."""
    lines = []
    for f in findings:
        lines.append(f"{f.status:<5}{f.name:<22}{f.seen}")
        if f.remedy and f.status != "ok":
            lines.append(f"{'':<5}{'':<22}-> {f.remedy}")
    return "\n".join(lines)
