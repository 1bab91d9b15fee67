"""Write the laboratory's files: tokenizer and configuration of its model, and its question files.

python -m urlvr_jax.lab.build          the question files and the untrained folder
python -m urlvr_jax.main --config experiments/lab_pretrain.py:plain      then one base, weights
"""

from __future__ import annotations

import json
import pathlib
import re

from urlvr_jax.lab import countdown_world, integration_world, programs_world, python_world, world

HERE = pathlib.Path(__file__).parent


def write_folder(path: pathlib.Path, of) -> None:
    """The folder of a world's model: an ordinary Hugging Face folder without weights: Qwen3 configuration, and a tokenizer
    of the world's symbols, of which the longest that fits is taken."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config

    pad, end, unk = of.SPECIAL
    names = [*of.SPECIAL, *of.SYMBOLS]
    tokenizer = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token=unk))
    words = sorted((s for s in of.SYMBOLS if len(s) > 1), key=len, reverse=True)
    pattern = "|".join([*map(re.escape, words), "(?m)."])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        eos_token=end,
        unk_token=unk,
        clean_up_tokenization_spaces=False,
        model_max_length=128,
    ).save_pretrained(path)
    Qwen3Config(
        vocab_size=len(names),
        hidden_size=64,
        num_hidden_layers=of.LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=16,
        intermediate_size=192,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        dtype="float32",
        architectures=["Qwen3ForCausalLM"],
    ).save_pretrained(path)


def write_questions(folder: pathlib.Path, of, prefix: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for which, count in of.QUESTIONS.items():
        rows = [{**row, "id": f"{which}/{i}"} for i, row in enumerate(of.questions(which, count, seed=0))]
        write_rows(folder / f"{prefix}{which}.jsonl", rows)
        if of is integration_world and which == "hard":
            write_rows(folder / f"{prefix}variants.jsonl", of.curriculum(rows))


def write_rows(file: pathlib.Path, rows: list[dict]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    for of, folder, prefix in (
        (world, "untrained", ""),
        (countdown_world, "untrained_countdown", "countdown_"),
        (programs_world, "untrained_programs", "programs_"),
        (integration_world, "untrained_integration", "integration_"),
        (python_world, "untrained_python", "python_"),
    ):
        write_folder(HERE / "bases" / folder, of)
        write_questions(HERE / "questions", of, prefix)
        print(f"wrote {HERE / 'bases' / folder} and {HERE / 'questions' / prefix}*.jsonl")
