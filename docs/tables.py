"""Write the tables of the pages from the code: ``python docs/tables.py``."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

from eventpipe.checked import Checked
from eventpipe.cli import spool_options as spools
from eventpipe.cli.append import AppendOptions, ImportOptions
from eventpipe.cli.config import ConfigOptions
from eventpipe.cli.consumers import ConsumersOptions
from eventpipe.cli.dead_letters import DeadLettersOptions
from eventpipe.cli.deliveries import ListOptions, LookOptions, PurgeOptions
from eventpipe.cli.delivery_filter import FilterOptions
from eventpipe.cli.delivery_requests import RequestOptions
from eventpipe.cli.demo import DemoOptions
from eventpipe.cli.doctor import DoctorOptions
from eventpipe.cli.endpoint_changes import AddOptions, RotateOptions, RulesOptions
from eventpipe.cli.endpoints import HaltOptions, ProbeOptions
from eventpipe.cli.export import ExportOptions
from eventpipe.cli.moving import ReplayOptions, SeekOptions
from eventpipe.cli.resharding import ReshardOptions
from eventpipe.cli.run import RunOptions
from eventpipe.cli.schema import SchemaOptions
from eventpipe.cli.send import SendOptions
from eventpipe.cli.serve import ServeOptions
from eventpipe.cli.switching import SwitchOptions
from eventpipe.cli.tail import TailOptions
from eventpipe.cli.top import TopOptions
from eventpipe.cli.topics import TopicsOptions
from eventpipe.cli.verify import VerifyOptions
from eventpipe.delivery import DeliveryOutcome, DeliveryPolicy, DeliveryState, Reconciler, ReconcileReport
from eventpipe.delivery.machine import FAILURES, TRANSITIONS
from eventpipe.environment import variables
from eventpipe.integrations.families import FAMILIES
from eventpipe.integrations.opentelemetry_measures import MEASURES
from eventpipe.log import ConsumerOptions
from eventpipe.options import ClientOptions, RetryPolicy
from eventpipe.retention import Retention

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))  # of which the tests are a part that no package installs
exits = importlib.import_module("tests.processes.exits")
forks = importlib.import_module("tests.processes.forks")

PAGES = tuple(
    DOCS / page
    for page in (
        "api.md",
        "architecture.md",
        "cli.md",
        "configuration.md",
        "deliveries.md",
        "metrics.md",
        "processes.md",
    )
)
MARKED = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def bounds(model: type[Checked], prefix: str) -> str:
    """A client's options, a line each: name, default with its unit, environment variable, meaning and reason."""
    by_option = {option: variable for variable, (option, _) in variables(ClientOptions).items()}
    lines = ["| option | default | variable | meaning, and the reason for the default |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        unit = str(extra["unit"]) if isinstance(extra, dict) else ""
        variable = by_option.get(prefix + name)
        lines.append(
            f"| `{name}` | {shown(field.default_factory or field.default, unit)} "
            f"| {f'`{variable}`' if variable else ''} | {field.description} |"
        )
    return "\n".join(lines) + "\n"


def options(model: type[Checked]) -> str:
    """Options that no variable sets, a line each: name, default with its unit, meaning and reason."""
    lines = ["| option | default | meaning, and the reason for the default |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        unit = str(extra["unit"]) if isinstance(extra, dict) else ""
        lines.append(f"| `{name}` | {shown(field.default_factory or field.default, unit)} | {field.description} |")
    return "\n".join(lines) + "\n"


def shown(default: Any, unit: str) -> str:  # Any: the default of any option
    """A default as a reader counts it: ``32 MiB``, ``10 000 events``, ``drop_newest``."""
    if default is None:
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, (int, float)):
        if unit == "bytes":
            size, unit = (default / 2**20, "MiB") if default >= 2**20 else (default / 2**10, "KiB")
            return f"{size:g} {unit}"
        number = f"{default:,}".replace(",", " ") if isinstance(default, int) else f"{default:g}"
        return number if unit == "fraction" else f"{number} {unit.removesuffix('s') if default == 1 else unit}"
    return "see below" if callable(default) else f"`{default}`"


def command(options: Any) -> str:  # Any: a dataclass, which has no type of its own
    """A command's options, a line each: name, default, meaning, as its ``--help`` has them."""
    meanings = attributes(options)
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(options):
        default = "" if field.default in (None, False, dataclasses.MISSING) else f"`{field.default}`"
        option = field.name.strip("_").replace("_", "-")
        lines.append(f"| `--{option}` | {default} | {meanings[field.name]} |")
    return "\n".join(lines) + "\n"


def family(members: dict[str, Any]) -> str:  # Any: dataclasses
    """The options of commands that are words of one, a line each: command, option, default, meaning."""
    lines = ["| commands | option | default | meaning |", "|---|---|---|---|"]
    for names, options in members.items():
        lines += [f"| {names} {line}" for line in command(options).splitlines()[2:]]
    return "\n".join(lines) + "\n"


def attributes(described: type) -> dict[str, str]:
    """The section ``Attributes`` of a class's docstring, by name."""
    section = (inspect.getdoc(described) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def arguments(function: Callable[..., Any]) -> str:  # Any: of any function
    """The keyword arguments of a function, a line each: name, default, meaning, as its docstring has them."""
    section = (inspect.getdoc(function) or "").partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    meanings = {name: " ".join(text.split()).replace("``", "`") for name, text in found}
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            lines.append(f"| `{name}` | `{parameter.default}` | {meanings[name]} |")
    return "\n".join(lines) + "\n"


def values(described: Any) -> str:  # Any: a dataclass, as above
    """The attributes of a value, a line each: name, default, meaning."""
    meanings = attributes(described)
    lines = ["| name | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(described):
        meaning = meanings[field.name].replace("``", "`")
        lines.append(f"| `{field.name}` | `{field.default}` | {meaning} |")
    return "\n".join(lines) + "\n"


def transitions() -> str:
    """What becomes of a delivery in each state, a line each, with everything that can happen as columns."""
    lines = ["| | " + " | ".join(f"`{outcome}`" for outcome in DeliveryOutcome) + " |"]
    lines.append("|---" * (len(DeliveryOutcome) + 1) + "|")
    for state in DeliveryState:
        cells = []
        for outcome in DeliveryOutcome:
            led = TRANSITIONS[state, outcome]
            reason = f" ({FAILURES[outcome]})" if led is DeliveryState.FAILED and outcome in FAILURES else ""
            last = ", or failed (exhausted, expired)" if led is not None and outcome is DeliveryOutcome.RETRY else ""
            cells.append("—" if led is None else f"{led}{reason}{last}")
        lines.append(f"| `{state}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def modules(package: str) -> str:
    """The modules of a package, a line each, with the first line of its docstring."""
    folder = Path(importlib.import_module(package).__path__[0])
    lines = ["| module | is |", "|---|---|"]
    for path in sorted(folder.glob("[!_]*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        lines.append(f"| `{path.stem}` | {summary(docstring)} |")
    return "\n".join(lines) + "\n"


def summary(docstring: str) -> str:
    """The first paragraph of a docstring, on one line, as Markdown."""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("``", "`")


def names(package: str) -> str:
    """The public names of a package, a line each, with the first line of its docstring."""
    module = importlib.import_module(package)
    lines = ["| name | is |", "|---|---|"]
    for name in module.__all__:
        thing = getattr(module, name)
        described = inspect.isclass(thing) or inspect.isfunction(thing) or "__doc__" in getattr(thing, "__dict__", {})
        plain = f"The text `{thing}`." if isinstance(thing, str) else choices(thing)
        lines.append(f"| `{name}` | {summary(inspect.getdoc(thing) or '') if described else plain} |")
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """What is exported to Prometheus, a line each: name, kind, labels, meaning."""
    lines = ["| metric | kind | labels | is |", "|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.exported}` | {family.kind} | {labels} | {family.meaning} |")
    return "\n".join(lines) + "\n"


def instruments() -> str:
    """What is exported to OpenTelemetry at each collection, a line each: name, kind, unit, attributes, meaning."""
    lines = ["| instrument | kind | unit | attributes | is |", "|---|---|---|---|---|"]
    for measure in MEASURES:
        names = ", ".join(f"`{name}`" for name in measure.attributes)
        unit = f"`{measure.unit}`" if measure.unit else ""
        lines.append(f"| `{measure.name}` | {measure.kind.replace('_', '-')} | {unit} | {names} | {measure.meaning} |")
    return "\n".join(lines) + "\n"


def choices(literal: object) -> str:
    """The words that a type of words allows."""
    return f"One of {', '.join(f'`{word}`' for word in get_args(literal))}."


TABLES: dict[str, Callable[[], str]] = {
    "ClientOptions": partial(bounds, ClientOptions, ""),
    "RetryPolicy": partial(bounds, RetryPolicy, "retry."),
    "ConsumerOptions": partial(options, ConsumerOptions),
    "Retention": partial(options, Retention),
    "append": partial(command, AppendOptions),
    "config": partial(command, ConfigOptions),
    "consumers": partial(command, ConsumersOptions),
    "dead": partial(command, DeadLettersOptions),
    "deliveries": partial(
        family,
        {
            "list, resend, cancel": FilterOptions,
            "list": ListOptions,
            "resend, cancel": RequestOptions,
            "show, stats": LookOptions,
            "pause": HaltOptions,
            "resume": LookOptions,
            "purge": PurgeOptions,
        },
    ),
    "endpoints": partial(
        family,
        {
            "list, show, resume, remove": LookOptions,
            "add": AddOptions,
            "pause, disable": HaltOptions,
            "rotate": RotateOptions,
            "test": ProbeOptions,
            "rules": RulesOptions,
        },
    ),
    "demo": partial(command, DemoOptions),
    "doctor": partial(command, DoctorOptions),
    "export": partial(command, ExportOptions),
    "import": partial(command, ImportOptions),
    "pause": partial(command, SwitchOptions),
    "replay": partial(command, ReplayOptions),
    "reshard": partial(command, ReshardOptions),
    "run": partial(command, RunOptions),
    "schema": partial(command, SchemaOptions),
    "seek": partial(command, SeekOptions),
    "send": partial(command, SendOptions),
    "serve": partial(command, ServeOptions),
    "spool": partial(
        family,
        {
            "status, verify, repair": spools.LookOptions,
            "list": spools.ListOptions,
            "drain": spools.DrainOptions,
            "export": spools.ExportOptions,
            "purge": spools.PurgeOptions,
        },
    ),
    "tail": partial(command, TailOptions),
    "top": partial(command, TopOptions),
    "topics": partial(command, TopicsOptions),
    "verify": partial(command, VerifyOptions),
    "policy": partial(values, DeliveryPolicy),
    "reconciler": partial(arguments, Reconciler.__init__),
    "report": partial(values, ReconcileReport),
    "transitions": transitions,
    "eventpipe": partial(names, "eventpipe"),
    "codecs": partial(names, "eventpipe.codecs"),
    "delivery": partial(names, "eventpipe.delivery"),
    "log": partial(names, "eventpipe.log"),
    "pipeline": partial(names, "eventpipe.pipeline"),
    "privacy": partial(names, "eventpipe.privacy"),
    "sinks": partial(names, "eventpipe.sinks"),
    "stores": partial(names, "eventpipe.stores"),
    "testing": partial(names, "eventpipe.testing"),
    "prometheus": metrics,
    "opentelemetry": instruments,
    "exits": exits.table,
    "forks": forks.table,
    "in_core": partial(modules, "eventpipe.core"),
    "in_delivery": partial(modules, "eventpipe.delivery"),
    "in_encoding": partial(modules, "eventpipe.encoding"),
    "in_sinks": partial(modules, "eventpipe.sinks"),
    "in_codecs": partial(modules, "eventpipe.codecs"),
    "in_log": partial(modules, "eventpipe.log"),
    "in_pipeline": partial(modules, "eventpipe.pipeline"),
    "in_stores": partial(modules, "eventpipe.stores"),
    "in_subscriptions": partial(modules, "eventpipe.subscriptions"),
    "in_transport": partial(modules, "eventpipe.transport"),
    "in_integrations": partial(modules, "eventpipe.integrations"),
}


def render(page: str) -> str:
    """``page`` with every marked table written anew."""
    return MARKED.sub(lambda mark: mark[1] + TABLES[mark[2]]() + mark[3], page)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(render(path.read_text()))
