"""Deliveries and endpoints by the command line: looked at, asked for again, held back; no secret is ever shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import orjson
import pytest

from eventpipe import Event
from eventpipe.cli.delivery_filter import Reason, State
from eventpipe.delivery import Deliveries, DeliveryFilter, DeliveryState, Endpoint, EndpointStats, FailureReason, Rule
from eventpipe.delivery.endpoint import Private
from eventpipe.stores.sqlite import SqliteStore
from tests.cli.logs import Holder, Shell
from tests.cli.terminal import terminal

pytestmark = pytest.mark.wallclock

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
KEY = "Bearer very-private"


async def fill(path: Path) -> None:
    """Two endpoints, of which nothing listens at the second; three events, of which one is cancelled."""
    async with Deliveries(SqliteStore(path, shared=True, durability="process")) as deliveries:
        await deliveries.add_endpoint(
            Endpoint("acme", "https://acme.example/hooks", SECRET, headers={"Authorization": KEY})
        )
        await deliveries.add_endpoint(Endpoint("beta", "http://127.0.0.1:9/x", allow_private=True))
        await deliveries.add_rule(Rule("all", ("*",), ("acme", "beta")))
        for number in range(3):
            await deliveries.publish(Event("invoice.created", properties={"n": number}, uuid=uuid(number)))
        await deliveries.cancel_deliveries(uuid(0))


def uuid(number: int) -> str:
    return f"01890a5d-ac96-774b-bcce-{number:012x}"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("deliveries") / "made.db"
    asyncio.run(fill(path))
    return path.read_bytes()


@pytest.fixture
def resting(made: bytes, tmp_path: Path) -> Path:
    """A file that nobody has open."""
    path = tmp_path / "deliveries.db"
    path.write_bytes(made)
    return path


@pytest.fixture(params=["at rest", "in use"])
def file(request: pytest.FixtureRequest, resting: Path, holder: Holder) -> Iterator[Path]:
    """A file that nobody else, or another process, has open."""
    is_in_use = request.param == "in use"
    if is_in_use:
        holder.ask("share", resting)
    yield resting
    if is_in_use:
        holder.ask("close")


def states(shell: Shell, file: Path, *words: str) -> list[tuple[int, str]]:
    return [(row["id"], row["state"]) for row in shell.lines("deliveries", "list", file, "--json", *words)]


def private(file: Path, name: str) -> Private:
    async def read() -> Private:
        async with Deliveries(SqliteStore(file, shared=True)) as deliveries:
            return Private.unpack(await deliveries.kept.private(name))

    return asyncio.run(read())


def test_words_of_the_command_line_are_those_of_deliveries() -> None:
    """Every state and every reason can be asked for."""
    assert list(get_args(State)) == list(DeliveryState)
    assert list(get_args(Reason)) == list(FailureReason)


def test_deliveries_are_listed_newest_first(file: Path, shell: Shell) -> None:
    """A line for each, and an object a line for programs."""
    ended = shell.run("deliveries", "list", file)

    lines = [line.split() for line in ended.stdout.splitlines()]
    assert (ended.code, ended.stderr) == (0, "")
    assert lines[0] == ["id", "event", "endpoint", "state", "attempts", "age", "due", "last", "answer"]
    assert [line[:3] for line in lines[1:3]] == [["6", "invoice.created", "beta"], ["5", "invoice.created", "acme"]]
    assert states(shell, file) == [
        (6, "pending"),
        (5, "pending"),
        (4, "pending"),
        (3, "pending"),
        (2, "failed"),
        (1, "failed"),
    ]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (("--state", "failed"), [2, 1]),
        (("--state", "failed", "--state", "pending", "-n", "3"), [6, 5, 4]),
        (("--endpoint", "acme"), [5, 3, 1]),
        (("--event", "invoice.*"), [6, 5, 4, 3, 2, 1]),
        (("--event", "order.*"), []),
        (("--reason", "cancelled"), [2, 1]),
        (("--reason", "expired"), []),
        (("--due-before", "now"), [6, 5, 4, 3]),
        (("--published-after", "1d", "--endpoint", "beta"), [6, 4, 2]),
        (("--published-before", "1d"), []),
    ],
    ids=str,
)
def test_filters_say_which(words: tuple[str, ...], ids: list[int], resting: Path, shell: Shell) -> None:
    """Each alone, and all of them together."""
    assert [row[0] for row in states(shell, resting, *words)] == ids


def test_a_delivery_is_shown_with_its_event(file: Path, shell: Shell) -> None:
    """Its row, its attempts and the payload."""
    said = shell.json("deliveries", "show", file, "1")

    assert said["delivery"]["reason"] == "cancelled"
    assert said["attempts"] == []
    assert said["event"]["event"]["properties"] == {"n": 0}
    assert '"n": 0' in shell.run("deliveries", "show", file, "1").stdout


def test_an_event_is_asked_for_again(file: Path, shell: Shell) -> None:
    """All of its deliveries, or those to the endpoints that are named."""
    ended = shell.run("deliveries", "resend", file, uuid(0), "--to", "acme")

    assert (ended.code, ended.stdout, ended.stderr) == (0, "1 delivery asked for again\n", "")
    assert states(shell, file, "--endpoint", "acme")[-1] == (1, "resending")
    assert states(shell, file, "--state", "failed") == [(2, "failed")]


def test_a_bulk_resend_says_how_many_and_needs_a_yes(file: Path, shell: Shell) -> None:
    """Where nobody can answer it does nothing without one; by default those that failed are meant."""
    refused = shell.run("deliveries", "resend", file, "--event", "invoice.*")
    seen = shell.json("deliveries", "resend", file, "--event", "invoice.*", "--dry-run")
    before = states(shell, file, "--state", "failed")
    done = shell.json("deliveries", "resend", file, "--event", "invoice.*", "--yes")

    assert (refused.code, refused.stdout, refused.stderr) == (
        2,
        "",
        "eventpipe: 2 deliveries would be asked for again; say --yes to do so, or --dry-run to see the number alone\n",
    )
    assert seen == {"ok": True, "dry_run": True, "deliveries": 2}
    assert before == [(2, "failed"), (1, "failed")]
    assert done == {"ok": True, "done": [2, 1], "refused": [], "missed": []}
    assert states(shell, file, "--state", "resending") == [(2, "resending"), (1, "resending")]


def test_what_is_final_is_not_cancelled(file: Path, shell: Shell) -> None:
    """The exit code says so; all that is open can be cancelled at once."""
    ended = shell.run("deliveries", "cancel", file, uuid(0))
    rest = shell.run("deliveries", "cancel", file, "--all", "--yes")

    assert (ended.code, ended.stdout) == (
        1,
        "0 deliveries cancelled\n2 deliveries (1, 2) left as they are: final already\n",
    )
    assert (rest.code, rest.stdout) == (0, "4 deliveries cancelled\n")
    assert states(shell, file, "--reason", "cancelled") == [(number, "failed") for number in range(6, 0, -1)]


@pytest.mark.parametrize("family", ["deliveries", "endpoints"])
def test_an_endpoint_is_paused_and_resumed(family: str, file: Path, shell: Shell) -> None:
    """By either word; why is told to whoever looks."""
    ended = shell.run(family, "pause", file, "acme", "--reason", "they asked")
    paused = shell.json("endpoints", "show", file, "acme")["endpoint"]
    again = shell.run(family, "resume", file, "acme")

    assert ended.stdout == "'acme' is paused and was active; its deliveries: 2 pending, 1 failed\n"
    assert (paused["state"], paused["state_reason"]) == ("paused", "they asked")
    assert again.stdout == "'acme' is delivered to and was paused; its deliveries: 2 pending, 1 failed\n"
    assert shell.json("endpoints", "show", file, "acme")["endpoint"]["state"] == "active"


@pytest.mark.parametrize("to", ["pause", "disable"])
def test_an_endpoint_is_held_back_before_its_deliveries_are_counted(
    to: str, file: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting a million takes seconds, in which a customer gets what somebody hurries to stop."""
    states: list[str] = []
    stats = Deliveries.stats

    async def counted(deliveries: Deliveries) -> list[EndpointStats]:
        states.append((await deliveries.endpoint("acme")).state)
        return await stats(deliveries)

    monkeypatch.setattr(Deliveries, "stats", counted)

    assert shell.run("endpoints", to, file, "acme").code == 0
    assert states == [{"pause": "paused", "disable": "disabled"}[to]]


