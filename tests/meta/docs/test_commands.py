"""The pages' commands run as they are printed, one after another, and print what the pages show.

Cheap ones run in this checkout in every run. Under `--profile=nightly` all of them run, beginning in an empty
directory: what a page clones and installs comes from a committed copy of this checkout. `--snapshot-update` writes what
came out into the pages.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from meta.docs import outputs
from meta.docs.blocks import Block, Printed, Run, Write
from meta.docs.pages import BLOCKS
from meta.docs.places import Places
from meta.support.gate import ROOT

STEPS = [block for block in BLOCKS if isinstance(block.directive, Run | Write)]


def outputs_of(block: Block) -> list[tuple[Block, Printed]]:
    """Return the blocks that show what this one printed: those up to the next that runs."""
    shown = []
    for after in BLOCKS[BLOCKS.index(block) + 1 :]:
        said = after.directive
        if isinstance(said, Run | Write):
            break
        if isinstance(said, Printed):
            shown.append((after, said))
    return shown


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, store: Path) -> Places:
    """The directories of the pages: this checkout, or by night empty ones."""
    nightly = request.config.option.profile == "nightly"
    return Places(tmp_path_factory.mktemp("places"), None if nightly else store)


@pytest.mark.parametrize("block", STEPS, ids=str)
def test_a_block_runs_and_prints_what_the_page_shows(
    block: Block, places: Places, request: pytest.FixtureRequest
) -> None:
    """It ends with the exit code that its comment names, and the blocks after it are what it printed."""
    option = request.config.option
    said = block.directive
    assert isinstance(said, Run | Write)
    if option.profile != "nightly" and (isinstance(said, Write) or said.nightly):
        pytest.skip(f"{block} runs under --profile=nightly")
    shell = places.shell(said.place)
    if isinstance(said, Write):
        shell.write(said.file, block.text)
        return
    done = shell.run(block, each=said.each)
    assert done.code in said.codes, f"{block} ended with {done.code}:\n{done.printed}"
    for after, printed in outputs_of(block):
        came = outputs.stretch(done.printed, printed)
        if option.update_snapshots:
            path = ROOT / after.page
            path.write_text(outputs.renewed(path.read_text(encoding="utf-8"), after, came), encoding="utf-8")
        else:
            different = outputs.differences(after.text, came, as_curve=printed.as_curve)
            assert not different, "\n".join(
                [f"{after} is not what came out (--snapshot-update writes it):", *different]
            )
