"""So many requests at once, in the order in which they came, and none after a halt."""

from __future__ import annotations

import asyncio

import pytest

from commcast.providers.http import HaltedError, Turns


async def hold(turns: Turns, name: str, begun: list[str], go_on: asyncio.Event) -> None:
    async with turns:
        begun.append(name)
        await go_on.wait()


async def settled() -> None:
    """Let everything that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_who_waits_is_served_in_order() -> None:
    async def scenario() -> None:
        turns, begun = Turns(2), list[str]()
        ends = {name: asyncio.Event() for name in "abcd"}
        tasks = [asyncio.create_task(hold(turns, name, begun, end)) for name, end in ends.items()]
        await settled()
        assert begun == ["a", "b"]
        ends["b"].set()
        await settled()
        assert begun == ["a", "b", "c"]
        for end in ends.values():
            end.set()
        await asyncio.gather(*tasks)
        assert begun == ["a", "b", "c", "d"]

    asyncio.run(scenario())


def test_a_halt_ends_the_waiting_and_lets_finish_what_was_begun() -> None:
    async def scenario() -> None:
        turns, begun, go_on = Turns(1), list[str](), asyncio.Event()
        tasks = [asyncio.create_task(hold(turns, name, begun, go_on)) for name in "abc"]
        await settled()
        turns.halt()
        done = await asyncio.gather(*tasks[1:], return_exceptions=True)
        assert [type(each) for each in done] == [HaltedError] * 2
        assert not tasks[0].done()
        go_on.set()
        await tasks[0]
        with pytest.raises(HaltedError):
            await hold(turns, "d", begun, go_on)
        assert begun == ["a"]

    asyncio.run(scenario())


@pytest.mark.parametrize("given", [False, True], ids=["before its turn", "just as its turn comes"])
def test_whoever_is_cancelled_costs_no_turn(given: bool) -> None:
    """Also where the turn had been given to him at that very moment."""

    async def scenario() -> None:
        turns, begun = Turns(1), list[str]()
        first, second, third = (asyncio.Event() for _ in range(3))
        a = asyncio.create_task(hold(turns, "a", begun, first))
        b = asyncio.create_task(hold(turns, "b", begun, second))
        c = asyncio.create_task(hold(turns, "c", begun, third))
        await settled()
        if given:
            async with asyncio.timeout(1):
                first.set()
                await a
        b.cancel()
        await asyncio.gather(b, return_exceptions=True)
        first.set()
        await settled()
        assert begun[-1] == "c"
        third.set()
        await asyncio.gather(a, c)
        async with asyncio.timeout(1), turns:
            pass

    asyncio.run(scenario())
