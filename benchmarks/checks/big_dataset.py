"""A published data set's size: 1.8 million rows that ask 17,398 questions, read until the first step's prompts are there.

    python benchmarks/checks/big_dataset.py [--tokenizer FOLDER] [--format jsonl]

Writes the file first (verl's columns, as DAPO-Math-17k is published), then reads it in a process of its own on
one core, and prints seconds and the most memory that process held.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

QUESTIONS, ROWS, GROUP_ROWS = 17_398, 1_791_700, 1 << 20
BEFORE = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\n"
)
AFTER = '\n\nRemember to put your answer on its own line after "Answer:".'


def questions() -> tuple[list[str], list[str]]:
    """Distinct questions of 40 to 900 characters, and their answers."""
    import numpy as np

    rng = np.random.default_rng(0)
    words = [
        "let",
        "the",
        "sum",
        "of",
        "all",
        "integers",
        "n",
        "such",
        "that",
        "divides",
        "triangle",
        "$x^2 + 1$",
    ]
    texts = []
    for i in range(QUESTIONS):
        some = rng.choice(words, rng.integers(8, 180))
        texts.append(f"{BEFORE}Problem {i}: {' '.join(some)}?{AFTER}")
    return texts, [str(a) for a in rng.integers(0, 1000, QUESTIONS)]


def write(path: pathlib.Path) -> None:
    """The rows of every question stand apart, as in a file that was repeated as a whole and then shuffled."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts, golds = (pa.array(x) for x in questions())
    order = np.random.default_rng(1).permutation(ROWS) % QUESTIONS
    with pq.ParquetWriter(path, schema()) if path.suffix == ".parquet" else path.open("w") as out:
        for start in range(0, ROWS, GROUP_ROWS):
            picks = pa.array(order[start : start + GROUP_ROWS])
            n, content = len(picks), texts.take(picks)
            messages = pa.StructArray.from_arrays([pa.repeat("user", n), content], ["role", "content"])
            rule = pa.StructArray.from_arrays(
                [pa.repeat("rule", n), golds.take(picks)], ["style", "ground_truth"]
            )
            extra = pa.StructArray.from_arrays([picks.cast(pa.string())], ["index"])
            columns = [
                pa.repeat("math_dapo", n), pa.ListArray.from_arrays(pa.array(range(n + 1), pa.int32()), messages),
                pa.repeat("MATH", n), rule, extra,
            ]  # fmt: skip
            table = pa.Table.from_arrays(columns, schema=schema())
            if path.suffix == ".parquet":
                out.write_table(table)
            else:
                out.writelines(json.dumps(row) + "\n" for row in table.to_pylist())


def schema():
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    rule = pa.struct([("style", pa.string()), ("ground_truth", pa.string())])
    return pa.schema(
        [
            ("data_source", pa.string()), ("prompt", pa.list_(message)), ("ability", pa.string()),
            ("reward_model", rule), ("extra_info", pa.struct([("index", pa.string())])),
        ]
    )  # fmt: skip


def make_tokenizer(folder: pathlib.Path) -> None:
    """A byte-level BPE of a few thousand tokens, as real ones are made."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, special_tokens=["<end>"], initial_alphabet=alphabet)
    backend.train_from_iterator(questions()[0][:2000], trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>").save_pretrained(folder)


def read(file: str, tokenizer: str) -> None:
    """The child: from imported modules to the prompts of step 1; one JSON object on standard output."""
    from urlvr_jax.data import stream
    from urlvr_jax.data.prompt_formats import PromptFormat
    from urlvr_jax.data.tokenizer import Tokenizer

    held = lambda: (
        int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 2**20
    )
    imported, began, cpu = held(), time.perf_counter(), time.process_time()
    found, labels = stream.load(file, PromptFormat(Tokenizer(tokenizer)), (1024,))
    prompts = stream.prompts_at(found, 1, 64, 0, False)
    out = {
        "seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1),
        "gib_before": round(imported, 2), "gib": round(held(), 2),
        "questions": len(found), "rows": found.origin.rows, "duplicates": found.origin.duplicates,
        "conflicts": found.origin.conflicts, "labels": len(labels.gold), "first": list(prompts.tokens.shape),
    }  # fmt: skip
    print(json.dumps(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", default="", help="a folder; one is made by default")
    parser.add_argument("--format", default="parquet", choices=("parquet", "jsonl"))
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        return read(*options.read)
    with tempfile.TemporaryDirectory() as folder:
        file, tokenizer = pathlib.Path(folder) / f"questions.{options.format}", options.tokenizer
        write(file)
        if not tokenizer:
            tokenizer = f"{folder}/tokenizer"
            make_tokenizer(pathlib.Path(tokenizer))
        print(f"{file.stat().st_size / 2**20:.0f} MiB written", file=sys.stderr)
        one = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        words = [sys.executable, __file__, "--read", str(file), tokenizer]
        began = time.perf_counter()
        subprocess.run(words, check=True, env=os.environ | one)
        print(
            f"{time.perf_counter() - began:.1f} s with the start of Python and its imports", file=sys.stderr
        )


if __name__ == "__main__":
    main()
