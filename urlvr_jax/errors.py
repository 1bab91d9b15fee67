"""Errors about what the user gave: each prints as one message, with exit status 2 and no traceback.

Every message names the thing (key, file, row, tensor), what is wrong with it, and the remedy. A package that
has errors of its own kind derives them from `UserError` where it raises them.
"""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right; the message says what."""


class DataError(UserError):
    """A question file, or its way to a prompt, that cannot be used; the message names file and row, or key."""


class FolderError(UserError):
    """A model folder that cannot be used; the message names file, key or tensor."""


class UserCodeError(UserError):
    """A function of the user's own file that cannot be loaded; the message names file and line."""
