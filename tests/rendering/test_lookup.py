"""Which template an audience gets; nothing outside the templates folders is ever read."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, nodes

from commcast.errors import TemplateError
from commcast.model.incident import Channel, View
from commcast.rendering.templates import Templates, Wording


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def templates(tmp_path: Path, user: dict[str, str], shipped: dict[str, str] | None = None) -> Templates:
    (tmp_path / "shipped").mkdir(exist_ok=True)
    (tmp_path / "user").mkdir(exist_ok=True)
    return Templates(write(tmp_path / "user", user), write(tmp_path / "shipped", shipped or {}))


def choose(found: Templates, locale: str = "", channel: Channel = Channel.EMAIL) -> Wording:
    return found.choose("vip", View.PUBLIC, "resolved", locale, channel)


ORDER = [
    f"{root}:{folder}/{level}email.txt.j2"
    for root in ("user", "shipped")
    for folder in ("vip", "customers")
    for level in ("resolved.de.", "resolved.", "de.", "")
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_look_up_order(tmp_path: Path, first: int) -> None:
    """User before shipped, then audience before its kind, then status and locale, status, locale, general."""
    for name in ORDER[first:]:
        root, _, relative = name.partition(":")
        write(tmp_path / root, {relative: name})
    found = templates(tmp_path, {})
    wording = choose(found, "de")
    assert wording.text == ORDER[first]
    assert wording.origin == ORDER[first].partition(":")[0]
    assert wording.sources == {ORDER[first]: ORDER[first]}


def test_a_region_falls_back_to_its_language(tmp_path: Path) -> None:
    found = templates(tmp_path, {"vip/de.sms.txt.j2": "de", "vip/sms.txt.j2": "en"})
    assert choose(found, "de-AT", Channel.SMS).text == "user:vip/de.sms.txt.j2"


def test_an_internal_audience_falls_back_to_internal(tmp_path: Path) -> None:
    found = templates(tmp_path, {}, {"internal/email.txt.j2": "i", "customers/email.txt.j2": "c"})
    assert found.choose("ops", View.INTERNAL, "", "", Channel.EMAIL).text == "shipped:internal/email.txt.j2"


def test_html_is_used_only_when_it_lies_beside_its_text(tmp_path: Path) -> None:
    """Or a user's new text would go out with the shipped HTML, and the parts say different things."""
    both = {"customers/email.txt.j2": "t", "customers/email.html.j2": "h"}
    assert choose(templates(tmp_path, {}, both)).html == "shipped:customers/email.html.j2"
    assert choose(templates(tmp_path, {"customers/resolved.email.txt.j2": "t"}, both)).html == ""
    assert choose(templates(tmp_path, {"vip/email.txt.j2": "t", "vip/email.html.j2": "h"}, both)).html


def test_the_listing_says_which_file_wins_and_where_a_mail_is_text_only(tmp_path: Path) -> None:
    found = templates(tmp_path, {"vip/email.txt.j2": "t"}, {"customers/email.txt.j2": "t"})
    rows = found.listing({"vip": View.PUBLIC, "all": View.PUBLIC})
    assert [(row.audience, row.channel, row.text, row.note) for row in rows] == [
        ("vip", Channel.EMAIL, "templates/vip/email.txt.j2", "text only"),
        ("vip", Channel.SMS, "", "no template"),
        ("all", Channel.EMAIL, "shipped templates/customers/email.txt.j2", "text only"),
        ("all", Channel.SMS, "", "no template"),
    ]


def test_an_audience_without_a_template_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"no sms template for audience vip.*vip/sms\.txt\.j2"):
        choose(templates(tmp_path, {}), "", Channel.SMS)


def test_all_that_is_included_is_part_of_the_wording(tmp_path: Path) -> None:
    found = templates(
        tmp_path,
        {"vip/email.txt.j2": '{% extends "base.txt.j2" %}', "_parts/foot.txt.j2": "mine"},
        {"base.txt.j2": '{% include "_parts/foot.txt.j2" %}', "_parts/foot.txt.j2": "theirs"},
    )
    assert set(choose(found).sources) == {
        "user:vip/email.txt.j2",
        "shipped:base.txt.j2",
        "user:_parts/foot.txt.j2",
    }


