"""The command line: flags, and errors about the user's input as one message."""

from __future__ import annotations

import errno
import os
import pathlib
import signal
import sys

from absl import flags
from ml_collections import config_flags

from urlvr_jax import config as config_lib
from urlvr_jax.errors import UserError
from urlvr_jax.runtime.paths import is_utf8


def define_flags() -> None:
    config_flags.DEFINE_config_file(
        "config",
        str(pathlib.Path(config_lib.__file__).with_name("config_default.py")),
        "experiment file, FILE:argument if it takes one; --config.a.b=value overrides a key",
        lock_config=True,
    )
    flags.DEFINE_string("workdir", "", "folder of the run; the same folder resumes")
    flags.DEFINE_bool("dry_run", False, "validate, print the resolved configuration and one prompt")
    flags.DEFINE_string("model", "", "evaluate, generate, export, score: a model folder, lab:NAME or a run")
    flags.DEFINE_string(
        "data", "", "evaluate: a question file or dataset; score: completions; answers: responses"
    )
    flags.DEFINE_integer(
        "step", None, "evaluate, generate, export, score: a run's checkpoint; the latest if not given"
    )
    flags.DEFINE_string("hardware", "", "plan: a machine, v5e-16 or h100-8; see docs/plan.md")
    flags.DEFINE_bool(
        "compile", False, "plan: ask the compiler for each program's bytes, beside the estimate"
    )
    flags.DEFINE_bool("json", False, "plan, doctor: for machines")
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, for a run of several processes")
    flags.DEFINE_integer("processes", 1, "how many processes this run has")
    flags.DEFINE_integer("process_id", 0, "which of them this is, from 0")
    flags.DEFINE_integer("jobs", 2, "study: runs made at once, a process and a core each")
    flags.DEFINE_string("prompt", "", "generate: one question; without it they are read from stdin")
    flags.DEFINE_string(
        "out",
        "",
        "export: the folder to write; evaluate: a JSON file; rewards: a document; countdown: a question file",
    )
    flags.DEFINE_integer("count", 4000, "countdown: how many tasks")


def config_file(argv: list[str]) -> str:
    """The experiment file as it was typed."""
    for i, word in enumerate(argv):
        if word in ("--config", "-config") and i + 1 < len(argv):
            return argv[i + 1].split(":")[0]
        if word.startswith(("--config=", "-config=")):
            return word.split("=", 1)[1].split(":")[0]
    return ""


FREE = "free some space and run the same command again; with its --workdir it goes on from the latest checkpoint"
ALLOW = "choose another place, or ask for the right to use this one"
CHOOSE = "choose another place"
REMEDY = {
    errno.ENOSPC: FREE, errno.EDQUOT: FREE, errno.EFBIG: FREE, errno.EACCES: ALLOW, errno.EPERM: ALLOW,
    errno.EROFS: ALLOW, errno.ENOENT: CHOOSE, errno.EEXIST: CHOOSE, errno.ENOTDIR: CHOOSE,
    errno.EISDIR: CHOOSE, errno.ELOOP: CHOOSE, errno.EBUSY: CHOOSE, errno.ENOTEMPTY: CHOOSE,
    errno.ENAMETOOLONG: "choose a shorter one",
}  # fmt: skip


def place_text(error: OSError) -> str:
    """What is wrong with a place the user gave, and the remedy; empty if the error is about something else."""
    remedy = REMEDY.get(error.errno)
    full = remedy == FREE
    if not remedy or not (error.filename or full):
        return ""
    return f"{error.filename or 'a file'}: {error.strerror}: {remedy}"


def _require_text(argv: list[str]) -> None:
    for word in argv:
        if not is_utf8(word):
            raise config_lib.ConfigError(f"{word!a} is not UTF-8: rename what it names, and give that")


def friendly(main):
    """Errors that are about the user's input print as one message and exit with status 2."""

    def run(argv):
        try:
            _require_text(argv)
            if (file := config_file(sys.argv)) and not pathlib.Path(file).is_file():
                raise config_lib.ConfigError(f"--config: experiment file {file!r} does not exist")
            status = main(argv)
            sys.stdout.flush()
            sys.exit(status)
        except BrokenPipeError:  # whoever read our output, `| head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)
        except KeyboardInterrupt as stopped:
            print(f"interrupted {stopped}".rstrip(), file=sys.stderr)
            sys.exit(128 + signal.SIGINT)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            if not (text := place_text(error)):
                raise
            print(f"error: {text}", file=sys.stderr)
            sys.exit(2)

    return run
