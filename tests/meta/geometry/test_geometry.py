"""What the geometry's numbers mean, shown where they are known, and the command on a shipped model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import editors
from editgate.geometry.__main__ import main
from editgate.geometry.edit_sizes import Inputs, changes, single_edits
from editgate.geometry.spectrum import Spectrum
from editgate.miniature.recipes import WEIGHTS
from editgate.miniature.world import edits
from editors.models.architecture import Architecture
from editors.models.covariance import compute_covariances
from editors.models.projection import Matrix

SEEDS = st.integers(0, 2**16)


def moment_of(seed: int, width: int = 6) -> Tensor:
    """A second moment [width, width] with full rank."""
    keys = torch.randn(40, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return keys.T @ keys / len(keys)


def inputs(weight: Tensor, moment: Tensor) -> Inputs:
    """The inputs of a linear layer with this weight [d, f]."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return Inputs.of(Matrix("down", layer), moment)


def test_even_spectrum_fills_every_direction() -> None:
    """Independent inputs of one size have the full effective rank and condition number 1; none is dead."""
    found = Spectrum.of("down", torch.eye(8))
    assert found.effective_rank == pytest.approx(8)
    assert found.condition_number == pytest.approx(1)
    assert (found.directions, found.dead) == (8, 0)


def test_one_direction_has_rank_one() -> None:
    """Inputs that are all multiples of one vector have effective rank 1 and an infinite condition number."""
    key = torch.ones(5, dtype=torch.float64)
    found = Spectrum.of("down", torch.outer(key, key))
    assert found.effective_rank == pytest.approx(1, abs=1e-6)
    assert found.condition_number > 1e12
    assert found.directions == 1


def test_tiny_units_are_dead_and_hide_the_rank() -> None:
    """A unit of a ten-thousandth of the others' size is dead; with equal units the rank is full again."""
    found = Spectrum.of("down", torch.diag(torch.tensor([1.0, 1.0, 1.0, 1e-8])))
    assert found.dead == 1
    assert found.effective_rank == pytest.approx(3, abs=1e-3)
    assert found.equal_effective_rank == pytest.approx(4)
    assert found.equal_condition_number == pytest.approx(1)


@given(SEEDS, st.lists(st.floats(1e-2, 1e2), min_size=6, max_size=6))
def test_units_do_not_matter_to_what_is_marked(seed: int, scale: list[float]) -> None:
    """Writing every unit k_i as s_i k_i and the matrix as W_i / s_i changes neither the output nor the equal rank."""
    moment, factors = moment_of(seed), torch.tensor(scale, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed + 1)
    weight, change = (torch.randn(4, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    scaled = factors[:, None] * moment * factors
    assert Spectrum.of("down", scaled).equal_effective_rank == pytest.approx(
        Spectrum.of("down", moment).equal_effective_rank, rel=1e-6
    )
    before = inputs(weight, moment)
    after = inputs(weight / factors, scaled)
    assert after.output(change / factors) == pytest.approx(before.output(change), rel=1e-6)


@given(SEEDS)
def test_output_is_what_a_corpus_would_show(seed: int) -> None:
    """The output's size from the second moment is the root mean square of |W k| over the keys themselves."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    seen = (keys @ weight.T).square().sum(1).mean().sqrt()
    assert inputs(weight, keys.T @ keys / len(keys)).output(weight) == pytest.approx(float(seen), rel=1e-9)


def test_command_prints_and_writes_both_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m editgate.geometry` measures one matrix of ROME's and each of its edits, and changes nothing."""
    file = tmp_path / "geometry.json"
    main(["pythia-mini-s", "--editor=rome", "--count=2", f"--store={tmp_path}", f"--json={file}"])
    printed = capsys.readouterr().out
    (found,) = json.loads(file.read_text(encoding="utf-8"))
    (spectrum,) = found["spectra"]
    assert spectrum["path"].split(".", 1)[1] in printed
    assert 1 < spectrum["effective_rank"] < spectrum["width"]
    assert len(found["sizes"]["rome"]) == 2
    assert all(row["weight"] > 0 and row["efficacy"] == row["exact"] == 1 for row in found["sizes"]["rome"])


def test_each_edit_is_applied_to_the_unedited_model() -> None:
    """The same edit twice has the same size twice, and leaves nothing behind."""
    model = AutoModelForCausalLM.from_pretrained(WEIGHTS / "pythia-mini-s", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "pythia-mini-s")
    editor, edit = editors.create("ftl", model, tokenizer), edits.training()[0]
    editor.apply(edit)
    written = [name for name in changes(editor) if name.endswith(".weight")]
    editor.undo()
    matrices = [Matrix(name.removesuffix(".weight"), model.get_submodule(name[:-7])) for name in written]
    moments = compute_covariances(Architecture(model), tokenizer, ["The harbour was quiet."] * 3, matrices)
    before = {matrix.parameter: Inputs.of(matrix, moments[matrix.path]) for matrix in matrices}
    first, second = single_edits(editor, tokenizer, [edit, edit], before)
    assert first == second
    assert first.weight > 0
    assert not changes(editor)


def test_wrappers_have_no_size(tmp_path: Path) -> None:
    """A method that writes no weights is left out instead of having size 0."""
    file = tmp_path / "geometry.json"
    main(["pythia-mini-s", "--editor=grace", "--count=1", f"--store={tmp_path}", f"--json={file}"])
    (found,) = json.loads(file.read_text(encoding="utf-8"))
    assert found["sizes"] == {}
    assert found["spectra"] == []


@pytest.mark.parametrize("count", ["0", "1001"])
def test_wrong_counts_are_usage_errors(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No edits at all, or more than the list holds, is refused before a model is loaded, with what is allowed."""
    with pytest.raises(SystemExit) as stopped:
        main(["llama-mini", f"--count={count}"])
    assert stopped.value.code == 2
    assert "allowed: at" in capsys.readouterr().err.lower()
