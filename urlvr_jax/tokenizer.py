"""The tokenizer of a Hugging Face folder, behind four methods."""

from __future__ import annotations

import json
import pathlib


class Tokenizer:
    """Encode, decode, and the ids that end a response."""

    def __init__(self, path):
        # Imported late, for it takes seconds. AutoTokenizer would import torch too, where there is one.
        self.path = pathlib.Path(path)
        if (self.path / "tokenizer.json").is_file():
            from transformers import PreTrainedTokenizerFast as Loader
        else:
            from transformers import AutoTokenizer as Loader
        self.hf = Loader.from_pretrained(str(path), local_files_only=True)
        self.stop_ids = self._stop_ids()
        if not self.stop_ids:
            raise ValueError(f"{path}: neither tokenizer nor generation_config.json names an end token")

    def _stop_ids(self) -> tuple[int, ...]:
        ids = set() if self.hf.eos_token_id is None else {self.hf.eos_token_id}
        for file in ("generation_config.json", "config.json"):
            config = self.path / file
            if config.is_file():
                found = json.loads(config.read_text()).get("eos_token_id")
                ids |= set(found if isinstance(found, list) else [found]) - {None}
        return tuple(sorted(ids))

    def encode(self, text: str) -> list[int]:
        """Token ids of a text as it stands: no special token is added."""
        return self.hf.encode(text, add_special_tokens=False)

    def decode(self, rows) -> list[str]:
        """Texts of token rows, special tokens left out."""
        return self.hf.batch_decode(rows, skip_special_tokens=True)

    def save(self, path) -> None:
        self.hf.save_pretrained(str(path))
