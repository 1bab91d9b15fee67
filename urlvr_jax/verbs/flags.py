"""The command line's flags, and errors about the user's input as one message."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from typing import NamedTuple

from urlvr_jax.errors import UserError


class Flag(NamedTuple):
    """A default, whose type is the flag's; what it is called in help; what it means, for every verb or by verb."""

    default: str | int | bool | tuple | None  # (): may be given several times
    shown: str
    means: str | dict[str, str]


OPENED = "a model folder, lab:NAME, or a run's folder, which brings its own configuration"
FLAGS = {
    "workdir": Flag(
        "",
        "DIR",
        {
            "train": "folder of the run, on a disk or gs://...; the same folder resumes; a new one of `runs` if not given",
            "doctor": "folder whose disk is looked at; `runs` if not given",
            "mcs": "folder of its runs, one a seed; the same folder resumes; runs/mcs-MODEL if not given",
            "sweep": "folder of its runs, each in one of its own; the same folder goes on",
        },
    ),
    "dry_run": Flag(
        False,
        "",
        "check configuration, model and files; print the resolved configuration and one prompt",
    ),
    "model": Flag("", "FOLDER", OPENED),
    "step": Flag(None, "N", "which of a run's checkpoints; the latest if not given"),
    "data": Flag(
        "",
        "FILE",
        {
            "evaluate": "question file or dataset; `eval.sets` of the configuration if not given",
            "generate": "question file or dataset, asked as `data.*` says",
            "mcs": "question file or dataset with gold answers; the configuration's `data.train` if not given",
            "score": "JSON lines with `prompt` and `response`",
            "variants": "question file of integrals",
            "answers": "JSON lines with `response`, and `answer` if there is one",
        },
    ),
    "align": Flag(
        False, "", "measure, before training, whether each reward pays right responses more than wrong ones"
    ),
    "contamination": Flag(
        False,
        "",
        "also measure whether the questions were seen before: words shared with data.train, and a probe",
    ),
    "tokens_of": Flag(
        "", "RUN", "also tell maj@k of as many samples as the tokens of that run's training would pay for"
    ),
    "prompt": Flag("", "TEXT", "one question; without it the lines of standard input are read"),
    "out": Flag(
        "",
        "FILE",
        {
            "evaluate": "write the JSON object there too, with --align one entry a question more",
            "generate": "write there, not print: JSON lines of `prompt`, `response`, `ended`",
            "mcs": "write all numbers there, a JSON object",
            "export": "the folder to write",
            "rewards": "write the formulas anew into this document",
            "countdown": "the question file to write",
            "variants": "the question file to write",
            "report": "the page to write; report.html if not given",
            "figure": "the file to write, .pdf, .svg or .png; KIND.pdf if not given",
        },
    ),
    "adapter": Flag(False, "", "of a run with model.lora: write its adapters alone, as PEFT reads them"),
    "hardware": Flag("", "NAME", "a machine, v5e-16 or h100-8; without it one device"),
    "compile": Flag(False, "", "ask the compiler for each program's bytes, beside the estimate"),
    "json": Flag(False, "", "print JSON"),
    "count": Flag(4000, "N", "how many tasks; 4000 if not given"),
    "seeds": Flag("0:3", "A:B", "seeds A to B - 1, or a list 0,1,4; 0:3 if not given"),
    "scale": Flag(
        "lab", "NAME", "lab: make the runs; paper: check and price those of the paper's own scale"
    ),
    "draw": Flag(
        False, "", "make no run: write docs/findings and the README's table from the runs on file"
    ),
    "aggressive": Flag(False, "", "four updates a step: it collapses sooner"),
    "jobs": Flag(
        None,
        "N",
        {
            "finding": "runs made at once, a process and a core each; 2 if not given",
            "study": "runs made at once, a process and a core each; 2 if not given",
            "sweep": "runs made at once; if not given, as many as there are cores or GPUs and memory for",
        },
    ),
    "over": Flag((), "KEY=VALUES", "values of a key, 1e-5,3e-5 or 0:3; given again for each key"),
    "metric": Flag(
        "",
        "NAME",
        {
            "sweep": "what is shown and summed up; avg@k of the first question file if not given",
            "compare": "a curve that is compared too",
        },
    ),
    "at": Flag(
        "last",
        "WHEN",
        "last: the latest step that all runs have evaluated; end or peak of each run; or a step; last if not given",
    ),
    "kind": Flag("rise", "NAME", "rise, flips, alignment, mcs or sharpening; rise if not given"),
    "columns": Flag(1, "N", "1 or 2: how wide it is; 1 if not given"),
    "retry": Flag(False, "", "make runs again that failed before; they go on from their checkpoints"),
    "engine": Flag("local", "NAME", "local: processes of this machine; slurm: a job array"),
    "slurm": Flag(
        (), "KEY=VALUE", "of the array, such as partition=gpu or timeout_min=240; given again for each"
    ),
    "coordinator": Flag("", "HOST:PORT", "of process 0, for a run of several processes"),
    "processes": Flag(None, "N", "how many processes this run has; 1: alone, whatever the launcher says"),
    "process_id": Flag(None, "N", "which of them this is, from 0"),
}


def seeds_of(text: str) -> tuple[int, ...]:
    """Of "0:3", or "0,1,4"."""
    try:
        if ":" in text:
            first, end = map(int, text.split(":"))
            seeds = tuple(range(first, end))
        else:
            seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(
            f"--seeds={text} is not possible: give A:B, seeds A to B - 1, or a list such as 0,1,4"
        )
    return seeds


def jobs_of(flag, default: int) -> int:
    """What --jobs says."""
    if flag.jobs is not None and flag.jobs < 1:
        raise UserError(f"--jobs={flag.jobs} is not possible: give 1 or more")
    return default if flag.jobs is None else flag.jobs


LONGEST = 500  # characters of an error that other processes are told
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


def friendly(call, leave=lambda text, status: None, wait_for_the_cause=None):
    """`call`, whose errors that are about the user's input print as one message and exit with status 2.

    leave(text, status): called before a process ends by an error. wait_for_the_cause: where there is one, called when an
    error is about none of the user's input, before it is shown and the process ends with status 1.
    """

    def end(said: str, status: int):
        if said:
            print(said, file=sys.stderr, flush=True)
        leave(said.removeprefix("error: "), status)
        sys.exit(status)

    def run(*arguments):
        try:
            result = call(*arguments)
            sys.stdout.flush()
            return result
        except BrokenPipeError:  # whoever read our output, `| head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            leave("nobody reads its output any more", 128 + signal.SIGPIPE)
            sys.exit(128 + signal.SIGPIPE)
        except KeyboardInterrupt as stopped:
            end(f"interrupted {stopped}".rstrip(), 128 + signal.SIGINT)
        except UserError as error:
            end(f"error: {error}", 2)
        except Exception as error:
            if isinstance(error, OSError) and (text := place_text(error)):
                end(f"error: {text}", 2)
            if wait_for_the_cause:
                wait_for_the_cause()
                traceback.print_exc()
                leave(f"{type(error).__name__}: {error}"[:LONGEST], 1)
            raise

    return run
