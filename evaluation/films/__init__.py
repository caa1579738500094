"""Films judged: rows, tables and a page, from a folder of true films and any program's outputs."""

from anchorface.evaluation.films.evaluate import evaluate_films
from anchorface.evaluation.films.inputs import write_film_inputs
from anchorface.evaluation.films.page import write_film_page

__all__ = ["evaluate_films", "write_film_inputs", "write_film_page"]
