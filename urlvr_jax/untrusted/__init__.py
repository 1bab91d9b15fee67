"""What others wrote, before anything relies on it: JSON, numbers, chat templates, and texts for a terminal.

In: bytes of model folders, question files and completions; a model's own text. Out: plain values within stated bounds,
or an error that names the file. Nothing here knows what the values are for.
"""
