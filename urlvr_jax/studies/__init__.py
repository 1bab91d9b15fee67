"""Runs of many configurations, and what they show.

In: a list of cells: an experiment, the keys it is given, a seed. Out: a line of findings a run in docs/NAME/runs.jsonl,
and a page of tables, verdicts and figures that is computed from those lines alone.
"""
