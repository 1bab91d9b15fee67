"""Coverage-guided fuzzing of the readers by atheris (pip install atheris): a value or a UserError, nothing else.

    python benchmarks/checks/fuzz.py --seconds 600              each of the six readers for ten minutes
    python benchmarks/checks/fuzz.py --target answers --seconds 60

Begins with the inputs of fuzz_seeds; what crashes a reader is written in the current folder as crash-*, and the
exit status is 1.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

SEEDS = pathlib.Path(__file__).parent / "fuzz_seeds"
TARGETS = ("json_lines", "columns", "config", "weights", "answers", "rewards")


def reader(target: str, folder: pathlib.Path):
    """The function of some bytes."""
    from urlvr_jax.answers import canonical, classes, extract
    from urlvr_jax.data import files, shapes
    from urlvr_jax.lab import shipped
    from urlvr_jax.models import folders
    from urlvr_jax.rewards import expression

    styles = sorted(extract.EXTRACTORS)
    base = folders.model_config(shipped.base("lab:plain"))
    text_of = lambda data: data.decode("utf-8", "surrogateescape")

    def json_lines(data: bytes):
        file = folder / ("q.json" if data[:1] == b"[" else "q.jsonl")
        file.write_bytes(data)
        files.read(str(file), {})

    def columns(data: bytes):
        first, _, rest = text_of(data).partition("\n")
        shapes.find(rest.split("\n"), shapes.parse(first), "file")

    def config(data: bytes):
        (folder / "config.json").write_bytes(data)
        folders.model_config(folder)

    def weights(data: bytes):
        split = data.find(b"\n{")
        header, index = (data, b"") if split < 0 else (data[:split], data[split + 1 :])
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
        (folder / "model.safetensors.index.json").unlink(missing_ok=True)
        if index:
            (folder / "model.safetensors.index.json").write_bytes(index)
        folders.check_weights(folder, base)

    def answers(data: bytes):
        text = text_of(data)
        for style in styles:
            key = classes.answer_key(text, style)
            assert key is None or canonical.key(key) == key, (style, key)
        assert canonical.key(canonical.key(text)) == canonical.key(text)

    def rewards(data: bytes):
        expression.load(text_of(data))

    return locals()[target]


def child(target: str, arguments: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(
        include=["urlvr_jax.answers", "urlvr_jax.data", "urlvr_jax.untrusted", "urlvr_jax.rewards"]
    ):
        read = reader(target, pathlib.Path(tempfile.mkdtemp(prefix="fuzz-")))
    from urlvr_jax.errors import UserError
    from urlvr_jax.rewards.interface import RewardError

    def one(data: bytes) -> None:
        try:
            read(data)
        except (UserError, RewardError):
            pass
        except ValueError:
            if (
                target != "columns"
            ):  # `data.columns` is checked by its reader's ValueError, which validation names
                raise

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--child", choices=TARGETS, help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.child:
        child(options.child, rest)
        return 0
    failed = []
    for target in options.target or TARGETS:
        with tempfile.TemporaryDirectory(prefix="corpus-") as corpus:
            for seed in (SEEDS / target).iterdir():
                shutil.copy(seed, corpus)
            limits = [
                f"-max_total_time={options.seconds}",
                "-timeout=30",
                "-rss_limit_mb=4096",
                "-max_len=4096",
            ]
            words = [sys.executable, __file__, "--child", target, corpus, *limits, "-print_final_stats=1"]
            done = subprocess.run(words, stderr=subprocess.PIPE, text=True)
        runs = next(
            (line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line),
            "?",
        )
        print(f"{target}: {runs} inputs, {'ok' if not done.returncode else 'FAILED'}", flush=True)
        if done.returncode:
            failed.append(target)
            print(done.stderr[-2000:], flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
