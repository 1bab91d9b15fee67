"""From a question to the model's prompt: plain text or chat, published prompts by name, and token ids.

Control tokens are written by templates alone: where a question has the text of one, "<|im_end|>", that text is
encoded as ordinary characters. BOS stands where the tokenizer puts it: before plain text if it does so
itself, in a chat where the chat template writes it; never twice.
"""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

import numpy as np

from urlvr_jax.errors import DataError
from urlvr_jax.untrusted.chat_template import ChatTemplateError

FORMATS = ("text", "chat")
CHUNK = 1024  # texts that are encoded at once
SHORT = 10_000  # characters that are encoded whatever the limit, so that their tokens can be told
DATE = "26 Jul 2024"  # for chat templates that print one (Llama 3): a prompt must not depend on the day


class Preset(NamedTuple):
    """A published prompt, as plain text and as a chat."""

    text: str  # the whole prompt; "" where it is published for chats only
    user: str  # the user's message of a chat
    system: str = ""
    opening: str = ""  # how the assistant's turn begins


_BOXED = "{prompt} Let's think step by step and output the final answer within \\boxed{}."
_DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n{prompt}\n\nRemember to put "
    'your answer on its own line after "Answer:".'
)
_THINKS = "first thinks about the reasoning process in the mind and then provides the user with the answer."
_LET_ME = "Let me solve this step by step.\n<think>"
PRESETS = {
    "boxed": Preset(_BOXED, _BOXED),  # verl's suffix for GSM8K and MATH
    "dapo": Preset(_DAPO, _DAPO),  # DAPO-Math-17k, which has it in its rows
    "qwen_math": Preset(  # Qwen2.5-Math
        "", "{prompt}", "Please reason step by step, and put your final answer within \\boxed{}."
    ),
    "tinyzero": Preset(  # Countdown; the question says what to do
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The "
        f"assistant {_THINKS}\nUser: {{prompt}}\nAssistant: {_LET_ME}",
        "{prompt}",
        f"You are a helpful assistant. You {_THINKS}",
        _LET_ME,
    ),
}


def preset(template: str) -> Preset:
    """What `data.template` says: a template with {prompt} once, or a name of PRESETS; ValueError otherwise."""
    if template in PRESETS:
        return PRESETS[template]
    if template.count("{prompt}") != 1:
        near = difflib.get_close_matches(template, PRESETS, n=1)
        raise ValueError(
            "must contain {prompt} exactly once, or be the name of a published prompt, "
            f"{', '.join(PRESETS)}" + (f"; did you mean {near[0]!r}?" if near else "")
        )
    return Preset(template, template)


def check(form: str, template: str, system: str) -> None:
    """ValueError with the remedy if these values of `data.*` do not go together."""
    found = preset(template)
    if form == "text" and system:
        raise ValueError(f"data.system = {system[:60]!r} needs data.prompt_format = 'chat'")
    if form == "text" and not found.text:
        raise ValueError(
            f"data.template = {template!r} has a system message: it needs data.prompt_format = 'chat'"
        )


def of(c, tokenizer) -> PromptFormat:
    """The prompt format that a configuration names."""
    return PromptFormat(tokenizer, c.data.prompt_format, c.data.template, c.data.system)


