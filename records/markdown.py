"""Words inside a Markdown table, whatever they are: no new column, line or HTML begins with them."""

ESCAPES = (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " "))


def cell(text: str) -> str:
    """Text as a cell shows it."""
    for sign, written in ESCAPES:
        text = text.replace(sign, written)
    return text
