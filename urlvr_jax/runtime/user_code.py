"""Functions of a user's own file: "my.py:my_reward"."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import pathlib
import traceback

from urlvr_jax.errors import UserCodeError, UserError

_PACKAGE = str(pathlib.Path(__file__).parents[1]) + os.sep


def load_function(where: str):
    """The function of "file.py:function"; UserCodeError says what is wrong with the file, and where."""
    path, _, attribute = where.rpartition(":")
    if not path or not os.path.isfile(path):
        raise UserCodeError(f"{where!r}: give an existing file and a function, 'my.py:my_reward'")
    try:
        module = load_module(path)
    except UserCodeError:
        raise
    except UserError as error:
        raise UserCodeError(f"{path}: {error}") from None
    found = getattr(module, attribute, None)
    if not callable(found) or not hasattr(found, "__name__"):
        functions = [n for n, f in inspect.getmembers(module, inspect.isfunction)]
        raise UserCodeError(f"{path} has no function {attribute!r}; it has {functions}")
    return found


def load_module(path: str):
    """A file of Python, executed; UserCodeError says what is wrong with it, and where."""
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    with errors_of(path):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def errors_of(path: str):
    """Errors of this file's own code, as one line that names it; a UserError says that itself."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = " ".join(f"{error}".split())
        where = f"{path}, line {_line(error, path)}"
        raise UserCodeError(f"{where}: {type(error).__name__}: {text}") from error


def said(error: BaseException, file: str = "") -> str:
    """An exception in one line, with its last place in a file, else in code that is not this package's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename == file] or [
        f for f in frames if not f.filename.startswith(_PACKAGE)
    ]
    (*_, last) = own or frames
    return f"{type(error).__name__}: {error!s:.300} ({last.filename}, line {last.lineno})"


def _line(error: Exception, path: str) -> int | None:
    """Where in the file an error came up."""
    if isinstance(error, SyntaxError):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    path = os.path.abspath(path)
    return next((f.lineno for f in reversed(frames) if os.path.abspath(f.filename) == path), None)