@pytest.mark.parametrize(
    "written",
    [
        *('"../../etc/passwd"', '"../secret.j2"', '"/etc/passwd.j2"', '"a/../../b.j2"', '"a//b.j2"'),
        *('"a\\\\b.j2"', '"..%2f.j2"', '"user:../x.j2"', '"other:x.j2"', '"user:user:x.j2"', '".hidden.j2"'),
        *('"x.txt"', '""', "7", "incident.title", '"a" ~ ".j2"', '["a.j2", "b.j2"]'),
    ],
)
@pytest.mark.parametrize("verb", ["include {}", "extends {}", "import {} as x", "from {} import x"])
def test_only_plain_written_names_inside_the_folder_can_be_included(
    tmp_path: Path, written: str, verb: str
) -> None:
    (tmp_path / "secret.j2").write_text("secret")
    found = templates(tmp_path, {"vip/email.txt.j2": "{% " + verb.format(written) + " %}"})
    with pytest.raises(TemplateError, match=r"templates/vip/email\.txt\.j2:1: "):
        choose(found)


def test_a_file_is_parsed_once_however_often_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each audience, channel and notice of a tick asks again; what changed meanwhile is seen all the same."""
    parsed: list[str] = []
    parse = Environment.parse

    def noting(self: Environment, source: str, *more: str | None) -> nodes.Template:
        parsed.append(source)
        return parse(self, source, *more)

    monkeypatch.setattr(Environment, "parse", noting)
    user = {
        "vip/email.txt.j2": f"{tmp_path} {{% include 'vip/foot.j2' %}}",
        "vip/foot.j2": f"{tmp_path} foot",
    }
    found = templates(tmp_path, user)
    wordings = {choose(found).digest for _ in range(5)}
    assert (len(wordings), len(parsed)) == (1, 2)
    write(tmp_path / "user", {"vip/foot.j2": f"{tmp_path} another foot"})
    assert choose(found).digest not in wordings
    assert len(parsed) == 3


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 65, "a\0b", "a.b", "é"])
def test_names_that_are_no_file_names_are_refused(tmp_path: Path, name: str) -> None:
    found = templates(tmp_path, {}, {"vip/email.txt.j2": "found"})
    for audience, status, locale in (
        (name, "", ""),
        *([("vip", name, ""), ("vip", "", name)] if name else []),
    ):
        with pytest.raises(TemplateError, match="no file can have this name"):
            found.choose(audience, View.PUBLIC, status, locale, Channel.EMAIL)


def test_a_missing_include_is_an_error_unless_it_may_be_missing(tmp_path: Path) -> None:
    found = templates(tmp_path, {"vip/email.txt.j2": 'x\n{% include "no.j2" %}'})
    with pytest.raises(TemplateError, match=r"email\.txt\.j2:2: 'no\.j2' not found"):
        choose(found)
    assert choose(templates(tmp_path, {"vip/email.txt.j2": '{% include "no.j2" ignore missing %}'}))


def test_a_template_that_includes_itself_is_refused(tmp_path: Path) -> None:
    found = templates(
        tmp_path, {"vip/email.txt.j2": '{% include "a.j2" %}', "a.j2": '{% include "vip/email.txt.j2" %}'}
    )
    with pytest.raises(TemplateError, match=r"a\.j2:1: .*includes itself"):
        choose(found)


def test_the_shipped_one_can_be_extended_under_the_same_name(tmp_path: Path) -> None:
    name = "customers/email.txt.j2"
    found = templates(tmp_path, {name: '{% extends "shipped:customers/email.txt.j2" %}'}, {name: "base"})
    assert set(choose(found).sources) == {f"user:{name}", f"shipped:{name}"}


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_fine(tmp_path: Path) -> None:
    """Whether it is the file, a folder on the way to it, or the templates folder itself."""
    found = templates(tmp_path, {"ok.j2": "inside"})
    elsewhere = write(tmp_path / "elsewhere", {"email.txt.j2": "secret", "vip/email.txt.j2": "secret"})
    folder = tmp_path / "user/vip"
    folder.symlink_to(elsewhere)
    with pytest.raises(TemplateError, match="leads out of its folder"):
        choose(found)
    folder.unlink()
    folder.mkdir()
    link = folder / "email.txt.j2"
    link.symlink_to(elsewhere / "email.txt.j2")
    with pytest.raises(TemplateError, match="leads out of its folder"):
        choose(found)
    link.unlink()
    link.symlink_to(tmp_path / "user/ok.j2")
    assert "inside" in choose(found).sources.values()
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk/templates").symlink_to(elsewhere)
    led_out = Templates(tmp_path / "desk/templates", found.shipped)
    with pytest.raises(TemplateError, match="templates/: leads out of the desk's folder"):
        choose(led_out)
    with pytest.raises(TemplateError, match="templates/: leads out of the desk's folder"):
        led_out.listing({"vip": View.PUBLIC})


def test_the_listing_names_no_winner_that_rendering_refuses(tmp_path: Path) -> None:
    found = templates(tmp_path, {"vip/x": ""}, {"customers/email.txt.j2": "shipped"})
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "user/vip/email.txt.j2").symlink_to(tmp_path / "secret")
    (row,) = found.listing({"vip": View.PUBLIC}, [Channel.EMAIL])
    assert row.text == ""
    assert row.note.startswith("refused: templates/vip/email.txt.j2: leads out")


def test_a_folder_that_may_not_be_looked_into_never_falls_back_to_shipped_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = templates(tmp_path, {}, {"customers/email.txt.j2": "shipped"})
    real = os.lstat

    def refuse(path: Path) -> os.stat_result:
        if tmp_path / "user" in Path(path).parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path)

    monkeypatch.setattr(os, "lstat", refuse)
    with pytest.raises(TemplateError, match="templates/: cannot be read: Permission denied"):
        choose(found)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "circle", "nowhere", "huge", "latin", "nul"])
def test_what_is_no_plain_text_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    found = templates(tmp_path, {"vip/x": ""})
    path = tmp_path / "user/vip/email.txt.j2"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif target := {"device": Path("/dev/zero"), "circle": path, "nowhere": tmp_path / "no"}.get(kind):
        path.symlink_to(target)
    else:
        path.write_bytes({"huge": b"x" * 70_000, "latin": b"caf\xe9", "nul": b"a\0b"}[kind])
    with pytest.raises(TemplateError, match=r"templates/vip/email\.txt\.j2:(1:4:)? "):
        choose(found)


def test_many_files_cannot_make_one_message(tmp_path: Path) -> None:
    files = {f"p{n}.j2": f'{{% include "p{n + 1}.j2" %}}' for n in range(100)}
    with pytest.raises(TemplateError, match="too much is included"):
        choose(templates(tmp_path, {**files, "p100.j2": "", "vip/email.txt.j2": '{% include "p0.j2" %}'}))


@pytest.mark.parametrize(
    "source", ["{{ (" + "(" * 20_000, "{{ " + "not " * 20_000 + "x }}", "{% if %}", "{{ x"]
)
def test_a_template_that_is_none_is_an_error_with_its_line(tmp_path: Path, source: str) -> None:
    with pytest.raises(TemplateError, match=r"templates/vip/email\.txt\.j2"):
        choose(templates(tmp_path, {"vip/email.txt.j2": source}))


def test_byte_order_mark_and_windows_lines_are_accepted(tmp_path: Path) -> None:
    found = templates(tmp_path, {"vip/x": ""})
    (tmp_path / "user/vip/email.txt.j2").write_bytes(b"\xef\xbb\xbfHello\r\n")
    assert choose(found).sources == {"user:vip/email.txt.j2": "Hello\r\n"}


@given(st.dictionaries(st.text(max_size=9), st.text(st.characters(exclude_categories=["Cs"]), max_size=99)))
def test_a_stored_wording_comes_back_equal(sources: dict[str, str]) -> None:
    wording = Wording(Channel.SMS, "user:a.j2", "", "user", sources)
    again = Wording.from_json(wording.to_json())
    assert again == wording
    assert again.digest == wording.digest


@pytest.mark.parametrize("text", ["{}", "[]", "7", "not json", '{"channel":"fax"}', '{"channel":"sms"}'])
def test_a_damaged_stored_wording_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a stored wording"):
        Wording.from_json(text)


def test_the_digest_changes_with_any_byte() -> None:
    one = Wording(Channel.SMS, "a", "", "user", {"a": "x"})
    assert one.digest != replace(one, sources={"a": "y"}).digest
