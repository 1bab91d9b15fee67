"""Which folders can hold a run: those that the checkpoint library reads back as it wrote them."""

from __future__ import annotations

import os
import pathlib

from urlvr_jax.errors import UserError

PATTERN = "*?[\\"  # Orbax looks for its files by patterns that begin with the folder's own name


class PathError(UserError):
    """A folder that cannot be used; the message says what of its name is in the way."""


def require_plain(path: pathlib.Path) -> None:
    """PathError if a run in this folder could be written but not read back."""
    whole = pathlib.Path(os.path.realpath(path))
    text = str(whole)
    found = [f"{letter!r}" for letter in PATTERN if letter in text]
    found += [
        f"a folder {part!r}" for part in whole.parts if part.endswith(":")
    ]  # gs:/x is a bucket to Orbax
    if not is_utf8(text):
        found.append("bytes that are not UTF-8")
    if found:
        raise PathError(
            f"{text!a}: its name has {', '.join(found)}: checkpoints there cannot be read back; choose "
            "or rename a folder without"
        )


def is_utf8(text: str) -> bool:
    """Whether a name from the system is text; Python keeps other bytes of it as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
