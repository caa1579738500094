"""Pages for people: who was taken for whom, what is doubtful, what was left out, and the commands to correct it."""

from anchorface.identity_index.audit.write import write_audit

__all__ = ["write_audit"]
