"""What every verb shares: the application, the console, and how an error is told.

Heavy imports stand inside the verbs, so that `anchorface --help` answers at once.
"""

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer
from rich.text import Text

from anchorface.records import AnchorfaceError, Interrupted
from anchorface.records.addresses import has_secret, redacted
from anchorface.records.console import Console
from anchorface.records.storage import private_files

INTERRUPTED = 75
"""The exit status of work that the same command takes up again (EX_TEMPFAIL of sysexits.h)."""

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False,
    help="From a heap of photographs to a trained, judged, reference-aware face restorer.\n\n"
    "Start with [bold]anchorface demo[/]. On your own photographs: [bold]curate[/], [bold]train[/], "
    "[bold]evaluate[/], [bold]restore[/]; every verb can be stopped and run again: it does what is left.",
)
console = Console(stderr=True)



def _version(asked: bool) -> None:
    if asked:
        from anchorface.records.lineage import code_hash

        print(f"anchorface {code_hash()}")
        raise typer.Exit


@app.callback()
def _anchorface(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is, and end.")
    ] = False,
) -> None:
    pass


Workspace = Annotated[str, typer.Argument(help="Folder or URI that holds the curated data.")]
Trust = Annotated[
    float | None, typer.Option(help="How far references are believed to show the person, 0 to 1; by how like the face "
                                    "they are if not given, as the checkpoint measured.")
]
ReferenceGuidance = Annotated[
    float, typer.Option(help="Push along 'with minus without references'; 1 is none.")
]


def told(verb: Callable[..., Any]) -> Callable[..., Any]:
    """An error raised on purpose is told in one paragraph, without a traceback; the exit status is 2. Work that a
    signal ended in good order ends with INTERRUPTED, for whoever starts it again. A traceback of anything else shows no
    password either.
    """

    @wraps(verb)
    def wrapped(*args: Any, **values: Any) -> Any:
        try:
            with private_files():  # Lance, MLflow and Ray write too
                return verb(*args, **values)
        except Interrupted as ended:
            console.print(str(ended), highlight=False, soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
        except AnchorfaceError as error:
            said = Text.assemble((type(error).__name__, "red"), f": {error}")
            console.print(said, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception:
            trace = traceback.format_exc()
            if not has_secret(trace):
                raise
            print(redacted(trace), file=sys.stderr)
            raise typer.Exit(1) from None

    return wrapped
