"""What runs an experiment: devices, compiled programs, files, signals.

In: a configuration. Out: a `Run` with its engine; a folder with lines, tables and checkpoints.

    opening.py      everything that a configuration names, opened and checked
    engine.py       the compiled programs, and the host's side of calling them
    sharding.py     meshes and layouts             hosts.py        what processes agree on, and who writes
    workdir.py      a run's folder                 lines.py        JSON lines on disk
    checkpoint.py   checkpoints                    progress.py     what the terminal shows
    clock.py        seconds and compilations       signals.py      what asks a run to stop
    lock.py         one run at a time in a folder  terminal.py     what is said, while there is a terminal
    paths.py        which folders can hold a run   quiet.py        what is not said twice
    cluster.py      which processes a run has      link.py         how they meet, and know of each other's end
    meeting.py      what must be the same on all   own_rows.py     each reads and checks its own questions
    barrier.py      a save fails on all at once    bucket.py       gs://, copied to this machine and back
    random_keys.py  (seed, stream, step) to a key  counting.py     how far a piece of work is
    elsewhere.py    other models' responses        judges.py       who judges, and how a judge is taught
    compile_cache.py, user_code.py
"""
