"""A Plan or a ClipPlan in words and units."""

from anchorface.degradation import codecs
from anchorface.degradation.clip_plan import ClipPlan
from anchorface.degradation.operations import WORDS
from anchorface.degradation.plan import Operation, Plan


def explain(plan: Plan | ClipPlan) -> str:
    """The plan in words and units, one sentence."""
    if isinstance(plan, ClipPlan):
        return explain_clip(plan)
    parts, side = [], plan.size
    for operation in plan.operations:
        after = int(operation.values.get("side", side))
        if operation.name != "resize" or after != side:
            parts.append(in_words(operation, side))
        side = after
    return f"{plan.profile} at {plan.size} px: " + (", ".join(parts) or "nothing")


def explain_clip(plan: ClipPlan) -> str:
    """The same of a clip; what changes over the frames is said as it is in the first and in the last of them."""
    parts, side = [], plan.size
    for operation in plan.operations:
        if operation.name == "show":
            repeated = plan.frames - len(set(operation.values["frame"]))
            parts.append(f"{repeated} of {plan.frames} frames repeated")
            continue
        first, last = operation.at(0), operation.at(plan.frames - 1)
        after = int(first.values.get("side", side))
        if operation.name != "resize" or after != side:
            one, two = in_words(first, side), in_words(last, side)
            parts.append(one if one == two else f"{one} (at the end {two})")
        side = after
    return (f"{plan.profile}, {plan.frames} frames at {plan.size} px and {plan.rate:g} a second: "
            + (", ".join(parts) or "nothing"))


def in_words(operation: Operation, side: int) -> str:
    """One operation in words; side: of the image before it, px."""
    said, values = {**codecs.WORDS, **WORDS}[operation.name], operation.values
    if isinstance(said, str):
        return said.format(**values)
    return said(**values, before=side) if operation.name == "resize" else said(**values)
