"""What was frozen is known again when it is handed over, whichever version froze it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, update

from commcast.errors import LedgerError
from commcast.ledger import tables as schema
from commcast.operations.desk import make_plan
from commcast.rendering.compose import content_digest, renderer_for
from tests.support.desk import Bench, numbered, write_desk, write_incident

USER_MAIL = (
    "{% block subject %}{{ incident.title }}{% endblock %}Dear {{ recipient.name|upper }}, {{ update.issue }}"
)


def frozen_bench(folder: Path, mail: str) -> tuple[Bench, dict[str, str]]:
    """Return a desk whose first update is frozen, and the content digest of each reader's words."""
    write_desk(folder, customers=numbered(3))
    write_incident(folder)
    if mail:
        (folder / "templates/customers").mkdir(parents=True)
        (folder / "templates/customers/email.txt.j2").write_text(mail)
    bench = Bench(folder)
    bench.release()
    plan = make_plan(bench.desk, bench.incident(), bench.ledger).deliveries
    contents = {row.key: row.content for deliveries in plan for row in deliveries}
    bench.freeze()
    return bench, {key: content_digest(content) for key, content in contents.items() if content}


def frozen_digests(bench: Bench) -> dict[str, str]:
    rows = select(schema.delivery.c.key, schema.delivery.c.digest)
    with bench.ledger.read() as connection:
        return {row.key: row.digest for row in connection.execute(rows)}


def freeze_digests(bench: Bench, digests: dict[str, str]) -> None:
    with bench.ledger.write() as connection:
        for key, digest in digests.items():
            row = schema.delivery.c.key == key
            connection.execute(update(schema.delivery).where(row).values(digest=digest))


def test_what_is_spliced_is_frozen_with_another_digest_than_what_is_rendered(tmp_path: Path) -> None:
    bench, plain = frozen_bench(tmp_path, "")
    digests = frozen_digests(bench)
    assert {key for key, digest in digests.items() if digest.startswith("s1:")} == {
        k for k in plain if "@" in k
    }
    assert {key: digest for key, digest in digests.items() if "@" not in key}.items() <= plain.items()


@pytest.mark.parametrize("mail", ["", USER_MAIL])
def test_what_another_process_froze_is_sent(tmp_path: Path, mail: str) -> None:
    bench, _ = frozen_bench(tmp_path, mail)
    renderer_for.cache_clear()
    bench.send()
    assert set(bench.states().values()) == {3, 4}
    assert {state for _, state in bench.states()} == {"accepted"}


@pytest.mark.parametrize("mail", ["", USER_MAIL])
def test_what_a_version_froze_that_did_not_splice_is_sent(tmp_path: Path, mail: str) -> None:
    bench, plain = frozen_bench(tmp_path, mail)
    freeze_digests(bench, plain)
    bench.send()
    assert {state for _, state in bench.states()} == {"accepted"}


@pytest.mark.parametrize("prefix", ["", "s1:", "s2:"])
def test_other_words_than_were_frozen_are_not_sent(tmp_path: Path, prefix: str) -> None:
    bench, plain = frozen_bench(tmp_path, "")
    freeze_digests(bench, {key: prefix + digest[::-1] for key, digest in plain.items()})
    with pytest.raises(LedgerError, match="do not render as they did"):
        bench.send()
    assert {state for _, state in bench.states()} == {"pending"}