def test_stats_count_by_endpoint_and_state(file: Path, shell: Shell) -> None:
    """Every state is there, also where it has none."""
    acme, beta = shell.json("deliveries", "stats", file)["endpoints"]

    assert acme["deliveries"] == {"pending": 2, "sending": 0, "success": 0, "failed": 1, "resending": 0}
    assert (acme["endpoint"], beta["endpoint"], beta["claimed"]) == ("acme", "beta", 0)


def test_what_was_settled_is_purged(file: Path, shell: Shell) -> None:
    """And nothing that is open."""
    assert shell.json("deliveries", "purge", file, "--before", "1d")["deleted"] == 0
    assert shell.json("deliveries", "purge", file, "--before", "now")["deleted"] == 2
    assert [row[0] for row in states(shell, file)] == [6, 5, 4, 3]


def test_an_endpoint_is_made_in_a_new_file(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its secret and the values of its headers come from the environment."""
    path = tmp_path / "new.db"
    monkeypatch.setenv("ACME_SECRET", SECRET)
    monkeypatch.setenv("ACME_KEY", KEY)

    ended = shell.run(
        "endpoints", "add", path, "acme", "https://acme.example/hooks", "--secret-from", "ACME_SECRET",
        "--header-from", "Authorization=ACME_KEY", "--rate-limit", "5", "--timeout", "3",
    )  # fmt: skip

    assert (ended.code, ended.stdout, ended.stderr) == (
        0,
        "'acme' goes to https://acme.example/hooks, signed\n",
        "",
    )
    assert private(path, "acme") == Private((SECRET,), {"Authorization": KEY})
    shown = shell.json("endpoints", "show", path, "acme")["endpoint"]
    assert (shown["rate_limit"], shown["timeout"], shown["headers"]) == (5.0, 3.0, ["Authorization"])


def test_a_secret_is_rotated_from_standard_input(file: Path, shell: Shell) -> None:
    """The old one goes on signing beside it, unless it is dropped."""
    ended = shell.run("endpoints", "rotate", file, "acme", "--secret-from", "-", stdin=f"{OTHER}\n".encode())
    beside = private(file, "acme")
    shell.run("endpoints", "rotate", file, "acme", "--secret-from", "-", "--drop-old", stdin=SECRET.encode())

    assert ended.code == 0
    assert beside == Private((OTHER, SECRET), {"Authorization": KEY})
    assert private(file, "acme").secrets == (SECRET,)


def test_rules_are_made_shown_and_forgotten(file: Path, shell: Shell) -> None:
    """In place of the one of that name."""
    shell.run(
        "endpoints", "rules", file, "all", "--event", "a.*", "--event", "b", "--to", "acme", "--where", "plan=pro",
        "--where", "age=42",
    )  # fmt: skip
    made = shell.json("endpoints", "rules", file)["rules"]
    ended = shell.run("endpoints", "rules", file, "all", "--remove")

    assert made == [{"name": "all", "events": ["a.*", "b"], "endpoints": ["acme"], "where": {"age": 42, "plan": "pro"}}]
    assert ended.stdout == "rule 'all' is forgotten\n"
    assert shell.json("endpoints", "rules", file)["rules"] == []


def test_a_test_says_what_the_far_end_did(file: Path, shell: Shell) -> None:
    """A far end that is not there is a failure, and nothing of it is kept."""
    ended = shell.run("endpoints", "test", file, "beta", "--timeout", "2s", "--json")

    said = orjson.loads(ended.stdout)
    assert (ended.code, said["ok"], said["attempt"]["outcome"]) == (1, False, "retry")
    assert len(states(shell, file)) == 6


def test_an_endpoint_is_disabled_and_removed(file: Path, shell: Shell) -> None:
    """Its secrets go with it, and its deliveries stay."""
    shell.run("endpoints", "disable", file, "acme")
    disabled = shell.json("endpoints", "show", file, "acme")["endpoint"]["state"]
    ended = shell.run("endpoints", "remove", file, "acme")

    assert disabled == "disabled"
    assert ended.stdout == (
        "'acme' is removed, with its secrets, and was disabled; its deliveries: 2 pending, 1 failed\n"
    )
    assert [one["name"] for one in shell.json("endpoints", "list", file)["endpoints"]] == ["beta"]
    assert len(states(shell, file, "--endpoint", "acme")) == 3


def test_no_command_shows_a_secret(resting: Path, shell: Shell) -> None:
    """In no form that is printed, for people or programs."""
    shown = ""
    for words in (
        ("endpoints", "list"),
        ("endpoints", "show", "acme"),
        ("endpoints", "rules"),
        ("endpoints", "test", "acme", "--timeout", "100ms"),
        ("endpoints", "pause", "acme"),
        ("deliveries", "list"),
        ("deliveries", "show", "5"),
        ("deliveries", "stats"),
    ):
        for more in ((), ("--json",)):
            ended = shell.run(words[0], words[1], resting, *words[2:], *more)
            shown += ended.stdout + ended.stderr

    assert "acme" in shown
    assert [hidden for hidden in (SECRET, SECRET.removeprefix("whsec_"), KEY, "very-private") if hidden in shown] == []


@pytest.mark.parametrize(
    ("answer", "code", "said", "failed"),
    [
        ("y", 0, "1 delivery", 0),
        ("YES", 0, "1 delivery", 0),
        ("n", 2, "eventpipe: nothing was changed", 1),
        ("", 2, "eventpipe: nothing was changed", 1),
        ("maybe", 2, "eventpipe: nothing was changed", 1),
    ],
)
def test_many_are_asked_for_again_if_somebody_at_a_terminal_agrees(
    resting: Path, answer: str, code: int, said: str, failed: int
) -> None:
    """How many there are is told first; whatever is not yes is no."""

    async def ask() -> tuple[int, str]:
        async with terminal("deliveries", "resend", str(resting), "--endpoint", "acme") as screen:
            await screen.shows("1 delivery would be asked for again; go on? [y/N] ")
            before = len(screen.shown)
            screen.press(f"{answer}\n".encode())
            return await screen.end(), screen.shown[before:]

    ended, shown = asyncio.run(ask())

    assert (ended, said in shown) == (code, True), shown

    async def count() -> int:
        async with Deliveries(SqliteStore(resting, shared=True)) as deliveries:
            wanted = DeliveryFilter(states=[DeliveryState.FAILED], endpoint="acme")
            return len(await deliveries.rows(wanted))

    assert asyncio.run(count()) == failed


BAD = {
    "file": ("deliveries list {dir}/no.db", "cannot open {dir}/no.db: no such file or directory; name the file that"
             " deliveries are kept in, or begin one with eventpipe endpoints add", 1),
    "endpoint": ("endpoints pause {db} acm", "there is no endpoint 'acm'; did you mean 'acme'?", 1),
    "other endpoint": ("deliveries list {db} --endpoint zzz", "there is no endpoint 'zzz'; there are: acme, beta", 1),
    "delivery": ("deliveries show {db} 99",
                 "there is no delivery 99; it was never published, or retention deleted it", 1),
    "id": ("deliveries show {db} 1.5", "'1.5' is not a whole number; see eventpipe --help", 2),
    "event": ("deliveries resend {db} 7", "there is no event '7'; it was never published, or retention deleted it", 1),
    "number": ("deliveries list {db} -n -1", "--number: must be at least 0, not -1", 2),
    "time": ("deliveries list {db} --due-before soon", "--due-before: 'soon' is neither now, a time such as"
             " 2026-01-31T09:05:00Z, nor 10m for ten minutes ago", 2),
    "nothing asked": ("deliveries resend {db}", "resend needs the id of an event, or options that say which, such as"
                      " --endpoint, or --all; and one of these", 2),
    "all and some": ("deliveries resend {db} --all --endpoint acme", "resend needs the id of an event, or options that"
                     " say which, such as --endpoint, or --all; and one of these", 2),
    "event and filter": ("deliveries cancel {db} 7 --endpoint acme",
                         "cancel takes the id of an event, or options that say which; not both", 2),
    "to without an event": ("deliveries resend {db} --to acme",
                            "--to goes with the id of an event; --endpoint says which deliveries otherwise", 2),
    "no secret": ("endpoints add {db} c https://c.example/", "add needs --secret-from VARIABLE, --secret-from - for"
                  " standard input, or --unsigned", 2),
    "secret as an argument": ("endpoints add {db} c https://c.example/ --secret-from whsec_abcdef",
                              "--secret-from: must be the name of an environment variable that is set, and no secret"
                              " itself, which process lists would show", 2),
    "secret that is none": ("endpoints rotate {db} acme --secret-from -",
                            "--secret-from: there is no secret on standard input", 2),
    "endpoint twice": ("endpoints add {db} acme https://c.example/ --unsigned",
                       "there is an endpoint 'acme' already; --replace puts this in its place", 1),
    "header": ("endpoints add {db} c https://c.example/ --unsigned --header-from Authorization", "--header-from: must"
               " be of the form NAME=VARIABLE, such as Authorization=PARTNER_KEY", 2),
    "rule without a name": ("endpoints rules {db} --event a",
                            "name the rule that the options are about: eventpipe endpoints rules FILE NAME", 2),
    "half a rule": ("endpoints rules {db} r --event a",
                    "a rule needs --event and --to: which events, and the endpoints that they go to", 2),
    "endpoint of a rule": ("endpoints rules {db} r --event a --to acm",
                           "there is no endpoint 'acm'; did you mean 'acme'?", 1),
    "rule": ("endpoints rules {db} zzz --remove",
             "there is no rule 'zzz'; eventpipe endpoints rules FILE shows those there are", 1),
}  # fmt: skip


@pytest.mark.parametrize(("words", "line", "code"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(words: str, line: str, code: int, resting: Path, tmp_path: Path, shell: Shell) -> None:
    """What cannot work is told in one line, with the way out; nothing is changed."""
    names = {"db": str(resting), "dir": str(tmp_path)}
    before = states(shell, resting)

    ended = shell.run(*(word.format(**names) for word in words.split(" ")))

    assert (ended.code, ended.stdout, ended.stderr) == (code, "", f"eventpipe: {line.format(**names)}\n")
    assert states(shell, resting) == before
