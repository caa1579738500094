"""Metrics of pictures, by name: what each needs, who computes it, and its values."""

from anchorface.evaluation.metrics.catalogue import METRICS, Metric, Opened, metric_names, open_metrics
from anchorface.evaluation.metrics.pixels import psnr, ssim

__all__ = ["METRICS", "Metric", "Opened", "metric_names", "open_metrics", "psnr", "ssim"]
