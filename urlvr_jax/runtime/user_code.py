"""Functions of a user's own file: "my.py:my_reward"."""

from __future__ import annotations

import importlib.util
import inspect
import pathlib
import traceback

from urlvr_jax.errors import UserCodeError, UserError


def load_function(where: str):
    """The function of "file.py:function"; UserCodeError says what is wrong with the file, and where."""
    path, _, attribute = where.rpartition(":")
    if not path or not pathlib.Path(path).is_file():
        raise UserCodeError(f"{where!r}: give an existing file and a function, 'my.py:my_reward'")
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserCodeError(f"{path}: {error}") from None
    except Exception as error:
        raise UserCodeError(
            f"{path}, line {_line(error, path)}: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found) or not hasattr(found, "__name__"):
        functions = [n for n, f in inspect.getmembers(module, inspect.isfunction)]
        raise UserCodeError(f"{path} has no function {attribute!r}; it has {functions}")
    return found


def _line(error: Exception, path: str) -> int | None:
    """Where in the file an error came up."""
    if isinstance(error, SyntaxError):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == path), None)
