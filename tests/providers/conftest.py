"""Tests that are coroutines have a loop of their own, of the kind that their module's LOOPS name, if any."""

from __future__ import annotations

import asyncio
import inspect

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    kinds = getattr(pyfuncitem.module, "LOOPS", {})
    given = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    with asyncio.Runner(loop_factory=kinds.get(given.get("loop", "asyncio"))) as runner:
        runner.run(pyfuncitem.obj(**given))
    return True
