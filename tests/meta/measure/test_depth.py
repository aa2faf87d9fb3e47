"""A verdict can be read from top to bottom: few frames lie between a test's fixture and the model."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import pytest

import editgate
from editgate.inference.engine import Engine
from meta.support.gate import run_gate

HOME = str(Path(editgate.__file__).parent)
MOST = 10  # of which one where batches run side by side, which under xdist they do not


def _frames_of_ours() -> list[str]:
    """Names of the functions of this suite on the stack, from the innermost out to the fixture `cell`.

    One that is defined inside another is read with it, and is not counted.
    """
    found: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(HOME) and "<locals>" not in code.co_qualname:
            found.append(code.co_name)
            if code.co_name == "cell":
                return found
        frame = frame.f_back
    return found


@pytest.mark.parametrize("asked_about", ["toxigen", "triviaqa"])
def test_few_frames_from_fixture_to_logits(
    asked_about: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scoring and generating alike, a model's forward pass is at most ten calls of ours below the test's fixture."""
    stacks: list[list[str]] = []
    forward = Engine._forward

    def recorded(self: Engine, *arguments: object, **named: object) -> object:
        frames = _frames_of_ours()
        if frames and frames[-1] == "cell":
            stacks.append(["_forward", *frames])
        return forward(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "_forward", recorded)
    options = (
        "--editor=editgate.controls:NoOp",
        "-m",
        "noop",
        "--edit-counts=2",
        "--limit=20",
        "-k",
        f"test_{asked_about}",
    )
    run_gate(pytester, *options, files=("capability", "safety"))
    evaluated = [stack for stack in stacks if "evaluate" in stack and not {"check_all", "baseline"} & {*stack}]
    assert evaluated, "the edited model was never asked"
    assert max(map(len, evaluated)) <= MOST, max(evaluated, key=len)
