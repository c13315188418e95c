"""Which template an audience gets, and what it may include."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, nodes

from commcast.errors import TemplateError
from commcast.model.incident import Channel, View
from commcast.rendering.templates import Templates, Wording

LAYOUT, PAGE = "shipped:layout.html.j2", "{{ body }}{{ foot }}"

RESOLVED = [(Channel.EMAIL, "resolved"), (Channel.SMS, "resolved")]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def templates(tmp_path: Path, user: dict[str, str], shipped: dict[str, str] | None = None) -> Templates:
    (tmp_path / "shipped").mkdir(exist_ok=True)
    (tmp_path / "user").mkdir(exist_ok=True)
    shipped = {"layout.html.j2": PAGE, **(shipped or {})}
    return Templates(write(tmp_path / "user", user), write(tmp_path / "shipped", shipped))


def choose(found: Templates, locale: str = "", channel: Channel = Channel.EMAIL) -> Wording:
    return found.choose("vip", View.PUBLIC, "resolved", locale, channel)


ORDER = [
    f"{root}:{language}{folder}resolved.md.j2"
    for language in ("de-AT/", "de/", "fr/", "")
    for folder in ("vip/", "internal/", "")
    for root in ("user", "shipped")
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_look_up_order(tmp_path: Path, first: int) -> None:
    """The reader's language, the desk's, the main one; in each audience, internal, all; the user's first."""
    for name in ORDER[first:]:
        root, _, relative = name.partition(":")
        write(tmp_path / root, {relative: name})
    found = templates(tmp_path, {})
    wording = found.choose("vip", View.INTERNAL, "resolved", "de-AT", Channel.EMAIL, desk="fr")
    assert wording.text == ORDER[first]
    assert wording.origin == ORDER[first].partition(":")[0]
    assert wording.sources == {ORDER[first]: ORDER[first], LAYOUT: PAGE}
    assert wording.language == (ORDER[first].partition(":")[2].split("/")[0] if first < 18 else "en")
    if "internal/" in ORDER[first]:
        public = found.choose("vip", View.PUBLIC, "resolved", "de-AT", Channel.EMAIL, desk="fr")
        assert "internal" not in public.text


def test_a_region_falls_back_to_its_language(tmp_path: Path) -> None:
    found = templates(tmp_path, {"de/resolved.sms.j2": "de", "resolved.sms.j2": "en"})
    assert choose(found, "de-AT", Channel.SMS).text == "user:de/resolved.sms.j2"
    assert choose(found, "de-Latn-AT", Channel.SMS).text == "user:de/resolved.sms.j2"
    found = templates(tmp_path, {"de-Latn/resolved.sms.j2": "latin"})
    assert choose(found, "de-Latn-AT", Channel.SMS).text == "user:de-Latn/resolved.sms.j2"
    with pytest.raises(TemplateError, match=r"no sms template for audience vip.*templates/gone\.sms\.j2"):
        found.choose("vip", View.PUBLIC, "gone", "", Channel.SMS)


def test_all_parts_come_from_the_language_of_their_message(tmp_path: Path) -> None:
    """Or an English foot goes out under German words; and one language never loses what others say."""
    user = {"resolved.md.j2": '{% include "_foot.md.j2" %}', "_foot.md.j2": "foot"}
    user |= {"de/resolved.md.j2": '{% include "_foot.md.j2" %}{% include "_said.md.j2" ignore missing %}'}
    found = templates(tmp_path, user)
    assert choose(found, "de").language == "en", "the whole message, as its foot is missing"
    write(tmp_path / "user", {"de/_foot.md.j2": "Fuss", "layout.html.j2": "own"})
    wording = choose(found, "de")
    assert set(wording.sources) == {"user:de/resolved.md.j2", "user:de/_foot.md.j2", "user:layout.html.j2"}
    assert wording.html == "user:layout.html.j2"
    write(tmp_path / "user", {"vip/_said.md.j2": "Please don't say"})
    assert choose(found, "de").language == "en", "what support must not say is missing in German"


