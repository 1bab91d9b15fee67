"""What an experiment will take, and what is wrong before it starts.

In: a configuration and a machine's name. Out: bytes, meshes, slots and seconds; findings with remedies.
"""
