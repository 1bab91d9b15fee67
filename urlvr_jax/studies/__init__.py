"""Runs of many configurations, and what they show.

In: a list of cells: an experiment, the keys it is given, a seed. Out: a line of findings a run in docs/NAME/runs.jsonl,
and a page of tables, verdicts and figures that is computed from those lines alone.

    cell.py    one run, and which lines on file are its
    run.py     what is missing is run; a run's folder becomes a line
    rule.py    findings fixed beforehand, as data, and their verdicts
    page.py    tables, intervals, commits
    grid.py  countdown.py  judges.py  experiments.py, with experiments_figure.py    the studies
"""
