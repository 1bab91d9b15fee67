"""Many runs of one experiment: every combination of some values, made side by side, watched and summed up.

In: an experiment, and axes, each a key with its values. Out: a folder a run, named by its configuration's hash; a table
over seeds and a figure.

    axes.py     `--over KEY=VALUES` to values, and their product
    run.py      one run: its words, its folder, and how it stands there
    places.py   the cores and GPUs that there are, shared out      room.py    how many runs the memory holds
    local.py    runs as processes of this machine                  child.py   what such a process does first
    slurm.py    runs as an array of Slurm's
    make.py     the loop that starts, watches and stops them; studies and findings make their runs by it too
    watch.py    the table that moves                               summary.py    the table over seeds, and the figure
"""
