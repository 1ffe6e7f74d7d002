"""Scenarios of the contract of deliveries: endpoints, what is private of them, and rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eventpipe.errors import EndpointExistsError, UnknownEndpointError
from eventpipe.stores.delivery_values import DELIVERIES, EndpointInfo, EndpointState, Rule
from eventpipe.testing.delivery_rig import NOW, PRIVATE, DeliveryRig, a_publication, an_endpoint, ids_of

DETAILED = EndpointInfo(
    "näme/[1]",
    "webhook",
    "https://acme.example/hooks?a=b",
    "hub",
    ("Authorization", "X-A"),
    2.5,
    7.0,
    allow_private=True,
    allow_insecure=True,
    created_at=NOW + 0.123456,
    version=7,
)


class EndpointScenarios:
    """What endpoints and rules promise."""

    @pytest.mark.parametrize("may_replace", [False, True])
    async def test_new_endpoint_is_kept_as_given(self, rig: DeliveryRig, may_replace: bool) -> None:
        """Each part of it, whether or not it might have taken another's place."""
        kept = await rig.kept.put_endpoint(DETAILED, b"\x00private\xff", replace=may_replace)

        assert kept == DETAILED
        assert await rig.kept.endpoints() == [DETAILED]
        assert await rig.kept.private(DETAILED.name) == b"\x00private\xff"

    async def test_endpoint_of_kind_sink_is_kept_as_given(self, rig: DeliveryRig) -> None:
        """It has no url, and nothing private."""
        info = EndpointInfo("audit", "sink", created_at=NOW)

        assert await rig.kept.put_endpoint(info, None, replace=False) == info

        assert await rig.kept.endpoints() == [info]
        assert await rig.kept.private("audit") is None

    async def test_second_endpoint_of_a_name_is_refused(self, rig: DeliveryRig) -> None:
        """Unless it may replace the first, of which nothing changed."""
        info = await rig.endpoint()
        seen = rig.store.version(DELIVERIES)

        with pytest.raises(EndpointExistsError, match=r"acme.*replace=True"):
            await rig.kept.put_endpoint(replace(info, url="https://other.example"), b"other", replace=False)

        assert await rig.kept.endpoints() == [info]
        assert await rig.kept.private("acme") == PRIVATE
        assert rig.store.version(DELIVERIES) == seen

    async def test_replaced_endpoint_keeps_its_age_and_state(self, rig: DeliveryRig) -> None:
        """With the reason for the state; its version is one more than it was, and all else is as given."""
        await rig.endpoint()
        old = await rig.kept.set_endpoint_state("acme", EndpointState.PAUSED, "they are moving")
        given = replace(DETAILED, name="acme", state=EndpointState.ACTIVE, state_reason="other")

        kept = await rig.kept.put_endpoint(given, None, replace=True)

        assert kept == replace(
            given,
            created_at=old.created_at,
            state=EndpointState.PAUSED,
            state_reason="they are moving",
            version=old.version + 1,
        )
        assert await rig.kept.endpoints() == [kept]

    async def test_change_is_kept_where_nobody_was_quicker(self, rig: DeliveryRig) -> None:
        """What was read is compared by its version; its state stays, and its version is one more."""
        await rig.endpoint()
        read = await rig.kept.set_endpoint_state("acme", EndpointState.PAUSED, "they are moving")
        seen = rig.store.version(DELIVERIES)
        given = replace(read, rate_limit=2.5, state=EndpointState.ACTIVE, state_reason="other")

        kept = await rig.kept.change_endpoint(given, b"other")

        assert kept == replace(read, rate_limit=2.5, version=read.version + 1)
        assert await rig.kept.endpoints() == [kept]
        assert await rig.kept.private("acme") == b"other"
        assert rig.store.version(DELIVERIES) != seen

    @pytest.mark.parametrize("meanwhile", ["changed", "replaced", "paused", "removed", "made anew"])
    async def test_change_of_what_somebody_else_changed_is_none(self, rig: DeliveryRig, meanwhile: str) -> None:
        """Everything is as the other one left it, and nobody is woken."""
        read = await rig.endpoint()
        if meanwhile == "changed":
            await rig.kept.change_endpoint(replace(read, rate_limit=9.0), PRIVATE)
        elif meanwhile == "replaced":
            await rig.kept.put_endpoint(read, b"newer", replace=True)
        elif meanwhile == "paused":
            await rig.kept.set_endpoint_state("acme", EndpointState.PAUSED, None)
        else:
            await rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None)
        if meanwhile == "made anew":
            await rig.kept.put_endpoint(replace(read, created_at=read.created_at + 1), b"newer", replace=False)
        there = await rig.kept.endpoints()
        private = await rig.kept.private("acme") if there else None
        seen = rig.store.version(DELIVERIES)

        assert await rig.kept.change_endpoint(replace(read, rate_limit=1.0), b"other") is None

        assert await rig.kept.endpoints() == there
        assert (await rig.kept.private("acme") if there else None) == private
        assert rig.store.version(DELIVERIES) == seen

    async def test_private_bytes_are_those_given_last(self, rig: DeliveryRig) -> None:
        """Where nothing is given, what was there is deleted."""
        info = await rig.endpoint()

        await rig.kept.put_endpoint(info, b"other", replace=True)
        other = await rig.kept.private("acme")
        await rig.kept.put_endpoint(info, None, replace=True)

        assert other == b"other"
        assert await rig.kept.private("acme") is None

    async def test_private_bytes_are_in_no_repr(self, rig: DeliveryRig) -> None:
        """Of the store, or of what keeps deliveries in it."""
        await rig.endpoint()

        assert "whsec" not in f"{rig.store!r} {rig.kept!r} {await rig.kept.endpoints()!r}"

    @pytest.mark.parametrize("state", [EndpointState.PAUSED, EndpointState.DISABLED, EndpointState.REMOVED])
    async def test_state_of_an_endpoint_is_set_with_its_reason(self, rig: DeliveryRig, state: EndpointState) -> None:
        """Its version is one more, and all else as it was."""
        info = await rig.endpoint()

        changed = await rig.kept.set_endpoint_state("acme", state, "because")

        assert changed == replace(info, state=state, state_reason="because", version=info.version + 1)
        assert await rig.kept.endpoints("acme") == ([] if state is EndpointState.REMOVED else [changed])

    async def test_endpoint_that_is_resumed_has_another_reason(self, rig: DeliveryRig) -> None:
        """None, where none is given; what is private was not touched."""
        await rig.endpoint()
        await rig.kept.set_endpoint_state("acme", EndpointState.DISABLED, "gone")

        resumed = await rig.kept.set_endpoint_state("acme", EndpointState.ACTIVE, None)

        assert (resumed.state, resumed.state_reason, resumed.version) == (EndpointState.ACTIVE, None, 3)
        assert await rig.kept.private("acme") == PRIVATE

    async def test_state_that_an_endpoint_has_is_not_set_again(self, rig: DeliveryRig) -> None:
        """Neither its version nor its reason changes, and nobody is woken."""
        await rig.endpoint()
        paused = await rig.kept.set_endpoint_state("acme", EndpointState.PAUSED, "first")
        seen = rig.store.version(DELIVERIES)

        assert await rig.kept.set_endpoint_state("acme", EndpointState.PAUSED, "second") == paused

        assert await rig.kept.endpoints() == [paused]
        assert rig.store.version(DELIVERIES) == seen

    async def test_endpoint_that_was_removed_is_none_any_more(self, rig: DeliveryRig) -> None:
        """Nor has it anything private: whatever is asked of its name is ``UnknownEndpointError``."""
        await rig.endpoint()
        await rig.publish()
        await rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None)

        assert await rig.kept.endpoints() == await rig.kept.endpoints("acme") == []
        for call in (
            rig.kept.private("acme"),
            rig.kept.set_endpoint_state("acme", EndpointState.ACTIVE, None),
            rig.kept.publish([a_publication("acme")]),
        ):
            with pytest.raises(UnknownEndpointError) as caught:
                await call
            assert caught.value.endpoint == "acme"

    @pytest.mark.parametrize("created_at", [NOW, NOW + 5.0], ids=["at the same moment", "later"])
    async def test_endpoint_of_a_name_that_was_freed_is_another(self, rig: DeliveryRig, created_at: float) -> None:
        """It has none of the rows, nor anything private, and is told apart by when it was made."""
        await rig.endpoint("acme")
        (id_,) = await rig.fill(1)
        old = await rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None)

        new = await rig.kept.put_endpoint(an_endpoint(created_at=created_at), None, replace=False)

        assert new.created_at > old.created_at
        assert new.created_at == pytest.approx(created_at, abs=1e-3, rel=0)
        assert await rig.kept.endpoints() == [new]
        assert await rig.kept.private("acme") is None
        assert await rig.claim(new) == []
        assert ids_of(await rig.claim(old)) == [id_]

    async def test_name_may_be_freed_again_and_again(self, rig: DeliveryRig) -> None:
        """Each one that had it keeps its rows."""
        made: list[tuple[EndpointInfo, int]] = []
        for _ in range(3):
            await rig.endpoint()
            (id_,) = await rig.fill(1)
            made.append((await rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None), id_))

        assert [ids_of(await rig.claim(info)) for info, _ in made] == [[id_] for _, id_ in made]
        assert [info.created_at for info, _ in made] == sorted({info.created_at for info, _ in made})

    async def test_endpoint_that_is_removed_without_rows_leaves_nothing(self, rig: DeliveryRig) -> None:
        """The next one of its name is kept as given, though it was made at the same moment."""
        await rig.endpoint()
        await rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None)

        assert await rig.endpoint() == an_endpoint()
        assert [stats.endpoint for stats in await rig.kept.stats()] == [an_endpoint()]

    async def test_endpoints_come_by_name(self, rig: DeliveryRig) -> None:
        """All that were not removed, or the one that is asked for."""
        for name in ("b", "c", "a"):
            await rig.endpoint(name)
        await rig.kept.set_endpoint_state("c", EndpointState.REMOVED, None)
        await rig.kept.set_endpoint_state("b", EndpointState.DISABLED, None)

        assert [info.name for info in await rig.kept.endpoints()] == ["a", "b"]
        assert [info.name for info in await rig.kept.endpoints("b")] == ["b"]
        assert await rig.kept.endpoints("d") == []

    @pytest.mark.parametrize("where", [{}, {"plan": "pro", "customer.country": ["de", "at"], "n": 1.5, "x": None}])
    async def test_rule_is_kept_as_given(self, rig: DeliveryRig, where: dict[str, Any]) -> None:
        """With its names in their order, whether or not there are such endpoints."""
        rule = Rule("eu", ("invoice.*", "a"), ("b", "acme"), where)
        await rig.kept.put_rule(rule)

        assert await rig.kept.rules() == [rule]

    async def test_rule_takes_the_place_of_the_one_of_its_name(self, rig: DeliveryRig) -> None:
        """The others stay, and all come by name."""
        for name in ("b", "c", "a"):
            await rig.kept.put_rule(Rule(name, ("*",), ("acme",), {"x": 1}))
        await rig.kept.put_rule(Rule("b", ("paid",), ("other",)))

        assert await rig.kept.rules() == [
            Rule("a", ("*",), ("acme",), {"x": 1}),
            Rule("b", ("paid",), ("other",)),
            Rule("c", ("*",), ("acme",), {"x": 1}),
        ]

    async def test_rule_that_is_removed_is_forgotten(self, rig: DeliveryRig) -> None:
        """Once; who removes it again is told that there was none."""
        await rig.kept.put_rule(Rule("a", ("*",), ("acme",)))

        assert [await rig.kept.remove_rule("a") for _ in range(2)] == [True, False]
        assert await rig.kept.rules() == []

    async def test_rule_is_not_changed_by_who_gave_it_or_got_it(self, rig: DeliveryRig) -> None:
        """Its conditions are a dictionary, and the store's are another."""
        where: dict[str, Any] = {"plan": ["pro"]}
        await rig.kept.put_rule(Rule("a", ("*",), ("acme",), where))
        where["plan"].append("free")
        (answer,) = await rig.kept.rules()
        dict.clear(answer.where)  # type: ignore[arg-type]  # as somebody careless may

        (kept,) = await rig.kept.rules()

        assert kept.where == {"plan": ["pro"]}
