"""Erasing people, photographs or a source: the verb (erase), who is meant (selection, find_person), the tables, the
dataset versions, and the runs that saw them.
"""
