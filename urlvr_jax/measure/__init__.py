"""What a run shows.

In: a step's rollouts, answers and rewards; or a run's folder. Out: metric lines, evaluations, findings, a figure.

    metrics.py    the line of a step, label-free and labelled
    evaluate.py   held-out evaluation: avg, maj, pass at k
    record.py     a run's folder, read
    collapse.py   rise, fall, Model Collapse Step
    ledger.py     what became of each question
    intervals.py  how sure a number is
    summary.py    in words        figure.py  in pictures        drawing.py  how those look
"""
