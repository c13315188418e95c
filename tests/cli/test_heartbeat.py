"""tick and its monitor: told when a pass went well, never a reason for a pass to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.desk import Bench
from tests.support.servers import http as http_standins
from tests.support.servers.http import HttpStandIn, answer, threaded
from tests.support.terminal import bench_now, run


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def beating(bench: Bench, url: str, *, private: bool = True) -> None:
    path = bench.folder / "commcast.toml"
    more = "heartbeat_private = true\n" if private else ""
    path.write_text(f'{path.read_text()}[tick]\nheartbeat_url = "{url}"\n{more}')


def test_a_pass_that_went_well_is_told(bench: Bench) -> None:
    bench.release()
    with threaded(HttpStandIn(answer())) as server:
        beating(bench, f"{server.url}/t0ken")
        result = run("tick", folder=bench.folder)
    assert [exchange.target for exchange in server.exchanges] == ["/t0ken"]
    assert "eartbeat" not in result.output


def test_a_pass_with_faults_is_not(bench: Bench) -> None:
    (bench.folder / "incidents" / "half.yaml").write_text("title: [\n")
    with threaded(HttpStandIn(answer())) as server:
        beating(bench, server.url)
        run("tick", folder=bench.folder, expect=2)
    assert server.connections == 0


def test_a_dry_run_is_no_beat(bench: Bench) -> None:
    with threaded(HttpStandIn(answer())) as server:
        beating(bench, server.url)
        run("tick", "--dry-run", folder=bench.folder)
    assert server.connections == 0


@pytest.mark.parametrize("handler", [answer(500), http_standins.reset])
def test_a_monitor_that_fails_is_said_once_and_fails_no_tick(
    bench: Bench, handler: http_standins.Handler
) -> None:
    with threaded(HttpStandIn(handler)) as server:
        beating(bench, f"{server.url}/t0ken")
        result = run("tick", "--loop", "1s", "--for", "2s", folder=bench.folder)
    assert server.connections > 1
    assert result.stderr.count("Heartbeat: 127.0.0.1 ") == 1
    assert "t0ken" not in result.output


def test_a_private_address_is_refused_by_default(bench: Bench) -> None:
    with threaded(HttpStandIn(answer())) as server:
        beating(bench, server.url, private=False)
        result = run("tick", folder=bench.folder)
    assert server.connections == 0
    assert "heartbeat_private = true" in result.stderr


def test_the_address_may_be_kept_in_the_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with threaded(HttpStandIn(answer())) as server:
        beating(bench, "env:HEARTBEAT")
        assert "Heartbeat: HEARTBEAT is not set" in run("tick", folder=bench.folder).stderr
        monkeypatch.setenv("HEARTBEAT", server.url)
        assert run("tick", folder=bench.folder).stderr == ""
    assert server.connections == 1


def test_a_wrong_address_is_refused_without_being_shown(bench: Bench) -> None:
    beating(bench, "hc-ping.example/t0ken")
    result = run("tick", folder=bench.folder, expect=2)
    assert "tick.heartbeat_url" in result.stderr
    assert "t0ken" not in result.stderr
