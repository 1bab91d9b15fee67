"""JSON that others wrote: UTF-8, finite numbers, nested no deeper than the reader stands; else one error.

Python's reader takes NaN, Infinity and 1e400 (which becomes infinite), and raises errors of three kinds.
"""

from __future__ import annotations

import json
import math
import pathlib

from urlvr_jax.errors import UserError

MOST_BYTES = 64 << 20  # of a file that is read whole; tokenizers' own files apart


def parse(text: bytes | str, where: str, error: type[UserError]):
    """The value; `error` names `where` if it is not JSON in UTF-8, too deep, or has a number out of range."""
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(text, parse_constant=_refused, parse_float=_finite)
    except RecursionError:
        raise error(f"{where}: not JSON that is read: its brackets are nested too deeply") from None
    except ValueError as problem:  # of UTF-8, of JSON, of an integer of thousands of digits
        raise error(f"{where}: not JSON in UTF-8 ({problem!s:.200})") from None


def read(file: pathlib.Path, error: type[UserError]) -> dict:
    """A file's object; `error` names the file if it cannot be read, is no object or is larger than MOST_BYTES."""
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise error(f"{file} has {size} bytes: no more than {MOST_BYTES} are read")
        text = file.read_bytes()
    except OSError as problem:
        raise error(f"{file} cannot be read: {problem.strerror or problem}") from None
    value = parse(text, str(file), error)
    if not isinstance(value, dict):
        raise error(f"{file}: needs a JSON object, has {str(value)[:80]!a}")
    return value


def _refused(name: str):
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond the range of a float")
    return number
