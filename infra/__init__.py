"""Machines: what is here, and what is missing."""

from anchorface.infra.doctor import examine, show

__all__ = ["examine", "show"]
