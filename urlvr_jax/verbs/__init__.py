"""What the command line can do beside training: one file a verb, each with `run(flags, *words) -> exit status`.

In: flags and the configuration. Out: text on standard output, warnings on standard error, files where asked.
"""

VERBS = (
    "evaluate",
    "generate",
    "export",
    "score",
    "rewards",
    "answers",
    "plan",
    "doctor",
    "countdown",
    "study",
)
WITH_WORDS = ("study",)  # those that take words after them
