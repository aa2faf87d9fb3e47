"""AlphaEdit's promises: what lies in the kept space is untouched, and earlier edits are remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor
from transformers import PreTrainedModel

from editors import Editor, HyperparameterError, StateMismatch, alphaedit, create
from editors.core.weights import same_bits
from editors.locate.closed_form import null_space, projected_keys
from editors.models.architecture import Architecture
from meta.support import tiny_models as tiny
from meta.support.strategies import shapes

few = settings(max_examples=6, deadline=None)
many = settings(max_examples=40, deadline=None)
sizes = st.integers(2, 20)


def _draw(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def _projection(seed: int, f: int) -> Tensor:
    (samples,) = _draw(seed, (f + 3, f))
    moment = samples.T @ samples / len(samples)
    return null_space(moment, float(torch.linalg.eigvalsh(moment).median()) + 1e-9)[0]


def _editor(model: PreTrainedModel, record: dict[str, Tensor] | None = None, **changes: object) -> Editor:
    given = {"covariances": tiny.moments(model), "contexts": tiny.CONTEXTS}
    tape = {} if record is None else record
    values = tiny.settings("alphaedit", **({"nullspace_threshold": 0.8} | changes))  # fits those second moments
    return create("alphaedit", model, tiny.tokenizer(), record=tape.__setitem__, **given, **values)


@many
@given(st.integers(0, 999), sizes, st.integers(1, 8), st.integers(0, 30), st.floats(0.01, 10))
def test_the_small_system_is_the_large_one(seed: int, f: int, n: int, m: int, weight: float) -> None:
    """A is (P(KKᵀ + QQᵀ) + wI)⁻¹PK whichever of the two systems is solved, and AᵀX = 0 for PX = 0."""
    keys, past, other = _draw(seed, (f, n), (f, m), (f, 3))
    projection = _projection(seed, f)
    got = projected_keys(keys, past, projection, weight)
    eye = torch.eye(f, dtype=keys.dtype)
    wanted = torch.linalg.inv(projection @ (keys @ keys.T + past @ past.T) + weight * eye) @ projection @ keys
    assert torch.allclose(got, wanted, rtol=1e-8, atol=1e-9)
    kept = other - projection @ other
    assert float((got.T @ kept).abs().max()) <= 1e-9
    assert got.abs().max() > 1e-9


@many
@given(st.integers(0, 999), sizes)
def test_the_projection_spans_what_is_below_the_threshold(seed: int, f: int) -> None:
    """P = Pᵀ = P², and xᵀCx < threshold for every unit x in its space, xᵀCx >= threshold outside."""
    (samples,) = _draw(seed, (f + 3, f))
    moment = samples.T @ samples / len(samples)
    spectrum = torch.linalg.eigvalsh(moment)
    threshold = float(spectrum.mean())
    projection, found = null_space(moment, threshold)
    eye = torch.eye(f, dtype=moment.dtype)
    assert torch.allclose(found, spectrum)
    assert torch.allclose(projection, projection.T)
    assert torch.allclose(projection @ projection, projection, atol=1e-10)
    assert 0 < round(float(projection.trace())) < f
    inside = torch.linalg.eigvalsh(projection @ moment @ projection + 2 * threshold * (eye - projection))
    outside = torch.linalg.eigvalsh((eye - projection) @ moment @ (eye - projection) + 2 * threshold * projection)
    assert float(inside.min()) < threshold * (1 + 1e-9)
    assert int((inside < threshold * (1 - 1e-9)).sum()) == round(float(projection.trace()))
    assert float(outside.min()) >= threshold * (1 - 1e-9)


@few
@given(shape=shapes)
def test_kept_keys_give_what_they_gave(shape: tiny.Shape) -> None:
    """After two edits each matrix acts on every x with Px = 0 as before, and not so on other x."""
    model = shape.build()
    matrices = [Architecture(model).down(layer) for layer in (0, 1)]
    before = [matrix.weight.detach().clone() for matrix in matrices]
    editor = _editor(model)
    projections = editor.prepared()
    for edit in tiny.EDITS[:2]:
        editor.apply(edit)
    for matrix, old in zip(matrices, before, strict=True):
        change = matrix.stored(matrix.weight - old)
        projection = projections[f"projection:{matrix.path}"].double()
        kept = torch.eye(len(projection), dtype=torch.float64) - projection
        assert float((change @ kept).norm()) <= 1e-5 * float(change.norm())
        assert float(change.norm()) > 1e-6


@few
@given(shape=shapes, count=st.integers(1, 3))
def test_the_memory_holds_each_edits_keys(shape: tiny.Shape, count: int) -> None:
    """One row an edit and layer: the keys measured on the model after the edit, as the authors measure them."""
    model, tape = shape.build(), dict[str, Tensor]()
    editor = _editor(model, tape)
    for edit in tiny.EDITS[:count]:
        editor.apply(edit)
    memory = {name: value for name, value in editor.state().items() if name.startswith("memory:")}
    fresh = dict[str, Tensor]()
    again = _editor(model, fresh, v_num_grad_steps=1)  # changes nothing; records the keys of the edited model
    again.apply(tiny.EDITS[count - 1])
    for layer in (0, 1):
        keys = memory[f"memory:keys:{Architecture(model).down(layer).path}"]
        assert len(keys) == count
        assert torch.allclose(keys[-1:], fresh[f"ks.layer{layer}"], atol=1e-6)


@few
@given(shape=shapes)
def test_the_memory_matters_and_survives_a_file(shape: tiny.Shape) -> None:
    """An editor resumed from safetensors continues bit by bit; one that forgets the memory does not."""
    whole = _editor(shape.build())
    whole.apply(tiny.EDITS[0])
    half = load(save(whole.state()))
    whole.apply(tiny.EDITS[1])
    ends = []
    for state in (half, {name: value for name, value in half.items() if name.startswith("weight:")}):
        resumed = _editor(shape.build())
        resumed.restore(state)
        resumed.apply(tiny.EDITS[1])
        ends.append(resumed.state())
    name = f"weight:{Architecture(whole.model).down(1).parameter}"
    assert all(same_bits(value, ends[0][key]) for key, value in whole.state().items())
    assert not same_bits(ends[0][name], ends[1][name])


@pytest.mark.parametrize(("threshold", "part"), [(1e-9, "leaves nothing free"), (1e9, "leaves everything free")])
def test_a_threshold_outside_the_spectrum_is_refused(threshold: float, part: str) -> None:
    """A threshold that makes P zero or the identity is named with the range that it must lie in."""
    with pytest.raises(HyperparameterError, match=rf"nullspace_threshold is .*{part}.*spectrum.* [\d.]+ to [\d.]+"):
        _editor(tiny.model(), nullspace_threshold=threshold).prepare()


@pytest.mark.parametrize("given", [torch.eye(24), torch.zeros(24, 24), torch.eye(3), torch.full((24, 24), torch.nan)])
def test_a_projection_that_is_none_is_refused(given: Tensor) -> None:
    """A projection of another shape, of rank 0 or of full rank, or with NaN, is refused with its matrix."""
    editor = _editor(tiny.model())
    editor.load_prepared({"projection:model.layers.0.mlp.down_proj": given})
    with pytest.raises(StateMismatch, match=r"projection of model\.layers\.0\.mlp\.down_proj"):
        editor.prepare()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda memory: memory.popitem(),
        lambda memory: memory.update({name: value[:, :-1] for name, value in memory.items()}),
        lambda memory: memory.update({next(iter(memory)): torch.zeros(5, 24)}),
        lambda memory: memory.update({name: value.long() for name, value in memory.items()}),
    ],
    ids=["layer missing", "narrow", "uneven", "integers"],
)
def test_a_strange_memory_is_refused(spoil: object) -> None:
    """A memory of another model or another number of edits a layer raises StateMismatch; nothing changes."""
    editor = _editor(tiny.model())
    editor.apply(tiny.EDITS[0])
    before = editor.state()
    memory = {name: value for name, value in before.items() if name.startswith("memory:")}
    assert callable(spoil)
    spoil(memory)
    with pytest.raises(StateMismatch, match=r"keys:model\.layers"):
        editor.restore(memory)
    assert all(same_bits(value, before[name]) for name, value in editor.state().items())


def test_projections_that_a_killed_process_made_are_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the scratch folder each is a file, with the bits that it has in memory; another threshold makes its own."""
    model, made = tiny.model(), list[float]()

    def counting(covariance: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
        made.append(threshold)
        if len(made) == 2:
            raise KeyboardInterrupt
        return null_space(covariance, threshold)

    given = {"covariances": tiny.moments(model), "contexts": tiny.CONTEXTS, "scratch": tmp_path}

    def prepared(threshold: float) -> dict[str, Tensor]:
        values = tiny.settings("alphaedit", nullspace_threshold=threshold)
        return create("alphaedit", model, tiny.tokenizer(), **given, **values).prepared()

    monkeypatch.setattr(alphaedit, "null_space", counting)
    with pytest.raises(KeyboardInterrupt):
        prepared(0.8)
    found = prepared(0.8)
    assert made == [0.8] * 3
    prepared(0.9)
    assert made == [0.8] * 3 + [0.9] * 2
    wanted = _editor(tiny.model()).prepared()
    assert found.keys() == wanted.keys()
    assert all(same_bits(found[name], value) for name, value in wanted.items())
