"""Judging restorations: frozen protocols, metrics, intervals, tables, the report page."""

from anchorface.evaluation.conditions import CONDITIONS, Condition
from anchorface.evaluation.evaluate import evaluate
from anchorface.evaluation.inputs import write_inputs
from anchorface.evaluation.intervals import Interval, bootstrap
from anchorface.evaluation.metrics import psnr, ssim
from anchorface.evaluation.page import write_page
from anchorface.evaluation.pictures import write_pictures
from anchorface.evaluation.protocol import Protocol, ProtocolRow, freeze

__all__ = [
    "CONDITIONS", "Condition", "Interval", "Protocol", "ProtocolRow", "bootstrap", "evaluate", "freeze", "psnr", "ssim",
    "write_inputs", "write_page", "write_pictures",
]
