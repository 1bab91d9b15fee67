"""Words of the command line that set keys: `--config FILE`, `--config.KEY=VALUE`, and each value by its key's type."""

from __future__ import annotations

import ast
import math
from typing import NamedTuple

from urlvr_jax import config as config_lib
from urlvr_jax.config import ConfigError
from urlvr_jax.verbs import names

TRUE = ("true", "t", "1", "yes", "on")
FALSE = ("false", "f", "0", "no", "off")
EXACT = 2**53  # a float names each whole number below it
BRACKETS = {"(": ")", "[": "]"}
NAMES = {"log.sinks": "tensorboard,wandb"}  # examples of a tuple of names; of others, rewards


class Words(NamedTuple):
    """The command line taken apart."""

    experiment: str | None  # what follows --config; None if it is not there
    typed: dict[str, object]  # {dotted key: value}
    rest: list[str]  # verbs, words and flags


def split(words: list[str]) -> Words:
    """The words of --config and of its keys, and the rest; ConfigError where a key or a value is not one."""
    defaults = config_lib.flat(config_lib.default())
    experiment = None
    typed: dict[str, object] = {}
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            rest += [word, *queue]
            break
        name, equals, value = word.partition("=")
        value = value if equals else None
        bare = name.lstrip("-")
        if not word.startswith("-") or not (bare == "config" or bare.startswith(("config.", "noconfig."))):
            rest.append(word)
        elif bare == "config":
            experiment = _next("--config", value, queue, "experiments/selfcert.py")
            if not experiment:
                raise ConfigError("--config is empty: give an experiment file or a run's folder")
        else:
            key = bare.split(".", 1)[1]
            no = bare.startswith("no")
            if key not in defaults:
                raise ConfigError(names.unknown_key(key, value))
            if no and not isinstance(defaults[key], bool):
                raise ConfigError(f"--no{bare.removeprefix('no')} is for keys that are true or false")
            if isinstance(defaults[key], bool) and value is None:
                told = not no and queue and queue[0].lower() in ("true", "false")
                value = queue.pop(0) if told else str(not no)
            text = _next(f"--config.{key}", value, queue, example(key))
            found = read(key, text)
            both = isinstance(found, tuple) and key in typed  # given twice: one tuple
            typed[key] = typed[key] + found if both else found
    return Words(experiment, typed, rest)


def _next(flag: str, value: str | None, queue: list[str], example: str) -> str:
    """The value of a flag, or the next word where it has none."""
    if value is not None:
        return value
    if not queue or queue[0].startswith("--"):
        raise ConfigError(f"{flag} has no value: give one, for example {flag}={example}")
    return queue.pop(0)


def example(key: str) -> str:
    """A value of a key as it is typed."""
    default = config_lib.value_of(config_lib.default(), key)
    if isinstance(default, bool):
        return str(not default).lower()
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or (
            "16,32" if _holds_widths(key) else NAMES.get(key, "majority_voting")
        )
    return str(default) or "TEXT"


def read(key: str, text: str):
    """The value that a text is for a key; ConfigError names key, value and an example of a right one."""
    default = config_lib.value_of(config_lib.default(), key)
    kind = type(default)
    try:
        if kind is tuple:
            return _widths(text) if _holds_widths(key) else tuple(items(text))
        return {bool: _bool, int: _whole, float: _number, str: str}[kind](text)
    except ValueError as error:
        raise ConfigError(
            f"--config.{key}={text:.100} is {error}: give for example --config.{key}={example(key)}"
        ) from None


def _bool(text: str) -> bool:
    if text.lower() not in TRUE + FALSE:
        raise ValueError("neither true nor false")
    return text.lower() in TRUE


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = _number(text)
    if not number.is_integer() or abs(number) > EXACT:
        raise ValueError("no whole number")
    return int(number)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("no number") from None
    if math.isnan(number):
        raise ValueError("no number")
    return number


def _holds_widths(key: str) -> bool:
    """Of a tuple: whole numbers, or names."""
    return key.endswith("buckets")


def _widths(text: str) -> tuple[int, ...]:
    parts = items(text)
    try:
        return tuple(map(_whole, parts))
    except ValueError:
        raise ValueError("no list of whole numbers") from None


def items(text: str, between: str = ",") -> list[str]:
    """Elements between commas, or another letter; brackets around them and quotes around each may be there or not.

    ValueError where brackets or quotes do not close.
    """
    text = text.strip()
    whole = between == "," and text and BRACKETS.get(text[0]) == text[-1] and _closes_last(text)
    inner = text[1:-1] if whole else text
    parts, depth, quote, start = [], 0, "", 0
    for i, letter in enumerate(inner):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == between and not depth:
            parts.append(inner[start:i])
            start = i + 1
        else:
            depth += (letter in "([") - (letter in ")]")
    parts = [part.strip() for part in (*parts, inner[start:])]
    if depth or quote:
        raise ValueError("a list whose brackets or quotes do not close")
    return [_unquoted(part) for part in parts if part]


def _closes_last(text: str) -> bool:
    """Whether the first bracket closes at the very end."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if not depth:
            return i == len(text) - 1
    return False


def _unquoted(text: str) -> str:
    if text[0] in "'\"":
        try:
            found = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            return text
        return found if isinstance(found, str) else text
    return text
