"""However it is installed, commcast finds its templates and its example from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
SHIPPED = ("templates", "incidents")


@dataclass(frozen=True)
class Environment:
    """A new virtual environment that borrows our dependencies, but not our commcast."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Environment:
        venv.create(folder, with_pip=False, symlinks=True)
        new = cls(folder)
        # It adds the folder alone: the .pth files in there, our own editable install, are not followed.
        new.site_packages.joinpath("borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        return new

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return Path(
            sysconfig.get_path("purelib", "venv", {"base": str(self.folder), "platbase": str(self.folder)})
        )

    def install(self, *what: str) -> None:
        offline = ("--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--quiet")
        _run(sys.executable, "-m", "pip", f"--python={self.python}", "install", *offline, *what)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel from the checkout, an sdist, and in `again/` the wheel made of that sdist."""
    folder = tmp_path_factory.mktemp("built")
    _run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(folder))
    (sdist,) = folder.glob("*.tar.gz")
    _build_wheel(CHECKOUT, folder)
    _build_wheel(sdist, folder / "again")
    return folder


@pytest.mark.parametrize("source", [".", "again"], ids=["wheel", "sdist"])
def test_a_built_commcast_carries_its_own_data(source: str, built: Path, tmp_path: Path) -> None:
    new = Environment.create(tmp_path / "env")
    (wheel,) = (built / source).glob("*.whl")
    new.install(str(wheel))
    assert _templates_found(new, tmp_path) == new.site_packages / "commcast" / "_data" / "templates"
    _tells_its_story(new, tmp_path)


def test_an_editable_install_uses_the_folders_of_the_checkout(tmp_path: Path) -> None:
    new = Environment.create(tmp_path / "env")
    new.install("--editable", str(CHECKOUT))
    assert _templates_found(new, tmp_path) == CHECKOUT / "templates"
    _tells_its_story(new, tmp_path)


def test_the_wheel_holds_all_data_files_and_nothing_else_of_the_checkout(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"commcast/_data/{path.relative_to(CHECKOUT)}" for kind in SHIPPED for path in _files(kind)}
    for kind in ("commcast/incidents/shipped_presets", "commcast/report"):
        wanted |= {str(path.relative_to(CHECKOUT)) for path in _files(kind) if path.suffix != ".pyc"}
    assert wanted <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"commcast"}


def test_the_two_ways_of_building_give_the_same_wheel(built: Path) -> None:
    (direct,) = built.glob("*.whl")
    (by_sdist,) = built.glob("again/*.whl")
    assert zipfile.ZipFile(direct).namelist() == zipfile.ZipFile(by_sdist).namelist()


def _files(kind: str) -> list[Path]:
    found = [path for path in (CHECKOUT / kind).rglob("*") if path.is_file()]
    assert found, f"{kind}/ is empty"
    return found


def _build_wheel(source: Path, folder: Path) -> None:
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder))
    _run(sys.executable, "-m", "pip", "wheel", *options, str(source))


def _templates_found(new: Environment, elsewhere: Path) -> Path:
    code = "from commcast.rendering.templates import shipped_templates; print(shipped_templates())"
    found = Path(_run(str(new.python), "-c", code, folder=elsewhere).strip())
    assert (found / "customers" / "email.txt.j2").is_file()
    return found


def _tells_its_story(new: Environment, elsewhere: Path) -> None:
    """The demo reads the shipped example with the shipped templates."""
    _run(str(new.folder / "bin" / "commcast"), "demo", folder=elsewhere)


def _run(*command: str, folder: Path = CHECKOUT) -> str:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=folder, env=bare, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{' '.join(command)} ended in {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done.stdout
