"""Which dates can be believed: not a clock that was never set, not the future, not a time before photography."""

from datetime import date, timedelta

FIRST_PHOTOGRAPH = date(1826, 1, 1)
"""The earliest photograph that is left is of 1826 or 1827 (Niepce, View from the Window at Le Gras)."""
FIRST_BIRTH = date(1700, 1, 1)
"""Nobody born before it was photographed (our choice: more than a lifetime before the first portrait, of 1839)."""
CLOCK_ZEROS = (
    date(1899, 12, 30), date(1904, 1, 1), date(1970, 1, 1), date(1980, 1, 1),
    date(1903, 12, 31), date(1969, 12, 31), date(1979, 12, 31),
)
"""Where the clocks of spreadsheets, QuickTime, Unix and FAT begin, and the day before, for clocks west of Greenwich."""


def believable(day: date | None) -> date | None:
    """A day on which a photograph can have been taken; None for any other.

    A clock's zero, the future (more than a day ahead, since clocks differ) and the time before photography are unknown.
    """
    if day is None or day in CLOCK_ZEROS or not FIRST_PHOTOGRAPH <= day <= date.today() + timedelta(days=1):
        return None
    return day


def doubt_of_birth(day: date) -> str:
    """Why a day cannot be the birth of someone on a photograph; empty if it can."""
    if day > date.today() + timedelta(days=1):
        return f"{day} lies in the future"
    return f"{day}: nobody born before {FIRST_BIRTH.year} was photographed" if day < FIRST_BIRTH else ""
