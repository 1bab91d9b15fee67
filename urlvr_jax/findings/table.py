"""All findings by name, in the paper's order."""

from __future__ import annotations

from urlvr_jax.findings import f01, f02, f03, f04, f05, f06, f07, f08, f09, f10, f11, f12, f13, f14

FINDINGS = {
    module.FINDING.name: module.FINDING
    for module in (f01, f02, f03, f04, f05, f06, f07, f08, f09, f10, f11, f12, f13, f14)
}