def test_the_listing_says_which_file_wins(tmp_path: Path) -> None:
    found = templates(
        tmp_path, {"vip/resolved.md.j2": "t"}, {"resolved.md.j2": "t", "de/resolved.md.j2": "t"}
    )
    rows = found.listing({"vip": View.PUBLIC, "all": View.PUBLIC}, RESOLVED, ["", "de"])
    assert [
        (row.audience, row.locale, row.file, row.note) for row in rows if row.channel is Channel.EMAIL
    ] == [
        ("vip", "", "templates/vip/resolved.md.j2", ""),
        ("vip", "de", "shipped templates/de/resolved.md.j2", ""),
        ("all", "", "shipped templates/resolved.md.j2", ""),
        ("all", "de", "shipped templates/de/resolved.md.j2", ""),
    ]
    assert all(row.note.startswith("refused: ") for row in rows if row.channel is Channel.SMS)
    (row,) = found.listing({"vip": View.PUBLIC}, RESOLVED[:1], ["fr"])
    assert row.note == "not in fr: en"


def test_all_that_is_included_is_part_of_the_wording(tmp_path: Path) -> None:
    name = "resolved.md.j2"
    user = {name: f'{{% extends "shipped:{name}" %}}', "_foot.md.j2": "mine"}
    shipped = {name: '{% include "_foot.md.j2" %}', "_foot.md.j2": "theirs"}
    found = choose(templates(tmp_path, user, shipped))
    assert set(found.sources) == {f"user:{name}", f"shipped:{name}", "user:_foot.md.j2", LAYOUT}


@pytest.mark.parametrize(
    "written",
    [
        *('"../../etc/passwd"', '"../secret.j2"', '"/etc/passwd.j2"', '"a/../../b.j2"', '"a//b.j2"'),
        *('"a\\\\b.j2"', '"..%2f.j2"', '"user:../x.j2"', '"other:x.j2"', '"user:user:x.j2"', '".hidden.j2"'),
        *('"x.txt"', '""', "7", "incident.title", '"a" ~ ".j2"', '["a.j2", "b.j2"]'),
    ],
)
@pytest.mark.parametrize("verb", ["include {}", "extends {}", "import {} as x", "from {} import x"])
def test_only_plain_names_inside_the_folder_can_be_included(tmp_path: Path, written: str, verb: str) -> None:
    (tmp_path / "secret.j2").write_text("secret")
    found = templates(tmp_path, {"vip/resolved.md.j2": "{% " + verb.format(written) + " %}"})
    with pytest.raises(TemplateError, match=r"templates/vip/resolved\.md\.j2:1: "):
        choose(found)


