"""``eventpipe schema``: the events of a program as JSON schemas, and whether they changed incompatibly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from eventpipe.cli.display import say
from eventpipe.cli.failures import FAILURE, CommandError, UsageError, one_line
from eventpipe.cli.schema_document import compare, document_of, find_models, load, schemas_of, text_of
from eventpipe.cli.text import count


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """What ``eventpipe schema`` was asked for, as the command line spells it.

    Attributes:
        output: Write the document to this file instead of printing it; with --check only if nothing changed
            incompatibly.
        check: Compare with the document in this file; the exit code is 1, with a line for each change that is to blame,
            if readers of that one could not read all events.
    """

    output: Path | None = None
    check: Path | None = None


def schema(targets: Sequence[str], options: SchemaOptions, console: Console) -> int:
    """Print, write or check the document; return the exit code.

    Args:
        targets: Modules, or ``module:Class``.
        options: The rest of the command line.
        console: Where to.

    Raises:
        CommandError: A module cannot be imported, or a file not be read or written.
    """
    if not targets:
        raise UsageError("name at least one module with events, such as app.events")
    document = document_of(find_models(targets))
    new = schemas_of(document)
    if options.check is not None:
        old = load(options.check)
        lines = compare(new, old)
        for line in lines:
            say(console, one_line(line))
        if lines:
            return FAILURE
        known = count(len(old), "event")
        say(console, f"compatible with {options.check}: {known}, {len(new.keys() - old.keys())} new")
    if options.output is not None:
        try:
            options.output.write_text(text_of(document), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{options.output}: {(error.strerror or str(error)).lower()}") from error
        say(console, f"{count(len(new), 'event')} written to {options.output}")
    elif options.check is None:
        console.out(text_of(document), end="", highlight=False)
    return 0
