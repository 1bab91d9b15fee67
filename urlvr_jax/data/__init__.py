"""From a name to the prompts of a step.

In: a file, a folder, `hf:` or `lab:` name, and how questions become prompts. Out: `Questions` without answers,
`Labels` apart from them, and `Prompts`, a function of (seed, step).

    files.py       where the rows are           shapes.py     which column is what
    json_lines.py  the reader of JSON           arrow.py      the reader of tables
    distinct.py    each question once           labels.py     gold answers, apart
    prompt_formats.py     text, chat, published prompts
    tokenizer.py   text to ids and back         padding.py    ids to arrays
    stream.py      the prompts of a step        corpus.py     documents of supervised mode
    completions.py        what was written before
"""
