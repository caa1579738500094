"""A Plan in words and units."""

from degradation.operations import WORDS
from degradation.plan import Operation, Plan


def explain(plan: Plan) -> str:
    """The plan in words and units, one sentence."""
    parts, side = [], plan.size
    for operation in plan.operations:
        after = int(operation.values.get("side", side))
        if operation.name != "resize" or after != side:
            parts.append(in_words(operation, side))
        side = after
    return f"{plan.profile} at {plan.size} px: " + (", ".join(parts) or "nothing")


def in_words(operation: Operation, side: int) -> str:
    """One operation in words; side: of the image before it, px."""
    said, values = WORDS[operation.name], operation.values
    if isinstance(said, str):
        return said.format(**values)
    return said(**values, before=side) if operation.name == "resize" else said(**values)
