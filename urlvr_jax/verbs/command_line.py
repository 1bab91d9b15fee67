"""The command line, from words to what a verb is given."""

from __future__ import annotations

import difflib
import pathlib
import re
import sys
import types
from typing import NamedTuple

from absl import flags as absl_flags

from urlvr_jax import config as config_lib
from urlvr_jax.config import ConfigError
from urlvr_jax.runtime import bucket
from urlvr_jax.runtime.paths import is_utf8
from urlvr_jax.verbs import VERBS, help, names, overrides
from urlvr_jax.verbs.flags import FLAGS

HELP = ("--help", "-help", "-h", "-?", "--helpshort", "--helpfull")
# What trains is given instead of a flag of other verbs.
IN_BUCKETS = {  # flags that may say gs://...
    "train": ("workdir",), "evaluate": ("model", "data", "out"), "generate": ("model",), "score": ("model",),
    "export": ("model", "out"), "mcs": ("model", "data"),
}  # fmt: skip
INSTEAD = {"model": "config.model.path", "data": "config.data.train", "out": "workdir"}


class Given(NamedTuple):
    """What is to be done."""

    verb: str
    words: tuple[str, ...]  # after the verb
    flags: (
        types.SimpleNamespace
    )  # a value for each of FLAGS; `config`; `experiment`, `typed` of overrides.Words

    @property
    def facts(self) -> dict[str, str]:
        """What every process of a run must have been given alike."""
        flag = vars(self.flags)
        given = {f"--{name}": repr(flag[name]) for name in VERBS[self.verb].flags if name != "process_id"}
        keys = {f"--config.{key}": repr(value) for key, value in config_lib.flat(self.flags.config).items()}
        return {"verb": " ".join((self.verb, *self.words)), **given, **keys}

    @property
    def name(self) -> str:
        """Of a new run's folder: the experiment's, or the run's whose configuration it takes."""
        text = self.flags.experiment or "default"
        path, file = pathlib.Path(text), text.partition(":")[0]
        if path.is_dir():
            return path.resolve().name
        if path.suffix == ".json" and not file.endswith(".py"):
            return path.resolve().parent.name
        return pathlib.Path(file).stem


def parse(argv: list[str]) -> Given:
    """What the words say, with its configuration. Help is printed, and ends the process; UserError for what is amiss."""
    for word in argv:
        if not is_utf8(word):
            raise ConfigError(f"{word!a} is not UTF-8: rename what it names, and give that")
    words = argv[1:]
    if not words:
        print(help.of_project(), file=sys.stderr, flush=True)
        sys.exit(2)
    if words[0] == "help" or any(word in HELP for word in words):
        verb = next((word for word in words if word in VERBS), "")
        print(help.of_verb(verb) if verb else help.of_project(), flush=True)
        sys.exit(0)
    flags = _defined()
    try:
        experiment, typed, rest = overrides.split(flags.read_flags_from_files(words, force_gnu=False))
        verb, *more = flags([argv[0], *rest])[1:] or ["train"]
    except absl_flags.Error as error:
        raise ConfigError(_said(error, words)) from None
    _check_verb(verb, more)
    _check_flags(verb, flags)
    c = config_lib.load_experiment(experiment) if experiment else config_lib.default()
    c.update_from_flattened_dict(typed)
    values = {name: flags[name].value for name in FLAGS}
    flag = types.SimpleNamespace(**values, config=c, experiment=experiment or "", typed=typed)
    return Given(verb, tuple(more), flag)


def _defined() -> absl_flags.FlagValues:
    """The flags, not yet read."""
    values = absl_flags.FlagValues()
    for name, flag in FLAGS.items():
        kind = absl_flags.DEFINE_integer
        if isinstance(flag.default, bool):
            kind = absl_flags.DEFINE_bool
        elif isinstance(flag.default, str):
            kind = absl_flags.DEFINE_string
        elif isinstance(flag.default, tuple):
            kind = absl_flags.DEFINE_multi_string
        kind(name, flag.default, "", flag_values=values)
    return values


def _said(error: absl_flags.Error, words: list[str]) -> str:
    """One line about a flag that is none, or has a value that is none."""
    text = " ".join(str(error).split())
    if isinstance(error, absl_flags.UnrecognizedFlagError):
        given = (word.lstrip("-").partition("=") for word in words)
        value = next((value for name, equals, value in given if equals and name == error.flagname), None)
        return names.unknown_flag(error.flagname, value)
    if found := re.match(r"flag (--(\w+)=.*?): ", text):
        kind = "true or false" if isinstance(FLAGS[found[2]].default, bool) else "a whole number"
        return f"{found[1]} is not possible: give {kind}"
    return text


def _check_verb(verb: str, more: list[str]) -> None:
    """ConfigError for an unknown verb, and for words that no verb reads."""
    strange = verb if verb not in VERBS else more[0] if more and not VERBS[verb].words else None
    if strange is None:
        return
    key, equals, value = strange.partition("=")
    if equals:
        found = f"--config.{key}={value}"
        if key not in config_lib.flat(config_lib.default()):
            found = names.unknown_key(key, value).partition("did you mean ")[2].rstrip("?") or found
        raise ConfigError(f"{strange!r} is no verb: a key is set by {found}")
    if verb in VERBS:
        taken = next((f"--{flag}" for flag in ("model", "data") if flag in VERBS[verb].flags), "options")
        raise ConfigError(f"{verb} takes no word {strange!r}: give {taken}, see `{verb} --help`")
    near = difflib.get_close_matches(verb, VERBS, 1)
    meant = f"did you mean {near[0]}? The verbs are" if near else "the verbs are"
    hint = f"; to train by a file: --config {verb}" if verb.endswith(".py") else ""
    raise ConfigError(f"unknown verb {strange!r}: {meant} {', '.join(VERBS)}{hint}")


def _check_flags(verb: str, flags: absl_flags.FlagValues) -> None:
    """ConfigError for a flag that this verb would not read."""
    for name in FLAGS:
        if flags[name].present and name not in VERBS[verb].flags:
            readers = [other for other in VERBS if name in VERBS[other].flags]
            said = f"--{name} is not for {verb}, but for {', '.join(readers)}"
            if verb == "train" and name in INSTEAD:
                said += f"; to train give --{INSTEAD[name]}={flags[name].value}"
            raise ConfigError(f"{said}; see `{verb} --help`")
        value = str(flags[name].value)
        if bucket.is_in(value) and name not in IN_BUCKETS.get(verb, ()):
            raise ConfigError(
                f"--{name}={value}: {verb} takes a path of this machine; buckets are for {_for_buckets()}"
            )


def _for_buckets() -> str:
    return ", ".join(f"--{name} of {verb}" for verb, names in IN_BUCKETS.items() for name in names)
