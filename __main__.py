"""`python -m anchorface`."""

from anchorface.cli import app

app()
