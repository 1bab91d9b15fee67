"""What an experiment takes, before it runs, on machines that need not be here.

In: a configuration, a model's config.json and the name of a machine. Out: bytes a device of each phase by
part, legal meshes with slots and predicted seconds, the compiler's own bytes if asked, and findings about
this machine.

    machines.py  chips by their makers' numbers
    memory.py    bytes: exact where shapes say it, temporaries by one factor
    seconds.py   a step's time, from the chip's data sheet
    meshes.py    which meshes fit, with the slots and micro-batches that suit them
    compile.py   the compiler's bytes for the real programs, beside the estimate
    report.py    all of it as text or JSON
    doctor.py    what would go wrong on this machine
"""
