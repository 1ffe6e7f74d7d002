"""Deliveries as a file describes them; the sample that ships has every option."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from eventpipe.delivery import Deliveries, DeliveryPolicy, Endpoint, Reconciler, Rule
from eventpipe.pipeline import Pipeline
from eventpipe.sinks import DeliverySink, FileSink
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.testing.clock import LoopClock

SAMPLE = Path(__file__).parents[2] / "examples" / "deliveries.toml"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the examples of Standard Webhooks

# What a file cannot say: objects of a program, and what the pipeline gives itself.
IN_CODE: dict[Callable[..., object], set[str]] = {
    Deliveries: {"store", "secrets", "sinks", "json_default", "clock", "name", "policy"},
    DeliveryPolicy: set(),
    Endpoint: {"sink"},
    Reconciler: {"deliveries", "random", "name"},
    Rule: set(),
    DeliverySink: {"deliveries", "where", "name"},
}

Options = dict[str, Any]  # Any: what TOML carries


def of_file() -> dict[Callable[..., object], Options]:
    """The options of the sample, by what they are for."""
    file = tomllib.loads(SAMPLE.read_text())
    deliveries = file["deliveries"]
    policy = deliveries.pop("policy")
    deliveries.pop("path")  # the store, as a file says it
    (consumer,) = file["consumers"]
    consumer["sink"].pop("kind")
    assert consumer["sink"].keys() == file["client"]["deliveries"].keys()
    return {
        Deliveries: deliveries,
        DeliveryPolicy: policy,
        Endpoint: file["endpoints"][0],
        Reconciler: file["reconciler"],
        Rule: file["rules"][0],
        DeliverySink: consumer["sink"],
    }


@pytest.mark.parametrize("of", IN_CODE, ids=lambda of: of.__name__)
def test_the_sample_has_every_option_with_its_default(of: Callable[..., object]) -> None:
    """Value by value; only what has no default, or nothing as one, has an example instead."""
    written = of_file()[of]
    examples = {"name", "url", "secret", "headers", "events", "endpoints", "where"}

    arguments = {
        name: argument for name, argument in inspect.signature(of).parameters.items() if name not in IN_CODE[of]
    }
    assert written.keys() == arguments.keys()
    defaults = {name: argument.default for name, argument in arguments.items() if name not in examples}
    read = {name: None if value == "none" else value for name, value in written.items() if name not in examples}
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in read.items()} == {
        name: tuple(value) if isinstance(value, list) else value for name, value in defaults.items()
    }


def test_the_sample_is_read(tmp_path: Path, clock: LoopClock) -> None:
    """Each part is made as code would make it, and nothing is opened."""
    file = tmp_path / "deliveries.toml"
    file.write_text(SAMPLE.read_text())

    pipeline = Pipeline.from_file(file, environ={"ACME_SECRET": SECRET}, clock=clock)

    deliveries, reconciler = pipeline.deliveries, pipeline.reconciler
    assert deliveries is not None
    assert reconciler is not None
    assert isinstance(deliveries.store, SqliteStore)
    assert (deliveries.store.name, deliveries.store.is_shared) == (f"sqlite {tmp_path / 'deliveries.db'}", True)
    assert deliveries.policy == DeliveryPolicy()
    assert reconciler.deliveries is deliveries
    acme, archive = pipeline.endpoints
    assert acme == Endpoint("acme", "https://acme.example/hooks", SECRET, headers={"X-Team": "billing"})
    assert isinstance(archive.sink, FileSink)
    assert isinstance(pipeline.consumers[0]._sink, DeliverySink)
    assert [path.name for path in tmp_path.iterdir()] == ["deliveries.toml"]


def made(folder: Path, clock: LoopClock, text: str, **environ: str) -> Pipeline:
    file = folder / "pipeline.toml"
    file.write_text(text)
    return Pipeline.from_file(file, environ=environ, clock=clock)


def test_every_option_of_the_policy_is_known() -> None:
    """What the sample is compared with is the whole of it."""
    assert {field.name for field in fields(DeliveryPolicy)} == of_file()[DeliveryPolicy].keys()


def test_options_that_differ_reach_their_parts(tmp_path: Path, clock: LoopClock) -> None:
    """A value of the file, not the default, is what the part works with."""
    pipeline = made(
        tmp_path,
        clock,
        """
[store]
kind = "memory"
[deliveries]
retention = "none"
[deliveries.policy]
delays = [1, 2]
attempts = 3
[reconciler]
workers = 3
interval = 2
claim_ttl = 9
timeout = 4
lock = "one"
""",
    )

    assert pipeline.deliveries is not None
    assert pipeline.reconciler is not None
    assert pipeline.deliveries.policy == DeliveryPolicy(delays=(1, 2), attempts=3)
    assert pipeline.deliveries._retention is None
    common = pipeline.reconciler._common
    assert (common.pacing.workers, common.interval, common.claim_ttl, common.timeout) == (3, 2, 9, 4)
    assert pipeline.reconciler._lock._name == "one"
    assert isinstance(pipeline.deliveries.store, MemoryStore)
    assert pipeline.deliveries.store is not pipeline.log.store


def test_deliveries_share_the_file_of_a_log_that_is_shared(tmp_path: Path, clock: LoopClock) -> None:
    """With a connection of their own."""
    text = '[store]\nkind = "sqlite"\npath = "x.db"\nshared = true\n[deliveries]'

    pipeline = made(tmp_path, clock, text)

    assert pipeline.deliveries is not None
    assert pipeline.deliveries.store is not pipeline.log.store
    assert pipeline.deliveries.store.name == pipeline.log.store.name


def test_no_secret_of_an_endpoint_is_in_a_message(tmp_path: Path, clock: LoopClock) -> None:
    """Nor a value of the environment that is none."""
    text = '[store]\nkind = "memory"\n[[endpoints]]\nname = "a"\nurl = "https://x.example"\nsecret = "${S}"'

    with pytest.raises(ValueError, match="endpoint 'a'") as caught:
        made(tmp_path, clock, text, S="whsec_no")

    assert "whsec_no" not in str(caught.value)


def test_secrets_come_from_one_place(tmp_path: Path, clock: LoopClock) -> None:
    """An endpoint with a secret is refused where a function gives them."""
    text = """
[store]
kind = "memory"
[deliveries]
secrets = "tests.pipeline.handlers:is_paid"
[[endpoints]]
name = "a"
url = "https://x.example"
secret = "${S}"
"""

    with pytest.raises(ValueError, match=r"is given by deliveries\.secrets already") as caught:
        made(tmp_path, clock, text, S=SECRET)

    assert SECRET not in str(caught.value)
