"""What --help prints: of the project, and of one verb."""

from __future__ import annotations

from urlvr_jax.verbs import SEVERAL, VERBS
from urlvr_jax.verbs.flags import FLAGS

COMMAND = "python -m urlvr_jax.main"
CONFIG = (
    ("--config FILE[:ARGUMENT]", "experiment file; or a run's folder or config.json"),
    ("--config.KEY=VALUE", "overrides a key, such as --config.optim.lr=1e-4"),
)


def of_project() -> str:
    """What it does, the verbs, and where there is more."""
    width = max(map(len, VERBS))
    return "\n".join(
        [
            "Reinforcement learning of language models without labels, in JAX.",
            "",
            f"    {COMMAND} [VERB] [--config FILE] [--config.KEY=VALUE ...] [OPTION ...]",
            "",
            *(f"    {name:<{width}}  {verb.does}" for name, verb in VERBS.items()),
            "",
            f"First:    {COMMAND} --config experiments/selfcert.py",
            f"A verb:   {COMMAND} VERB --help",
            "All keys: urlvr_jax/config.py, each with its default",
            "More:     README.md, docs/use.md, docs/index.md",
        ]
    )


def of_verb(name: str) -> str:
    """One line, an example, and the flags that it reads."""
    verb = VERBS[name]
    rows = [*CONFIG, *(_row(flag, name) for flag in verb.flags if flag not in SEVERAL)]
    rows += [_row(flag, name) for flag in verb.flags if flag in SEVERAL]
    width = max(len(left) for left, _ in rows)
    return "\n".join(
        [
            f"{name}: {verb.does}.",
            "",
            f"    {COMMAND} {verb.example}",
            "",
            *(f"    {left:<{width}}  {right}" for left, right in rows),
            "",
            f"All verbs: {COMMAND} --help",
        ]
    )


def _row(flag: str, verb: str) -> tuple[str, str]:
    found = FLAGS[flag]
    means = found.means if isinstance(found.means, str) else found.means[verb]
    return f"--{flag} {found.shown}".rstrip(), means
