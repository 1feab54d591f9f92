"""The locked packages of released environments: those that are tested, each with its hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = {"synthesize": ("synthesize", "report"), "cine": ("cine",), "train": ("train",)}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[\w.+]+)(?: ; (?P<marker>.*?))?(?: \\)?$", re.M)


def text_of(lock: str) -> str:
    return (ROOT / "Resources/requirements" / f"{lock}.txt").read_text(encoding="utf-8")


def pinned(text: str, python: str) -> dict[str, Version]:
    """Name -> version on Linux with that Python."""
    here = default_environment() | {
        "python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux",
        "platform_machine": "x86_64",
    }  # fmt: skip
    found = {}
    for match in PIN.finditer(text):
        marker = f"; {match['marker']}" if match["marker"] else ""
        requirement = Requirement(f"{match['name']}=={match['version']}{marker}")
        if requirement.marker is None or requirement.marker.evaluate(here):
            assert requirement.name not in found, f"{requirement.name} twice"
            found[canonicalize_name(requirement.name)] = Version(match["version"])
    return found


def wanted(extras: tuple[str, ...]) -> list[Requirement]:
    """What the project and its extras ask for, those that they are made of included."""
    optional = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in optional[extra])]
    found = []
    for requirement in map(Requirement, lines):
        if requirement.name == "mambasynth":
            found += wanted(tuple(requirement.extras))
        else:
            found.append(requirement)
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_a_version_that_the_project_allows_of_all_it_needs(lock, python):
    found = pinned(text_of(lock), python)
    for requirement in wanted(LOCKS[lock]):
        version = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is locked to {version}"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_no_address(lock):
    text = text_of(lock)
    pins = PIN.findall(text)
    assert len(pins) > 20
    entries = re.split(r"\n(?=\w)", text)
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)
    assert "://" not in text and "-index" not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_locked_versions_are_those_that_the_tests_run_with(lock):
    lines = (ROOT / "Testing/constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = {
        canonicalize_name(r.name): str(r.specifier).removeprefix("==")
        for r in map(Requirement, (line for line in lines if line and not line.startswith("#")))
    }
    found = pinned(text_of(lock), "3.12")
    both = tested.keys() & found.keys()
    assert len(both) > 8
    assert {name: str(found[name]) for name in both} == {name: tested[name] for name in both}


def test_a_lock_without_a_needed_package_would_be_found():
    text = text_of("train").replace("\nlightning==", "\nthunder==")
    assert "lightning" not in pinned(text, "3.12")
    assert any(requirement.name == "lightning" for requirement in wanted(("train",)))
