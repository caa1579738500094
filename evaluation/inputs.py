"""What a program needs to answer a protocol, as files: the way to lay another restorer's pictures beside ours.

In: a protocol and its source. Out: `lq/NAME.png`, `references/NAME/*.png`, and `gt/NAME.png` for the protocol `own`.
"""

from anchorface.evaluation.cases import cases
from anchorface.evaluation.pictures import write_png
from anchorface.evaluation.protocol import Protocol
from anchorface.evaluation.sources import Source
from anchorface.records import storage


def write_inputs(source: Source, protocol: Protocol, out: str) -> str:
    """Write every case of a protocol as files, by the name that its output is to have.

    Returns:
        out.
    """
    for case in cases(source, protocol):
        name = case.row.name
        write_png(storage.join(out, "lq", f"{name}.png"), case.degraded)
        write_png(storage.join(out, "gt", f"{name}.png"), case.target.image)
        for number, reference in enumerate(case.references()):
            write_png(storage.join(out, "references", name, f"{number}.png"), reference.image)
    return out
