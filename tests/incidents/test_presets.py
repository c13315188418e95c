"""Presets: the shipped ones are ready to declare, a user's own come first, and a broken one says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from commcast.config.settings import Config
from commcast.errors import InputError
from commcast.incidents.editor import append_update, fill_times
from commcast.incidents.load import load_incident
from commcast.incidents.presets import find_preset, list_presets
from commcast.incidents.schema import preset_schema
from tests.support.scenario import NOW, create_incident, make_desk

OWN = """\
about: the night batch is late
title: Statements are late
severity: 3
updates:
  - issue: Statements are not ready yet.
    resolution: We run the batch again.
    timeframe: unknown
"""


@pytest.fixture
def desk(tmp_path: Path) -> Config:
    (tmp_path / "presets").mkdir()
    return make_desk(tmp_path)


def test_the_shipped_presets_are_ready(desk: Config) -> None:
    """Each of the four makes an incident that loads, with no hole in its words."""
    presets = list_presets(desk)
    assert [preset.name for preset in presets] == ["dependency", "login", "payments", "slow"]
    for preset in presets:
        path = create_incident(desk, f"{preset.name}1", preset.data)
        fill_times(path, {1: NOW})
        incident = load_incident(path, desk, NOW)
        assert incident.title == preset.title
        assert not set("<>{}[]_") & set(incident.latest.issue + incident.latest.resolution)


def test_a_users_own_preset_hides_the_shipped_one(desk: Config) -> None:
    (desk.folder / "presets" / "login.yaml").write_text(OWN)
    preset = find_preset(desk, "login")
    assert (preset.origin, preset.about) == ("presets", "the night batch is late")
    assert "about" not in preset.data
    assert len(list_presets(desk)) == 4


def test_an_unknown_preset_names_the_known(desk: Config) -> None:
    with pytest.raises(InputError, match="did you mean payments"):
        find_preset(desk, "payment")
    with pytest.raises(InputError, match="known: dependency, login"):
        find_preset(desk, "../../etc/passwd")


def test_a_preset_holds_no_times_and_no_id(desk: Config) -> None:
    path = desk.folder / "presets" / "late.yaml"
    path.write_text(
        OWN.replace("  - issue", "  - at: 2026-11-21T10:05Z\n    issue") + "id: late\nstarted: x\n"
    )
    with pytest.raises(InputError) as caught:
        find_preset(desk, "late")
    assert [(fault.file, fault.line) for fault in caught.value.faults] == [
        ("presets/late.yaml", line) for line in (5, 9, 10)
    ]
    assert find_preset(desk, "slow").origin == "shipped"


def test_an_update_can_follow_a_preset(desk: Config) -> None:
    path = create_incident(desk, "pay7", find_preset(desk, "payments").data)
    append_update(path, {"at": NOW, "nothing_new": "We are still looking."})
    assert load_incident(path, desk, NOW).latest.nothing_new == "We are still looking."


def test_the_schema_knows_no_times() -> None:
    schema = preset_schema()
    assert "about" in schema["properties"]
    assert not {"id", "started"} & set(schema["properties"])
