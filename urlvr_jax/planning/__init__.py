"""What an experiment takes, before it runs: memory, meshes, slots and seconds on machines that need not be here.

In: a configuration, a model's config.json and the name of a machine. Out: bytes a device of each phase by part, legal
meshes ranked by predicted time, and findings about this machine.

    machines.py  chips by their makers' numbers
    memory.py    bytes, from shapes
    seconds.py   a step's time, from the chip's data sheet
    meshes.py    which meshes fit, with the slots and micro-batches that suit them
    report.py    all of it as text or JSON
    doctor.py    what would go wrong on this machine
"""
