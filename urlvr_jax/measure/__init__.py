"""What a run shows.

In: a step's rollouts, answers and rewards; or a run's folder. Out: metric lines, evaluations, findings, a figure.

    metrics.py    the line of a step, label-free and labelled
    evaluate.py   held-out evaluation: avg, maj, pass at k
    record.py     a run's folder, read
    collapse.py   rise, fall, Model Collapse Step
    votes.py      votes from visit to visit; anchors.py: responses scored again; warning.py, detectors.py: signs of collapse
    ledger.py     what became of each question; questions.py: of a run's, in words and pictures
    intervals.py  how sure a number is
    summary.py    in words        figure.py  in pictures        drawing.py  how those look
"""
