"""finding: make the runs of the paper's findings, and tell their verdicts."""

from __future__ import annotations

from urlvr_jax.errors import UserError
from urlvr_jax.findings import at_scale, report, store
from urlvr_jax.findings.finding import Finding
from urlvr_jax.findings.table import FINDINGS
from urlvr_jax.planning.machines import machine
from urlvr_jax.verbs.flags import jobs_of, seeds_of


def run(flag, *words: str) -> int:
    """`finding F1 F2`, `finding all`, `finding list`, from a checkout. Exit status 1 where a run failed."""
    if words == ("list",):
        for finding in FINDINGS.values():
            print(f"{finding.name:<4} {finding.title}: {finding.claim}")
        return 0
    names = tuple(FINDINGS) if words == ("all",) else words
    unknown = [name for name in names if name not in FINDINGS]
    if unknown or not names:
        what = f"{unknown[0]!r} is no finding" if unknown else "no finding is named"
        raise UserError(f"{what}: give {', '.join(FINDINGS)}, all, or list")
    jobs = jobs_of(flag, 2)
    seeds = seeds_of(flag.seeds)
    if flag.scale == "paper":
        on = machine(flag.hardware or "h100-8")
        for name in names:
            print(f"{name} {FINDINGS[name].title}\n{at_scale.table(FINDINGS[name], seeds, on)}", flush=True)
        return 0
    if flag.scale != "lab":
        raise UserError(f"--scale={flag.scale} is not possible: give lab or paper")
    if flag.draw:
        for file in report.draw():
            print(f"wrote {file}")
        return 0
    failed = []
    for name in names:
        try:
            store.run(FINDINGS[name], FINDINGS[name].seeds(seeds), jobs)
        except UserError as error:  # the others are made all the same
            failed.append(name)
            print(f"{name}: {error}", flush=True)
        print(text(FINDINGS[name], FINDINGS[name].seeds(seeds)), flush=True)
    return int(bool(failed))


def text(finding: Finding, seeds) -> str:
    """Verdict, and what each rule's runs say."""
    lines = store.on_file()
    outcomes = report.judged(finding, seeds, lines)
    lacking = sorted({cell.seed for cell in store.missing(finding, seeds, lines)})
    out = [
        f"{finding.name} {finding.title}: {report.said(outcomes)}"
        + (f" (no runs of seeds {lacking})" if lacking else "")
    ]
    out += [f"  {o.verdict:<28} {o.rule.text}: {o.measured}" for o in outcomes]
    return "\n".join(out)
