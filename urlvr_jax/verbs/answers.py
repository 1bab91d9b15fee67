"""answers: what is read from each response of a file."""

from __future__ import annotations

import pathlib

from urlvr_jax import config as config_lib
from urlvr_jax import validation
from urlvr_jax.answers.saved import read_file


def run(flag) -> int:
    """One JSON object a line of --data on standard output, the summary on standard error."""
    validation.validate_answers(flag.config)
    if not flag.data:
        raise config_lib.ConfigError(
            "--data is missing: give a file of JSON lines with `response`, and `answer` if there is one"
        )
    if not pathlib.Path(flag.data).is_file():
        raise config_lib.ConfigError(f"--data={flag.data} does not exist: give a file of JSON lines")
    return read_file(flag.config.answers, flag.data)
