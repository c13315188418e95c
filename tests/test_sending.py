"""The path from released words to settled deliveries: once, to the right people, in the right words."""

from __future__ import annotations

from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from commcast.errors import ExitCode, InputError
from commcast.ledger.fence import lift_stop, stop_incident
from commcast.ledger.suppressions import erase, suppress
from tests.support.desk import START, Bench, update_text, write_desk, write_incident, write_list

RESOLVED = {"status": "resolved", "fixed": "The release is rolled back.", "remains": "nothing"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path)
    write_incident(tmp_path)
    return Bench(tmp_path)


def test_each_reader_gets_one_message_a_channel(bench: Bench) -> None:
    delivered = bench.send()
    assert delivered.exit_code(0.02) is ExitCode.DONE
    assert bench.states() == {("email", "accepted"): 3, ("sms", "accepted"): 2}
    assert len(bench.mails()) == 3
    assert len(bench.texts()) == 2


def test_the_same_send_again_sends_nothing(bench: Bench) -> None:
    bench.send()
    again = bench.send()
    assert not again.outcomes
    assert len(bench.mails()) == 3


def test_saving_a_file_publishes_nothing(bench: Bench) -> None:
    ticked = bench.tick()
    assert ticked.delivered == {}
    assert bench.mails() == []


def test_a_tick_sends_what_was_released_and_only_once(bench: Bench) -> None:
    bench.release()
    bench.tick()
    bench.tick()
    assert len(bench.mails()) == 3


def test_an_address_in_several_audiences_hears_the_best_ranks_story(tmp_path: Path) -> None:
    write_desk(tmp_path, customers=["HELP@acme.example,,Twice", "ann@example.com,,Ann"])
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.send()
    told = {row.address.lower(): row.audience for row in bench.rows() if row.channel == "email"}
    assert told == {"help@acme.example": "support", "ann@example.com": "customers"}


def test_lists_that_change_between_two_sends_tell_nobody_twice(bench: Bench) -> None:
    """Reordered, moved to another audience, the phone written differently."""
    bench.send()
    write_list(
        bench.folder,
        "customers",
        "email,phone,name",
        ["bob@EXAMPLE.com,+49 151 12345672,Bob", "ann@example.com,0049 151 12345671,Ann"],
    )
    write_list(bench.folder, "support", "email,name", ["ann@example.com,Ann", "help@acme.example,Su"])
    bench.send()
    assert len(bench.mails()) == 3
    assert len(bench.texts()) == 2


def test_a_plain_update_is_mailed_and_not_texted(bench: Bench) -> None:
    bench.send()
    at = bench.later(minutes=15)
    write_incident(bench.folder, more=update_text(at, status="identified", resolution="A fix is on its way."))
    bench.send()
    assert bench.states(notice="update:2") == {("email", "accepted"): 3}


def test_a_rise_in_severity_and_the_end_are_texted(tmp_path: Path) -> None:
    write_desk(tmp_path)
    write_incident(tmp_path, severity=2)
    bench = Bench(tmp_path)
    bench.send()
    second = update_text(bench.later(minutes=10), severity="1")
    write_incident(tmp_path, severity=2, more=second)
    bench.send()
    third = update_text(bench.later(minutes=10), **RESOLVED)
    write_incident(tmp_path, severity=2, more=second + third)
    bench.send()
    assert bench.states(notice="update:2")[("sms", "accepted")] == 2
    assert bench.states(notice="update:3")[("sms", "accepted")] == 2


def test_who_was_told_it_began_is_told_how_it_ended_though_the_list_changed(bench: Bench) -> None:
    bench.send()
    write_list(bench.folder, "customers", "email,phone,name", ["new@example.com,,New"])
    write_incident(bench.folder, more=update_text(bench.later(minutes=10), **RESOLVED))
    bench.send()
    told = {row.address for row in bench.rows() if row.notice == "update:2" and row.channel == "email"}
    assert told == {"ann@example.com", "bob@example.com", "help@acme.example"}


def test_nobody_hears_of_the_end_of_what_they_never_heard_of(bench: Bench) -> None:
    write_incident(bench.folder, more=update_text(START + timedelta(minutes=5), **RESOLVED))
    bench.now = START + timedelta(minutes=6)
    bench.send()
    assert bench.mails() == []


def test_only_the_newest_of_several_drafts_is_sent(bench: Bench) -> None:
    at = bench.later(minutes=5)
    write_incident(bench.folder, more=update_text(at, status="identified", resolution="A fix is coming."))
    bench.send()
    assert {row.notice for row in bench.rows()} == {"update:2"}
    assert ("sms", "accepted") in bench.states(notice="update:2")


def test_an_update_older_than_its_own_promise_is_not_sent_by_tick(bench: Bench) -> None:
    bench.release()
    bench.later(minutes=25)
    bench.tick()
    assert bench.mails() == []


