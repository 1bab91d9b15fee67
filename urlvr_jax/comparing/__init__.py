"""Runs beside each other: which differences are real.

Runs of one configuration, of several seeds, are an arm. In: run folders. Out: a difference for each metric with its
interval over questions and training seeds, and a verdict that ranks nothing inside the noise. No JAX: a comparison
needs no device.

    S  seeds of an arm      Q  questions of a set      K  sampled responses a question
"""
