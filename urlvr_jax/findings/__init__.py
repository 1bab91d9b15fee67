"""The paper's findings (arXiv 2603.08660, section 4), each a study with a verdict that is computed from runs.

finding.py   what a finding is: claim, runs, rules; and its verdict
table.py     all of them by name
f01.py ...   one finding a file: the claim, the paper's numbers, the runs, the rules fixed before the runs, the figure
store.py     which runs are on file, which are missing, and how they are made
figures.py   curves, one colour an arm
report.py    docs/findings and the README's table, from the runs on file
"""
