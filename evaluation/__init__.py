"""Judging a checkpoint: frozen protocols, metrics, intervals, tables, the report page."""

from evaluation.evaluate import CONDITIONS, Condition, evaluate
from evaluation.intervals import Interval, bootstrap
from evaluation.metrics import Likeness, likeness, psnr, ssim
from evaluation.page import write_page
from evaluation.pictures import write_pictures
from evaluation.protocol import Protocol, ProtocolRow, freeze

__all__ = [
    "CONDITIONS", "Condition", "Interval", "Likeness", "Protocol", "ProtocolRow", "bootstrap", "evaluate", "freeze",
    "likeness", "psnr", "ssim", "write_page", "write_pictures",
]
