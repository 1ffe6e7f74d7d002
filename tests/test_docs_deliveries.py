"""The page on deliveries has every reason to fail, and the tables of the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from eventpipe.delivery import FailureReason

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "deliveries.md").read_text()


def test_the_tables_are_those_of_the_code() -> None:
    """The machine, the policy, the reconciler and its report, as ``python docs/tables.py`` writes them."""
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)

    assert re.findall(r"<!-- (?!end)(\w+) -->", PAGE) == ["transitions", "policy", "reconciler", "report"]
    assert tables.render(PAGE) == PAGE


def test_every_reason_to_fail_is_explained() -> None:
    """The list is closed: the page has each once, and no other."""
    section = PAGE.partition("## Reasons to fail\n")[2].partition("\n## ")[0]

    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(FailureReason)
