"""The tokenizer of a Hugging Face folder: encode, decode, and the tokens that begin and end a text."""

from __future__ import annotations

import functools
import json
import pathlib
import re


class ChatTemplateError(ValueError):
    """A chat template that cannot render a conversation."""


class Tokenizer:
    """Encode, decode, and the ids that end a response.

    chat: prompts are written by the chat template, so what ends a turn there ends a response too.
    """

    def __init__(self, path, chat: bool = False):
        # Imported late, for it takes seconds. AutoTokenizer would import torch too, where there is one.
        self.path = pathlib.Path(path)
        if (self.path / "tokenizer.json").is_file():
            from transformers import PreTrainedTokenizerFast as Loader
        else:
            from transformers import AutoTokenizer as Loader
        self.hf = Loader.from_pretrained(str(path), local_files_only=True)
        self.declared_stop_ids = self._declared_stop_ids()
        closes = self.end_of_turn if chat else None
        self.stop_ids = tuple(sorted({*self.declared_stop_ids, closes} - {None}))
        if not self.stop_ids:
            raise ValueError(f"{path}: neither tokenizer nor generation_config.json names an end token")
        ends = [i for i in (closes, self.hf.eos_token_id) if i is not None]
        self.end_id = (*ends, *self.stop_ids)[0]  # what is written after a response that has ended

    def _declared_stop_ids(self) -> tuple[int, ...]:
        """End tokens of tokenizer, generation_config.json and config.json."""
        ids = set() if self.hf.eos_token_id is None else {self.hf.eos_token_id}
        for file in ("generation_config.json", "config.json"):
            config = self.path / file
            if config.is_file():
                found = json.loads(config.read_text()).get("eos_token_id")
                ids |= set(found if isinstance(found, list) else [found]) - {None}
        return tuple(sorted(ids))

    @functools.cached_property
    def added_bos(self) -> int | None:
        """BOS where the tokenizer itself puts it before a plain text, else None."""
        bos = self.hf.bos_token_id
        file = self.path / "tokenizer_config.json"
        asked = file.is_file() and json.loads(file.read_text()).get(
            "add_bos_token"
        )  # this loader heeds no such key
        adds = asked or self.hf.encode("a")[:1] == [bos]
        return bos if bos is not None and adds else None

    @functools.cached_property
    def end_of_turn(self) -> int | None:
        """The control token that closes the assistant's turn in the chat template; None if there is none."""
        if not self.hf.chat_template:
            return None
        turns = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": "RESPONSE"}]
        try:
            (text,) = self.chat([turns], generation=False)
        except ChatTemplateError:
            return None  # a template that cannot show a response: the other end tokens have to do
        found = self.control.match(text.partition("RESPONSE")[2].lstrip())
        return self.id_of(found.group()) if found else None

    @functools.cached_property
    def control(self) -> re.Pattern:
        """Matches the text of a control token, in its one group."""
        added = self.hf.added_tokens_decoder.values()
        names = {str(t) for t in added if t.special} | set(self.hf.all_special_tokens)
        longest_first = sorted(names, key=lambda n: (-len(n), n))
        return re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")

    def id_of(self, token: str) -> int:
        """The id of a control token."""
        return self.hf.convert_tokens_to_ids(token)

    def chat(self, conversations: list[list[dict]], generation: bool, **variables) -> list[str]:
        """Conversations by the chat template, with the generation prompt or without; ChatTemplateError."""
        from jinja2 import TemplateError

        try:
            return self.hf.apply_chat_template(
                conversations, tokenize=False, add_generation_prompt=generation, **variables
            )
        except (
            TemplateError,
            TypeError,
            ValueError,
            KeyError,
            AttributeError,
        ) as error:  # whatever it does
            raise ChatTemplateError(f"{type(error).__name__}: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Token ids of a text as it stands: no special token is added."""
        return self.hf.encode(text, add_special_tokens=False)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """As `encode`, of many at once, which is faster."""
        bare = dict(return_attention_mask=False, return_token_type_ids=False)
        return self.hf(texts, add_special_tokens=False, **bare)["input_ids"]

    def encode_plain(self, text: str) -> list[int]:
        """As `encode`, but what reads like a control token is ordinary text."""
        return self.hf.encode(text, add_special_tokens=False, split_special_tokens=True) if text else []

    def decode(self, rows) -> list[str]:
        """Texts of token rows, special tokens left out."""
        return self.hf.batch_decode(rows, skip_special_tokens=True)

    def save(self, path) -> None:
        self.hf.save_pretrained(str(path))
