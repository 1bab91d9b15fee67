"""A checkpoint as they come from the Hub, in and out: load it, train on GSM8K without labels, export it.

    python benchmarks/checks/real_checkpoint.py [--small] [--questions FILE] [--folder FOLDER]

`transformers` writes a Qwen2 of 0.48 billion parameters in bfloat16, in several files, with a byte-level
BPE tokenizer trained on the questions; nothing in it is trained, so only the machinery is checked:

    load      anonymous memory while loading at most 1.3 times the arrays (what is mapped from files is the page
              cache's, and not counted)
    train     three steps of majority voting, the last number of a response being its answer
    export    `transformers` loads what was exported, and its float32 logits are ours to 1e-3

Cost: about 12 GiB of memory, and 15 minutes on one core; --small: a model of 0.6 million, a minute. Exit
status 1 if a check fails. PyTorch is needed.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUESTIONS = ROOT.parent / "shared" / "data" / "gsm8k_train.jsonl"
FULL = dict(hidden_size=1536, intermediate_size=8960, num_hidden_layers=10, num_attention_heads=12)
SMALL = dict(hidden_size=64, intermediate_size=192, num_hidden_layers=4, num_attention_heads=4)
VOCAB, END = 8192, "<|endoftext|>"
MEMORY, LOGITS = 1.3, 1e-3  # what is allowed
OPTIONS = {
    "steps": 3,
    "data.template": "{prompt}\nAnswer: ",
    "data.prompts_per_step": 4,
    "data.prompt_buckets": (96,),
    "rollout.group": 4,
    "rollout.max_new_tokens": 64,
    "rollout.response_buckets": (64,),
    "rollout.slots": 0,
    "answers.style": "number",
    "reward.name": "majority_voting",
    "optim.lr": 1e-5,
    "optim.micro_rows": 0,
    "eval.every": 0,
    "checkpoint.every": 0,
    "log.completions_every": 1,
}


def prompts(folder: pathlib.Path) -> list[str]:
    with open(folder / "questions.jsonl", encoding="utf-8") as lines:
        return [json.loads(line)["prompt"] for line in lines]


def write_checkpoint(folder: pathlib.Path, small: bool) -> None:
    import tokenizers
    import torch
    import transformers

    texts = prompts(folder)
    bpe = tokenizers.ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=VOCAB, special_tokens=[END], show_progress=False)
    options = dict(eos_token=END, pad_token=END, clean_up_tokenization_spaces=False)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, **options)
    end = tokenizer.eos_token_id
    config = transformers.Qwen2Config(
        **(SMALL if small else FULL), num_key_value_heads=2, vocab_size=VOCAB, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True, eos_token_id=end, bos_token_id=end, max_position_embeddings=4096,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "bias" in name or "norm" in name:
                p.add_(torch.randn_like(p) * 0.1)
    model.generation_config.eos_token_id = end
    model.save_pretrained(folder / "model", max_shard_size="1MB" if small else "200MB")
    tokenizer.save_pretrained(folder / "model")


def anonymous_bytes() -> int:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no RssAnon: this check needs Linux")


def measure_load(folder: pathlib.Path) -> dict:
    """Load onto one device; the highest anonymous memory above that of before."""
    import jax

    from urlvr_jax.models import folders, transformer
    from urlvr_jax.runtime import sharding

    config = folders.model_config(folder / "model")
    shapes = transformer.structure(config)[1]
    layout = sharding.training_layout(sharding.make_mesh(1, 1, 1), shapes)
    jax.block_until_ready(jax.numpy.zeros(8) + 1)  # the runtime's own memory
    before, peak, done = anonymous_bytes(), [0], threading.Event()

    def watch():
        while not done.wait(0.002):
            peak[0] = max(peak[0], anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    params = jax.block_until_ready(folders.load(folder / "model", config, layout))
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    size = sum(x.nbytes for x in params.values())
    return {
        "parameters": sum(x.size for x in params.values()),
        "files": len(list((folder / "model").glob("*.safetensors"))),
        "arrays_gib": size / 2**30,
        "anonymous_peak_over_arrays": (max(peak[0], anonymous_bytes()) - before) / size,
        "before_gib": before / 2**30,
        "seconds": seconds,
    }


def compare_logits(folder: pathlib.Path) -> dict:
    """Largest difference of our logits of the exported folder and those of `transformers`, both float32."""
    import numpy as np
    import torch
    import transformers

    from urlvr_jax.models import folders, transformer
    from urlvr_jax.scoring.score import whole_logits

    exported = folder / "exported"
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    tokens = np.array([tokenizer.encode(prompts(folder)[0])], np.int32)
    config = folders.model_config(exported)
    ours = np.asarray(
        whole_logits(transformer.structure(config)[0], folders.load(exported, config), tokens)
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = model(torch.tensor(tokens.astype(np.int64))).logits.numpy()
    base = folders.load(folder / "model", folders.model_config(folder / "model"))
    trained = folders.load(exported, config)
    moved = max(float(np.abs(trained[n] - base[n]).max()) for n in base)
    return {
        "tokens": tokens.size,
        "logits_apart": float(np.abs(ours - theirs).max()),
        "logits_std": float(theirs.std()),
        "parameters_moved": moved,
    }


def run(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def child(what: str, folder: pathlib.Path) -> dict:
    """A part of the work in a process of its own, whose memory is its own."""
    return json.loads(run(__file__, "--child", what, "--folder", str(folder)).splitlines()[-1])


def check(folder: pathlib.Path, questions: pathlib.Path, small: bool) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(questions, folder / "questions.jsonl")
    child("write-small" if small else "write", folder)
    loaded = child("load", folder)
    print(json.dumps(loaded), flush=True)
    began = time.perf_counter()
    options = OPTIONS | {"model.path": str(folder / "model"), "data.train": str(folder / "questions.jsonl")}
    words = [f"--config.{key}={value}" for key, value in options.items()]
    work = ["-m", "urlvr_jax.main", "--config", "experiments/majority.py", "--workdir", str(folder / "run")]
    run(*work, *words)
    steps = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    for line in steps:
        print({k: line[k] for k in ("step", "reward/mean", "actor/grad_norm", "actor/loss") if k in line})
    print(f"trained in {time.perf_counter() - began:.0f} s", flush=True)
    print(
        run(
            "-m",
            "urlvr_jax.main",
            "export",
            "--model",
            str(folder / "run"),
            "--out",
            str(folder / "exported"),
        )
    )
    compared = child("compare", folder)
    print(json.dumps(compared), flush=True)
    return (
        loaded["anonymous_peak_over_arrays"] <= MEMORY
        and compared["logits_apart"] <= LOGITS
        and compared["parameters_moved"] > 0
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--questions", type=pathlib.Path, default=QUESTIONS)
    parser.add_argument("--folder", type=pathlib.Path, help="kept; without it a temporary one")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        work = {
            "write": lambda f: write_checkpoint(f, False),
            "write-small": lambda f: write_checkpoint(f, True),
            "load": measure_load,
            "compare": compare_logits,
        }
        print(json.dumps(work[args.child](args.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        good = check((args.folder or pathlib.Path(scratch) / "real").resolve(), args.questions, args.small)
    print("every check passed" if good else "a check failed")
    sys.exit(not good)


if __name__ == "__main__":
    main()
