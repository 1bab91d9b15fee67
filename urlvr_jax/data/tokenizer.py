"""The tokenizer of a Hugging Face folder: encode, decode, and the tokens that begin and end a text."""

from __future__ import annotations

import functools
import pathlib
import re

from urlvr_jax.errors import FolderError
from urlvr_jax.untrusted import chat_template, json_text, numbers, shown
from urlvr_jax.untrusted.chat_template import ChatTemplateError

LARGEST_ID = 2**31 - 1
MOST_GROWTH = 64  # characters that the rules of tokenizer.json may make of one, all together


class Tokenizer:
    """Encode, decode, and the ids that end a response.

    chat: prompts are written by the chat template, so what ends a turn there ends a response too. Raises
    FolderError for files that cannot be used; no code of the folder is ever run.
    """

    def __init__(self, path, chat: bool = False):
        # Imported late, for it takes seconds. AutoTokenizer would import torch too, where there is one.
        self.path = pathlib.Path(path)
        if (self.path / "tokenizer.json").is_file():
            _check_growth(self.path / "tokenizer.json")
            from transformers import PreTrainedTokenizerFast as Loader
        else:
            from transformers import AutoTokenizer as Loader
        self.hf = _loaded(Loader, self.path)
        if not isinstance(self.hf.model_max_length, int | float):
            raise FolderError(
                f"{path}: model_max_length = {self.hf.model_max_length!r:.60} must be a number"
            )
        self.declared_stop_ids = self._declared_stop_ids()
        closes = self.end_of_turn if chat else None
        self.stop_ids = tuple(sorted({*self.declared_stop_ids, closes} - {None}))
        if not self.stop_ids:
            raise FolderError(f"{path}: neither tokenizer nor generation_config.json names an end token")
        ends = [i for i in (closes, self.hf.eos_token_id) if i is not None]
        self.end_id = (*ends, *self.stop_ids)[0]  # what is written after a response that has ended

    def _declared_stop_ids(self) -> tuple[int, ...]:
        """End tokens of tokenizer, generation_config.json and config.json."""
        ids = set() if self.hf.eos_token_id is None else {self.hf.eos_token_id}
        for name in ("generation_config.json", "config.json"):
            file = self.path / name
            if file.is_file():
                written = json_text.read(file, FolderError).get("eos_token_id")
                written = written if isinstance(written, list) else [written]
                what = f"{file}: eos_token_id"
                ids |= {
                    numbers.whole(i, what, 0, LARGEST_ID, FolderError) for i in written if i is not None
                }
        return tuple(sorted(ids))

    @functools.cached_property
    def added_bos(self) -> int | None:
        """BOS where the tokenizer itself puts it before a plain text, else None."""
        bos = self.hf.bos_token_id
        file = self.path / "tokenizer_config.json"
        # This loader heeds no such key.
        asked = file.is_file() and json_text.read(file, FolderError).get("add_bos_token")
        adds = asked or self._asked(self.hf.encode, "a")[:1] == [bos]
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
        return self._asked(self.hf.convert_tokens_to_ids, token)

    def chat(self, conversations: list[list[dict]], generation: bool, **variables) -> list[str]:
        """Conversations by the chat template, with the generation prompt or without; ChatTemplateError."""
        try:
            template = self.hf.get_chat_template()
        except ValueError as error:
            raise ChatTemplateError(str(error)) from error
        variables = {**self.hf.special_tokens_map, **variables}
        return chat_template.render(template, conversations, generation, variables)

    @functools.cached_property
    def longest_token(self) -> int:
        """Characters of the longest token: so many times its tokens a text cannot exceed, but for rules that shrink it."""
        return max(map(len, self.hf.get_vocab()), default=1)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text as it stands: no special token is added."""
        return self._asked(self.hf.encode, text, add_special_tokens=False)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """As `encode`, of many at once, which is faster."""
        bare = dict(return_attention_mask=False, return_token_type_ids=False)
        return self._asked(self.hf, texts, add_special_tokens=False, **bare)["input_ids"]

    def encode_plain(self, text: str) -> list[int]:
        """As `encode`, but what reads like a control token is ordinary text."""
        if not text:
            return []
        return self._asked(self.hf.encode, text, add_special_tokens=False, split_special_tokens=True)

    def decode(self, rows) -> list[str]:
        """Texts of token rows, special tokens left out."""
        return self._asked(self.hf.batch_decode, rows, skip_special_tokens=True)

    def _asked(self, fn, what, **options):
        """FolderError where the folder's rules fail on a text or on ids: the library raises Exception itself."""
        try:
            return fn(what, **options)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001
            raise FolderError(
                f"{self.path}: its tokenizer fails on {str(what)[:60]!r} ({error!s:.200})"
            ) from None

    def save(self, path) -> None:
        self.hf.save_pretrained(str(path))


def _loaded(loader, path: pathlib.Path):
    """The tokenizer of a folder, by its files alone."""
    try:
        with shown.library_output():  # its Rust prints texts of the folder
            return loader.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except (
        BaseException
    ) as error:  # the library's Rust raises Exception itself, and panics as a BaseException
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise FolderError(f"{path}: no usable tokenizer ({error!s:.300})") from None


def _check_growth(file: pathlib.Path) -> None:
    """FolderError if the rules of a tokenizer.json may make a text more than MOST_GROWTH times as long."""
    written = json_text.read(file, FolderError)
    for section in ("normalizer", "pre_tokenizer", "decoder"):
        growth = 1
        for rule in _rules(written.get(section)):
            growth *= max(1, len(str(rule.get("content") or rule.get("prepend") or "")))
        if growth > MOST_GROWTH:
            raise FolderError(
                f"{file}: the rules of its {section} may make a text {growth} times as long, of which at most "
                f"{MOST_GROWTH} is read"
            )


def _rules(section):
    """The rules of a section that write text, those of a sequence one by one."""
    if isinstance(section, dict):
        if section.get("type") in ("Replace", "Prepend"):
            yield section
        for part in section.values():
            yield from _rules(part)
    elif isinstance(section, list):
        for part in section:
            yield from _rules(part)