def test_a_file_is_parsed_once_however_often_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each audience, channel and notice of a tick asks again; what changed meanwhile is seen all the same."""
    parsed: list[str] = []
    parse = Environment.parse

    def noting(self: Environment, source: str, *more: str | None) -> nodes.Template:
        parsed.append(source)
        return parse(self, source, *more)

    monkeypatch.setattr(Environment, "parse", noting)
    user = {"vip/resolved.md.j2": f"{tmp_path} {{% include 'vip/foot.j2' %}}", "vip/foot.j2": f"{tmp_path}"}
    found = templates(tmp_path, user)
    wordings = {choose(found).digest for _ in range(5)}
    assert (len(wordings), len(parsed) - parsed.count(PAGE)) == (1, 2)
    write(tmp_path / "user", {"vip/foot.j2": f"{tmp_path} another foot"})
    assert choose(found).digest not in wordings
    assert len(parsed) - parsed.count(PAGE) == 3


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 65, "a\0b", "a.b", "é"])
def test_names_that_are_no_file_names_are_refused(tmp_path: Path, name: str) -> None:
    found = templates(tmp_path, {}, {"vip/resolved.md.j2": "found"})
    for audience, moment, locale in ((name, "m", ""), ("vip", name, ""), ("vip", "m", name or "/")):
        with pytest.raises(TemplateError, match="no file can have this name"):
            found.choose(audience, View.PUBLIC, moment, locale, Channel.EMAIL)


CHAIN = {f"p{n}.j2": f'{{% include "p{n + 1}.j2" %}}' for n in range(100)}


@pytest.mark.parametrize(
    ("source", "more", "said"),
    [
        ('x\n{% include "no.j2" %}', {}, r"resolved\.md\.j2:2: 'no\.j2' not found"),
        (
            '{% include "a.j2" %}',
            {"a.j2": '{% include "vip/resolved.md.j2" %}'},
            r"a\.j2:1: .*includes itself",
        ),
        ('{% include "p0.j2" %}', {**CHAIN, "p100.j2": ""}, "too much is included"),
        *(
            (x, {}, r"/vip/resolved\.md\.j2")
            for x in ("{{ (" + "(" * 20_000, "{{ " + "not " * 20_000, "{% if %}")
        ),
    ],
)
def test_an_error_has_its_place(tmp_path: Path, source: str, more: dict[str, str], said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        choose(templates(tmp_path, {"vip/resolved.md.j2": source, **more}))
    assert choose(templates(tmp_path, {"vip/resolved.md.j2": '{% include "no.j2" ignore missing %}'}))


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_fine(tmp_path: Path) -> None:
    found = templates(tmp_path, {"ok.j2": "inside"})
    elsewhere = write(tmp_path / "elsewhere", {"resolved.md.j2": "secret", "vip/resolved.md.j2": "secret"})
    folder = tmp_path / "user/vip"
    folder.symlink_to(elsewhere)
    with pytest.raises(TemplateError, match="points outside its folder"):
        choose(found)
    folder.unlink()
    folder.mkdir()
    link = folder / "resolved.md.j2"
    link.symlink_to(elsewhere / "resolved.md.j2")
    with pytest.raises(TemplateError, match="points outside its folder"):
        choose(found)
    (row,) = found.listing({"vip": View.PUBLIC}, RESOLVED[:1])
    assert (row.file, row.note[:56]) == ("", "refused: templates/vip/resolved.md.j2: points outside it")
    link.unlink()
    link.symlink_to(tmp_path / "user/ok.j2")
    assert "inside" in choose(found).sources.values()
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk/templates").symlink_to(elsewhere)
    led_out = Templates(tmp_path / "desk/templates", found.shipped)
    for ask in (lambda: choose(led_out), lambda: led_out.listing({"vip": View.PUBLIC}, RESOLVED)):
        with pytest.raises(TemplateError, match="templates/: leads out of the desk's folder"):
            ask()


def test_a_closed_folder_never_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = templates(tmp_path, {}, {"resolved.md.j2": "shipped"})
    real = os.lstat

    def refuse(path: Path) -> os.stat_result:
        if tmp_path / "user" in Path(path).parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path)

    monkeypatch.setattr(os, "lstat", refuse)
    with pytest.raises(TemplateError, match="templates/: cannot be read: Permission denied"):
        choose(found)


def test_what_is_no_plain_text_file_is_refused_at_once(tmp_path: Path) -> None:
    found = templates(tmp_path, {"vip/x": ""})
    path = tmp_path / "user/vip/resolved.md.j2"
    os.mkfifo(path)
    for content in (None, b"x" * 70_000, b"caf\xe9", b"a\0b"):
        if content:
            path.unlink()
            path.write_bytes(content)
        with pytest.raises(TemplateError, match=r"templates/vip/resolved\.md\.j2:(1:4:)? "):
            choose(found)
    path.write_bytes(b"\xef\xbb\xbfHello\r\n")  # a byte order mark and Windows lines are fine
    assert choose(found).sources == {"user:vip/resolved.md.j2": "Hello\r\n", LAYOUT: PAGE}


@given(st.dictionaries(st.text(max_size=9), st.text(st.characters(exclude_categories=["Cs"]), max_size=99)))
def test_a_stored_wording_comes_back_equal(sources: dict[str, str]) -> None:
    wording = Wording(Channel.SMS, "user:a.j2", "", "user", sources)
    again = Wording.from_json(wording.to_json())
    assert (again, again.digest) == (wording, wording.digest)
    assert wording.digest != wording._replace(sources={**sources, "": "x"}).digest or sources.get("") == "x"


def test_a_damaged_stored_wording_is_refused() -> None:
    for text in ("{}", "[]", "7", "not json", '{"channel":"fax"}', '{"channel":"sms"}'):
        with pytest.raises(ValueError, match="not a stored wording"):
            Wording.from_json(text)
