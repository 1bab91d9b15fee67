"""What the command line can do: a table of verbs, and one file for each that does not train, with
`run(flags, *words) -> exit status`.

In: flags and the configuration. Out: text on standard output, warnings on standard error, files where asked.
"""

from __future__ import annotations

from typing import NamedTuple

SEVERAL = ("coordinator", "processes", "process_id")  # flags of a run of several processes


class Verb(NamedTuple):
    """One line of help, an example, and the flags that it reads beside those of the configuration."""

    does: str
    example: str
    flags: tuple[str, ...]
    words: bool = False  # whether words may follow it


VERBS = {
    "train": Verb(
        "train; the verb may be left out where --config or a key is given",
        "--config experiments/selfcert.py --config.optim.lr=1e-4 --workdir runs/mine",
        ("workdir", "dry_run", *SEVERAL),
    ),
    "evaluate": Verb(
        "print avg, maj and pass at k on question files",
        "evaluate --model runs/mine --data questions.jsonl --config.eval.k=8",
        ("model", "step", "data", "align", "contamination", "tokens_of", "out", *SEVERAL),
    ),
    "generate": Verb(
        "print completions of a prompt, of a question file, or of the lines of standard input",
        "generate --model lab:plain --prompt 'Q16-13+2?'",
        ("model", "step", "prompt", "data", "out", *SEVERAL),
    ),
    "score": Verb(
        "print the rewards of saved completions",
        "score --model lab:plain --data completions.jsonl --config.reward.name=self_certainty",
        ("model", "step", "data", *SEVERAL),
    ),
    "export": Verb(
        "write a Hugging Face folder from a run's checkpoint",
        "export --model runs/mine --out folder",
        ("model", "step", "out", "adapter", *SEVERAL),
    ),
    "answers": Verb(
        "print what is read from each response of a file",
        "answers --data responses.jsonl --config.answers.style=boxed",
        ("data",),
    ),
    "rewards": Verb("print every reward with its formula", "rewards", ("out",)),
    "doctor": Verb(
        "print what would go wrong here, and its remedy",
        "doctor --config experiments/majority.py",
        ("workdir", "json"),
    ),
    "plan": Verb(
        "print memory, meshes and time, without weights or devices",
        "plan --config experiments/paper/dapo.py --hardware h100-8",
        ("hardware", "compile", "json"),
    ),
    "countdown": Verb(
        "write a question file of Countdown tasks",
        "countdown --out train.jsonl --count 4000 --config.seed=0",
        ("out", "count"),
    ),
    "variants": Verb(
        "write a question file of integrals with easier variants before them",
        "variants --data lab:integration_hard --out variants.jsonl --config.seed=0",
        ("data", "out"),
    ),
    "mcs": Verb(
        "print a base's Model Collapse Step, and what other predictors say",
        "mcs --model lab:plain --data lab:train --seeds 0:3",
        ("model", "data", "seeds", "aggressive", "workdir", "out"),
    ),
    "sweep": Verb(
        "train every combination of some values, side by side, and sum them up",
        "sweep --config experiments/majority.py --over optim.lr=1e-4,3e-4 --over seed=0:3 --workdir runs/rates",
        ("over", "jobs", "metric", "retry", "engine", "slurm", "workdir"),
    ),
    "status": Verb(
        "print what is running in a folder, the latest numbers and the alarms",
        "status runs/rates",
        ("json",),
        words=True,
    ),
    "compare": Verb(
        "print what is really different between runs, and what is not shown",
        "compare runs/votes runs/selfcert",
        ("at", "metric", "json"),
        words=True,
    ),
    "report": Verb(
        "write a page of runs: curves, alarms, questions, what the model wrote, what differs",
        "report runs/votes runs/selfcert --out page.html",
        ("out",),
        words=True,
    ),
    "figure": Verb(
        "draw runs for a paper: vector graphics, and the numbers beside them",
        "figure runs/votes runs/selfcert --kind rise --columns 2 --out rise.pdf",
        ("kind", "columns", "out"),
        words=True,
    ),
    "finding": Verb(
        "make the runs of the paper's findings and tell their verdicts, from a checkout",
        "finding F1 F6 --seeds 0:3 --jobs 2",
        ("seeds", "scale", "hardware", "jobs", "draw"),
        words=True,
    ),
    "study": Verb(
        "make the runs of a study, from a checkout",
        "study grid run --jobs 2",
        ("jobs",),
        words=True,
    ),
}
