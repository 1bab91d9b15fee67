"""The laboratory: small worlds, small language models pretrained on them, and their questions.

In: a name, `lab:plain`, or a recipe of documents. Out: the folder of a base, the file of a question set, documents.
"""
