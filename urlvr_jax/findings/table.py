"""All findings by name, in the paper's order."""

from __future__ import annotations

from urlvr_jax.findings import f01, f02

FINDINGS = {module.FINDING.name: module.FINDING for module in (f01, f02)}
