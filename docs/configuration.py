"""Write the tables of ``configuration.md`` from ``eventpipe.options``: ``python docs/configuration.py``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from eventpipe.checked import Checked
from eventpipe.environment import variables
from eventpipe.options import ClientOptions, RetryPolicy

PAGE = Path(__file__).with_suffix(".md")
PREFIX_OF = {"ClientOptions": "", "RetryPolicy": "retry."}
MODELS: dict[str, type[Checked]] = {"ClientOptions": ClientOptions, "RetryPolicy": RetryPolicy}
MARKED = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(model_name: str) -> str:
    """The options of one model, a line each: name, default with its unit, environment variable, meaning and reason."""
    by_option = {option: variable for variable, (option, _) in variables(ClientOptions).items()}
    lines = ["| option | default | variable | meaning, and the reason for the default |", "|---|---|---|---|"]
    for name, field in MODELS[model_name].model_fields.items():
        extra = field.json_schema_extra
        unit = str(extra["unit"]) if isinstance(extra, dict) else ""
        variable = by_option.get(PREFIX_OF[model_name] + name)
        lines.append(
            f"| `{name}` | {shown(field.default_factory or field.default, unit)} "
            f"| {f'`{variable}`' if variable else ''} | {field.description} |"
        )
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


def render(page: str) -> str:
    """``page`` with every marked table written anew."""
    return MARKED.sub(lambda mark: mark[1] + table(mark[2]) + mark[3], page)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