class PromptFormat:
    """Renders and encodes questions for one tokenizer.

    DataError if the tokenizer has no chat template that can do it. `warnings` says what looks like a mistake.
    """

    def __init__(self, tokenizer, form: str = "text", template: str = "{prompt}", system: str = ""):
        self.tokenizer = tokenizer
        self.chat = form == "chat"
        self.preset = preset(template)
        self.system = system or (self.preset.system if self.chat else "")
        if self.chat:
            self._check_chat_template()
        self.warnings = self._warnings()

    def render(self, question: str, before: tuple[dict, ...] = (), where: str = "") -> str:
        """The text of one prompt. before: messages of the question's own, for chats alone."""
        return self._render([self._filled(question, before, where)])[0]

    def encode(
        self, questions, befores=None, wheres=None, widest: int = 0
    ) -> tuple[list[str], list[np.ndarray], int]:
        """(texts, token ids int32, how many questions had the text of a control token in them), in order.

        befores and wheres: the messages before each question, and where it stands, for errors. A question of more
        characters than `widest` tokens can have is not encoded: its ids are `widest + 1` zeros. 0: no limit.
        """
        if widest:
            most = max(SHORT, widest * self.tokenizer.longest_token)
            long = [len(question) > most for question in questions]
            if any(long):
                return self._encode_short(questions, befores, wheres, long, widest)
        befores = befores or [()] * len(questions)
        wheres = wheres or [""] * len(questions)
        texts = []
        ids = []
        apart = 0
        for start in range(0, len(questions), CHUNK):
            part = slice(start, start + CHUNK)
            rows = list(zip(questions[part], befores[part], wheres[part], strict=True))
            some = self._render([self._filled(*row) for row in rows])
            encoded = [self._with_bos(i) for i in self.tokenizer.encode_batch(some)]
            for k, (question, before, where) in enumerate(rows):
                if any(
                    self.tokenizer.control.search(t) for t in (question, *(m["content"] for m in before))
                ):
                    some[k], encoded[k] = self._encode_apart(question, before, where)
                    apart += 1
            texts += some
            ids += [np.array(i, np.int32) for i in encoded]
        return texts, ids, apart

    def _encode_short(self, questions, befores, wheres, long, widest: int):
        """`encode`, of those that are not too long by their characters."""
        short = lambda values: values and [x for x, out in zip(values, long, strict=True) if not out]
        texts, ids, apart = self.encode(short(questions), short(befores), short(wheres))
        texts = iter(texts)
        ids = iter(ids)
        return (
            ["" if out else next(texts) for out in long],
            [np.zeros(widest + 1, np.int32) if out else next(ids) for out in long],
            apart,
        )

    def _with_bos(self, ids: list[int]) -> list[int]:
        bos = self.tokenizer.added_bos
        return ids if self.chat or bos is None or ids[:1] == [bos] else [bos, *ids]

    def _filled(self, question: str, before: tuple[dict, ...], where: str):
        """The text, or in a chat the messages, of one prompt."""
        template = self.preset.user if self.chat else self.preset.text
        content = template.replace("{prompt}", question)
        if not self.chat:
            if before:
                raise DataError(
                    f"{where}: has other messages before the question: data.prompt_format = 'chat' is needed"
                )
            return content
        own = [m for m in before if m["role"] == "system"]
        if own and self.system:
            raise DataError(
                f"{where}: has a system message of its own, {own[0]['content'][:60]!r}: leave data.system empty "
                "and take a data.template without one"
            )
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *before, {"role": "user", "content": content}]

    def _render(self, filled: list) -> list[str]:
        if not self.chat:
            return filled
        return [text + self.preset.opening for text in self._rendered(filled)]

    def _rendered(self, conversations: list, generation: bool = True) -> list[str]:
        try:
            return self.tokenizer.chat(conversations, generation, date_string=DATE)
        except ChatTemplateError as error:
            raise DataError(
                f"data.prompt_format = 'chat': the chat template of {self.tokenizer.path} cannot render "
                f"{str(conversations[0])[:120]} ({error})"
            ) from None

    def _encode_apart(self, question: str, before: tuple[dict, ...], where: str) -> tuple[str, list[int]]:
        """Text and ids of a prompt in which control tokens of the question are ordinary characters."""
        hidden: list[str] = []

        def hide(text: str) -> str:
            def mark(match):
                hidden.append(match.group())
                return f"\ue000{len(hidden) - 1}\ue001"

            return self.tokenizer.control.sub(mark, text)

        before = tuple(m | {"content": hide(m["content"])} for m in before)
        (text,) = self._render([self._filled(hide(question), before, where)])
        ids = []
        run = ""
        parts = re.split("\ue000(\\d+)\ue001", text)
        for k, part in enumerate(parts):
            if k % 2:
                run += hidden[int(part)]
                continue
            for j, piece in enumerate(self.tokenizer.control.split(part)):
                if j % 2:
                    ids += [*self.tokenizer.encode_plain(run), self.tokenizer.id_of(piece)]
                    run = ""
                else:
                    run += piece
        parts[1::2] = [hidden[int(k)] for k in parts[1::2]]
        return "".join(parts), self._with_bos(ids + self.tokenizer.encode_plain(run))

    def _check_chat_template(self) -> None:
        path = self.tokenizer.path
        if not self.tokenizer.hf.chat_template:
            raise DataError(
                f"data.prompt_format = 'chat': the tokenizer of {path} has no chat template; use "
                "data.prompt_format = 'text', with all of the prompt in data.template"
            )
        conversation = [self._filled("QUESTION", (), "")]
        (open_, closed) = (self._rendered(conversation, g)[0] for g in (True, False))
        if "QUESTION" not in open_:
            raise DataError(f"data.prompt_format = 'chat': the chat template of {path} drops the question")
        if open_ == closed:
            raise DataError(
                f"data.prompt_format = 'chat': the chat template of {path} has no generation prompt "
                "(`add_generation_prompt` changes nothing), so the model would not know that it is its turn; "
                "use data.prompt_format = 'text', with all of the prompt in data.template"
            )

    def _warnings(self) -> list[str]:
        t = self.tokenizer
        out = []
        closes = t.end_of_turn
        if not self.chat:
            if closes in t.declared_stop_ids and not t.control.search(self.preset.text):
                out.append(
                    f"{t.path} ends its responses as its chat template does ({t.hf.decode([closes])}): it looks like "
                    "a chat model, but data.prompt_format = 'text' shows it bare questions"
                )
            return out
        if closes is not None and closes not in t.declared_stop_ids:
            out.append(
                f"{t.path} has a chat template that ends turns with {t.hf.decode([closes])}, which is not among its own "
                "end tokens: it looks like a base model. Either token ends a response"
            )
        if t.added_bos is not None and self.encode(["QUESTION"])[1][0][0] != t.added_bos:
            out.append(
                f"{t.path} puts BOS before plain text, but its chat template writes none: followed as it stands"
            )
        return out
