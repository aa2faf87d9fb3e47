"""The lock and the lower bounds agree with pyproject.toml: what README installs is what the project asks for."""

from __future__ import annotations

import subprocess
import sys
import tomllib

from packaging.requirements import Requirement

from meta.support.gate import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def _pins(text: str) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return {name.lower().replace("_", "-"): pin for name, _, pin in (line.partition("==") for line in lines if line)}


def _outside(pins: dict[str, str], wanted: list[str]) -> list[str]:
    """Requirements that have no pin, or one that they do not allow."""
    requirements = [Requirement(text) for text in wanted]
    return [str(each) for each in requirements if pins.get(each.name.lower(), "none") not in each.specifier]


def test_the_lock_pins_all_that_the_project_asks_for() -> None:
    """Every dependency, of every extra too, has one exact release in the lock, within its bounds."""
    pins = _pins((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    assert _outside(pins, [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]) == []
    assert all(pin and pin[0].isdigit() and "+" not in pin for pin in pins.values())


def test_the_lower_bounds_are_releases() -> None:
    """`.ci/lowest` prints the least release that each dependency allows."""
    done = subprocess.run([sys.executable, str(ROOT / ".ci" / "lowest")], check=True, capture_output=True, text=True)  # noqa: S603 - our own command
    assert _outside(_pins(done.stdout), [*PROJECT["dependencies"], *EXTRAS["dev"]]) == []


def test_a_light_install_has_no_test_tools() -> None:
    """Whoever only gates a method installs neither hypothesis nor pytest-benchmark; torch stays below 2.14."""
    names = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert names.isdisjoint({"hypothesis", "pytest-benchmark"})
    (torch,) = (Requirement(text) for text in PROJECT["dependencies"] if text.startswith("torch"))
    assert "2.14.0" not in torch.specifier
