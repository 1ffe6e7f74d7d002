from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eventpipe.cli.main import main
from eventpipe.codecs.compression import library

pytestmark = pytest.mark.wallclock


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which somebody listens, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@dataclass(frozen=True)
class Bad:
    """A command line, and the one line it gets."""

    words: str
    line: str
    code: int = 2


BAD = {
    "no file": Bad("send --to {url}", "nothing to send: name a file, or - for standard input"),
    "stdin twice": Bad("send - - --to {url}", "standard input can be read once only"),
    "missing file": Bad("send {dir}/no.csv --to {url}", "cannot read {dir}/no.csv: no such file or directory"),
    "directory": Bad("send {dir} --to {url}", "cannot read {dir}: it is a directory"),
    "unknown option": Bad("send --nope --to {url}", "unknown option: --nope; see eventpipe send --help"),
    "unknown suffix": Bad(
        "send {dir}/x.bin --to {url}", "cannot tell the format of {dir}/x.bin by its name: give it with --format"
    ),
    "nameless text": Bad(
        "send {dir}/x.bin --format text --to {url}", "plain lines have no event name: give them one with --event"
    ),
    "delimiter": Bad("send {file} --delimiter ab --to {url}", "--delimiter: must be one character, not 'ab'"),
    "scheme": Bad("send {file} --to ftp://x", "--to: url must begin with http:// or https://, not 'ftp://x'"),
    "port": Bad(
        "send {file} --to http://localhost:99999",
        "--to: url must have a valid host and a port from 1 to 65535, not 'http://localhost:99999'",
    ),
    "not an address": Bad(
        "send {file} --to http://[::1",
        "--to: url must have a valid host and a port from 1 to 65535, not 'http://[::1'",
    ),
    "host of odd letters": Bad(
        "send {file} --to http://℀.example",
        "--to: url must not have backslashes or characters beyond Latin-1 (write them percent-encoded or as punycode), "
        "not 'http://℀.example'",
    ),
    "plain http": Bad(
        "send {file} --to http://collector.example",
        "--to: plain http to another machine needs --allow-insecure; use https where you can",
    ),
    "no key": Bad(
        "send {file} --to {url} --codec posthog",
        "--codec posthog needs the project's key: --api-key, or EVENTPIPE_API_KEY",
    ),
    "key with line break": Bad(
        "send {file} --to {url} --api-key a\nb",
        "--api-key, EVENTPIPE_API_KEY: must be printable ASCII without spaces (its value is not shown)",
    ),
    "drain": Bad("send {file} --to {url} --drain soon", "--drain: 'soon' is not a duration such as 50ms, 5s or 2m"),
    "rejects over input": Bad(
        "send {file} --to {url} --rejects {file}", "--rejects: {file} is one of the files to send"
    ),
    "rejects nowhere": Bad(
        "send {file} --to {url} --rejects {dir}/no/such", "cannot write {dir}/no/such: no such file or directory", 1
    ),
    "no event column": Bad(
        "send {dir}/head.csv --to {url}",
        "{dir}/head.csv has no column 'event'; name the right one with --event-field, or all events with --event",
    ),
    "closed port": Bad("send {file} --to http://127.0.0.1:1", "cannot reach 127.0.0.1:1: connection refused", 1),
    "no such host": Bad("send {file} --to https://no.invalid", "cannot reach no.invalid:443: no such host", 1),
    "no host can be": Bad(
        "send {file} --to https://a..b",
        "--to: url must have a valid host and a port from 1 to 65535, not 'https://a..b'",
    ),
    "no write key": Bad(
        "send {file} --to {url} --codec segment",
        "--codec segment needs the source's write key: --api-key, or EVENTPIPE_API_KEY",
    ),
    "no secret": Bad(
        "send {file} --to {url} --codec webhook",
        "--codec webhook needs what webhooks are signed with: --secret, or EVENTPIPE_WEBHOOK_SECRET",
    ),
    "wrong secret": Bad(
        "send {file} --to {url} --codec webhook --secret hidden",
        "--codec webhook: secret[0] must be whsec_ and the base64 of 24 to 64 bytes (its value is not shown)",
    ),
    "two secrets": Bad(
        "send {file} --to {url} --codec feature-flags --secret a --secret b",
        "--codec feature-flags: secret must be one secret, not 2: X-Hub-Signature-256 holds one signature",
    ),
    "no source": Bad(
        "send {file} --to {url} --codec cloudevents-binary",
        "--codec cloudevents-binary needs who sends: --source, such as /shop/checkout",
    ),
    "wrong source": Bad(
        "send {file} --to {url} --codec cloudevents --source <shop>",
        "--codec cloudevents: source must be a URI reference of 1 to 2048 characters, such as '/shop/checkout', "
        "not '<shop>'",
    ),
    "compression that nobody reads": Bad(
        "send {file} --to {url} --codec segment --api-key k --compression zstd",
        "--compression: compression must be one that the far end reads ('gzip') or None, not 'zstd'",
    ),
    "unknown compression": Bad(
        "send {file} --to {url} --compression lzw",
        'Invalid value "lzw" for --compression. Choose from: "gzip", "deflate", "br", "zstd", "none"; '
        "see eventpipe --help",
    ),
    "no lanes": Bad(
        "send {file} --to {url} --lane ai", "--lane ai: --codec json has no lanes, posthog and posthog-v1 have"
    ),
    "serve: verdict": Bad(
        "serve --verdict retry", "--verdict: 'retry' is not of the form VERDICT:SHARE, such as retry:0.1"
    ),
    "serve: secret": Bad(
        "serve --webhook-secret whsec_hidden",
        "--webhook-secret, EVENTPIPE_WEBHOOK_SECRET: secret[0] must be whsec_ and the base64 of 24 to 64 bytes "
        "(its value is not shown)",
    ),
    "serve: stall": Bad("serve --stall 5s", "--stall: '5s' is not of the form SHARE:DURATION, such as 0.1:5s"),
    "serve: latency": Bad("serve --latency soon", "--latency: 'soon' is not a duration such as 50ms, 5s or 2m"),
    "serve: fail": Bad("serve --fail 200:1", "--fail: '200' is not an error status from 400 to 599"),
    "serve: reset": Bad("serve --reset 2", "--reset: '2' is not a share of requests from 0 to 1, such as 0.1"),
    "serve: outage": Bad("serve --outage 3s", "--outage: '3s' is not of the form START:DURATION, such as 3s:2s"),
    "serve: port": Bad("serve --port 70000", "--port: 70000 is not a port from 0 to 65535"),
    "serve: seconds": Bad("serve --seconds 0", "--seconds: must be above 0 and at most 86400, not 0"),
    "serve: port taken": Bad("serve --port {port}", "cannot listen on 127.0.0.1:{port}: address already in use", 1),
    "serve: store": Bad("serve --port 0 --store {file}", "cannot store events in {file}: file exists", 1),
    "demo: seconds": Bad("demo --seconds -1", "--seconds: must be above 0 and at most 86400, not -1"),
    "demo: rate": Bad("demo --rate 0", "--rate: must be above 0 and at most 50,000, not 0"),
    "demo: events": Bad(
        "demo --seconds 600 --rate 2000", "--seconds times --rate: at most 1,000,000 events, not 1,200,000"
    ),
    "top: scheme": Bad("top ftp://x", "URL must begin with http:// or https://, not 'ftp://x'"),
    "top: interval": Bad("top {url} --interval 50ms", "--interval: must be at least 100 ms, not 50ms"),
    "top: patience": Bad("top {url} --patience long", "--patience: 'long' is not a duration such as 50ms, 5s or 2m"),
    "top: seconds": Bad("top {url} --seconds 0", "--seconds: must be above 0 and at most 86400, not 0"),
    "top: header": Bad(
        "top {url} --header secret",
        "--header, EVENTPIPE_TOP_HEADER: must be of the form 'Name: value' (what was given is not shown)",
    ),
    "top: header in plain text": Bad(
        "top shop.example --header A:b",
        "--header: plain http to another machine needs --allow-insecure; use https where you can",
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line(
    bad: Bad, port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot work is told in one line on stderr: exit code 2 for the command line, 1 for the world."""
    for name in ("EVENTPIPE_API_KEY", "EVENTPIPE_WEBHOOK_SECRET", "EVENTPIPE_TOP_HEADER"):
        monkeypatch.delenv(name, raising=False)
    names = {
        "file": str(tmp_path / "in.ndjson"),
        "dir": str(tmp_path),
        "url": f"http://127.0.0.1:{port}",
        "port": str(port),
    }
    (tmp_path / "in.ndjson").write_text('{"event": "e"}\n')
    (tmp_path / "x.bin").touch()
    (tmp_path / "head.csv").write_text("name\nx\n")

    code = main([word.format(**names) for word in bad.words.split(" ")])

    shown = capsys.readouterr()
    assert (code, shown.out, shown.err) == (bad.code, "", f"eventpipe: {bad.line.format(**names)}\n")


def test_wrong_variable_is_one_line(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option that the environment sets wrongly is told with its variable."""
    monkeypatch.setenv("EVENTPIPE_WORKERS", "many")
    (tmp_path / "in.ndjson").write_text('{"event": "e"}\n')

    assert main(["send", str(tmp_path / "in.ndjson"), "--to", f"http://127.0.0.1:{port}"]) == 2
    assert capsys.readouterr().err == "eventpipe: EVENTPIPE_WORKERS must be a whole number, not 'many'\n"


@pytest.mark.parametrize(
    ("words", "module", "line"),
    [
        ("--codec otlp", "opentelemetry.proto.collector.logs.v1.logs_service_pb2", "--codec otlp: OtlpLogs needs "),
        ("--compression br", "brotli", "--compression: "),
    ],
    ids=["otlp", "brotli"],
)
def test_a_missing_extra_is_one_line(
    words: str,
    module: str,
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What has to be installed is named."""
    library.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "in.ndjson").write_text('{"event": "e"}\n')

    code = main(["send", str(tmp_path / "in.ndjson"), "--to", "http://127.0.0.1:9", *words.split()])

    shown = capsys.readouterr().err
    assert code == 2
    assert shown.startswith(f"eventpipe: {line}")
    assert "pip install 'eventpipe[" in shown