def test_late_sends_it_all_the_same(bench: Bench) -> None:
    bench.release()
    bench.later(minutes=25)
    bench.send_released(late=True)
    assert len(bench.mails()) == 3


def test_newer_words_end_what_still_waits_of_older_ones(bench: Bench) -> None:
    bench.release()
    bench.freeze()
    at = bench.later(minutes=5)
    write_incident(bench.folder, more=update_text(at, status="identified", resolution="A fix is coming."))
    bench.release()
    bench.send_released()
    bench.tick()
    assert bench.states()[("email", "skipped")] == 3
    assert bench.states(notice="update:2")[("email", "accepted")] == 3
    assert {row.reason for row in bench.rows() if row.state.value == "skipped"} == {"superseded"}


def test_what_waits_past_its_promise_expires(bench: Bench) -> None:
    """A text states no time, and no plain update is texted: it still goes."""
    bench.release()
    bench.freeze()
    bench.later(minutes=25)
    bench.tick()
    assert bench.mails() == []
    assert bench.states() == {("email", "skipped"): 3, ("sms", "accepted"): 2}


def test_a_text_does_not_wait_for_ever(bench: Bench) -> None:
    bench.release()
    bench.freeze()
    bench.later(hours=3)
    bench.tick()
    assert bench.states() == {("email", "skipped"): 3, ("sms", "skipped"): 2}


def test_a_text_of_ones_own_that_states_the_time_expires_at_it(bench: Bench) -> None:
    template = bench.folder / "templates" / "customers" / "sms.txt.j2"
    template.parent.mkdir(parents=True)
    template.write_text(
        "{{ incident.title }}{% if next_update_by %}, more by {{ next_update_by.sms }}{% endif %}"
    )
    bench.release()
    bench.freeze()
    bench.later(minutes=25)
    bench.tick()
    assert bench.states() == {("email", "skipped"): 3, ("sms", "skipped"): 2}


