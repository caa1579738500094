"""The doctor: what a machine or a cluster has, what is missing or wrong, and what to do about it.

`machine` looks at the machine where it runs, `cluster` at a Ray cluster, from every node of it. Both give rows of one
kind (`findings`), which the command prints as one table. What is tried is taken away again. What may be missing on a
machine, Ray and MLflow among it, is loaded where it is needed.
"""
