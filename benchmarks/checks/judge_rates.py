"""How well a base of Countdown judges its own solutions, in each wording of the verification prompt.

    python benchmarks/checks/judge_rates.py [lab:countdown_judge]

Of its solutions to 150 held-out questions at T = 1, eight each: how many are right, and how many of the right and of
the wrong ones it calls right, with 95 % intervals over questions. One JSON object. Half a minute on one core.
"""

from __future__ import annotations

import argparse
import json
import pathlib

from urlvr_jax import config
from urlvr_jax.lab import countdown_world
from urlvr_jax.studies import judge_rates

QUESTIONS, GROUP = 150, 8
COUNTDOWN = pathlib.Path(__file__).resolve().parents[2] / "experiments" / "countdown.py"


def rates(model: str, wording: str) -> dict[str, dict[str, float]]:
    """{"avg", "true_positive_rate", "false_positive_rate": mean, low, high} under a wording of WORDINGS."""
    name = pathlib.Path(model.removeprefix("lab:")).name
    computing = name in countdown_world.RECIPES and countdown_world.RECIPES[name].computing
    c = config.load_experiment(f"{COUNTDOWN}:{'checker' if computing else 'judge'}")
    c.verify.template = countdown_world.WORDINGS[wording]
    c.model.path = model
    return judge_rates.measure(c, QUESTIONS, GROUP, 1).rates()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default="lab:countdown_judge")
    model = parser.parse_args().model
    print(json.dumps({wording: rates(model, wording) for wording in countdown_world.WORDINGS}, indent=1))