def test_a_stopped_incident_sends_nothing_until_it_is_resumed(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        stop_incident(connection, "pay7", "dana", bench.now)
    delivered = bench.send()
    assert delivered.stopped_by == "dana"
    assert delivered.exit_code(0.02) is ExitCode.DECISION
    bench.tick()
    assert bench.mails() == []
    with bench.ledger.write() as connection:
        lift_stop(connection, "pay7", "dana", bench.now)
    bench.tick()
    assert len(bench.mails()) == 3


def test_an_opt_out_between_freeze_and_claim_is_honoured(bench: Bench) -> None:
    bench.release()
    bench.freeze()
    with bench.ledger.write() as connection:
        suppress(connection, "email", "ann@example.com", reason="asked", by="dana", now=bench.now)
    bench.tick()
    assert bench.states()[("email", "accepted")] == 2
    assert bench.states()[("email", "skipped")] == 1


def test_an_erased_person_is_not_told_again_by_an_old_list(bench: Bench) -> None:
    bench.send()
    with bench.ledger.write() as connection:
        erase(connection, bench.ledger.secret, "email", "ann@example.com", by="dana", now=bench.now)
    at = bench.later(minutes=5)
    write_incident(bench.folder, more=update_text(at, status="identified", resolution="A fix is coming."))
    bench.send()
    assert bench.states(notice="update:2") == {("email", "accepted"): 2, ("email", "skipped"): 1}
    assert all(row.address != "ann@example.com" for row in bench.rows() if row.notice == "update:1")


def test_words_that_changed_after_their_release_are_refused(bench: Bench) -> None:
    path = write_incident(bench.folder)
    bench.send()
    path.write_text(path.read_text().replace("an error", "two errors"))
    with pytest.raises(InputError, match="released and has changed"):
        bench.check()


def test_internal_notes_may_change_after_the_release(bench: Bench) -> None:
    path = write_incident(bench.folder)
    bench.send()
    path.write_text(path.read_text().replace("db-eu-3", "db-eu-4"))
    bench.check()


def test_a_renamed_file_is_recognised_by_what_it_said(bench: Bench) -> None:
    bench.send()
    (bench.folder / "incidents/pay7.yaml").rename(bench.folder / "incidents/pay8.yaml")
    with pytest.raises(InputError, match="id: pay7"):
        bench.check("pay8")


def test_a_tick_does_not_send_a_renamed_file_again(bench: Bench) -> None:
    bench.send()
    (bench.folder / "incidents/pay7.yaml").rename(bench.folder / "incidents/pay8.yaml")
    bench.tick()
    assert len(bench.mails()) == 3


def test_one_reader_that_a_template_fails_for_stops_all_before_the_first(bench: Bench) -> None:
    folder = bench.folder / "templates/customers"
    folder.mkdir(parents=True)
    (folder / "sms.txt.j2").write_text("Hello {{ recipient.nickname }}")
    bench.release()
    with pytest.raises(InputError, match=r"line 2 of audience customers"):
        bench.send_released()
    assert bench.rows() == []
    assert bench.mails() == []


def test_a_broken_incident_does_not_stop_another(bench: Bench) -> None:
    write_incident(bench.folder, "good")
    bench.release("good")
    for name in ("a1", "a2", "a3"):
        (bench.folder / f"incidents/{name}.yaml").write_text("title: [")
    ticked = bench.tick()
    assert ticked.exit_code(0.02) is ExitCode.INPUT
    assert len(ticked.errors) == 3
    assert bench.states("good")[("email", "accepted")] == 3


def test_what_is_frozen_goes_out_though_the_file_broke(bench: Bench) -> None:
    bench.release()
    bench.freeze()
    (bench.folder / "incidents/pay7.yaml").write_text("title: [")
    ticked = bench.tick()
    assert ticked.exit_code(0.02) is ExitCode.INPUT
    assert len(bench.mails()) == 3


def test_texts_wait_for_quiet_hours_to_end_and_go_then(tmp_path: Path) -> None:
    """21:00 to 08:00 in Berlin; severity 2 does not wake. The mail goes at once."""
    night = START.replace(hour=2)
    write_desk(tmp_path, sms='quiet = "21:00-08:00"', extra='[cadence.2]\nfirst = "10m"\nevery = "12h"')
    write_incident(tmp_path, at=night, severity=2)
    bench = Bench(tmp_path, now=night)
    bench.send()
    assert bench.states() == {("email", "accepted"): 3, ("sms", "held"): 2}
    bench.now = night.replace(hour=6, minute=59)
    bench.tick()
    assert bench.texts() == []
    bench.now = night.replace(hour=7, minute=0)
    bench.tick()
    bench.tick()
    assert len(bench.texts()) == 2


def held_overnight(folder: Path) -> Bench:
    """Return a desk whose text of 3 in the morning is held until 8; word was promised every half hour."""
    night = START.replace(hour=2)
    write_desk(folder, sms='quiet = "21:00-08:00"')
    write_incident(folder, at=night, severity=2)
    bench = Bench(folder, now=night)
    bench.send()
    return bench


def test_a_held_text_tells_what_is_so_when_it_goes(tmp_path: Path) -> None:
    """Not what was so at night; and that a mail's promise passed since drops no text."""
    bench = held_overnight(tmp_path)
    bench.now = START.replace(hour=6, minute=45)
    newer = update_text(bench.now, status="identified", issue="Nobody can pay by card.")
    write_incident(tmp_path, at=START.replace(hour=2), severity=2, more=newer)
    bench.send()
    bench.now = START.replace(hour=7, minute=20)
    assert not bench.tick().errors
    assert len(bench.texts()) == 2
    assert "Nobody can pay by card." in bench.texts()[0].read_text()


def test_a_held_text_that_nobody_kept_true_is_dropped_and_told(tmp_path: Path) -> None:
    bench = held_overnight(tmp_path)
    bench.now = START.replace(hour=7, minute=5)
    ticked = bench.tick()
    assert bench.texts() == []
    assert ticked.delivered["pay7"].expired == 2
    assert ticked.exit_code(0.02) is ExitCode.DECISION


def test_a_held_text_is_dropped_when_it_is_over_by_then(tmp_path: Path) -> None:
    night = START.replace(hour=2)
    write_desk(tmp_path, sms='quiet = "21:00-08:00"', extra='[cadence.2]\nfirst = "10m"\nevery = "12h"')
    write_incident(tmp_path, at=night, severity=2)
    bench = Bench(tmp_path, now=night)
    bench.send()
    write_incident(tmp_path, at=night, severity=2, more=update_text(bench.later(hours=1), **RESOLVED))
    bench.send()
    bench.now = night.replace(hour=7, minute=5)
    bench.tick()
    assert bench.texts() == []
    assert bench.states()[("sms", "skipped")] == 2


def test_the_mails_of_an_incident_hold_together_and_name_one_reader(bench: Bench) -> None:
    bench.send()
    write_incident(
        bench.folder, more=update_text(bench.later(minutes=9), status="identified", resolution="A fix.")
    )
    bench.send()
    mails = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in bench.mails()]
    assert len({mail["References"] for mail in mails}) == 1
    assert len({mail["Message-ID"] for mail in mails}) == 6
    for mail in mails:
        assert len(mail["To"].addresses) == 1
        assert mail["Reply-To"] == "help+pay7@acme.example"
        assert mail["Auto-Submitted"] == "auto-generated"
        assert "mailto:unsubscribe@acme.example" in mail["List-Unsubscribe"]
        assert not mail.defects


def test_internal_words_reach_only_internal_audiences(bench: Bench) -> None:
    bench.send()
    for path in bench.mails():
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        body = "".join(part.get_content() for part in mail.walk() if not part.is_multipart())
        assert ("db-eu-3" in body) == ("help@acme.example" in mail["To"])
