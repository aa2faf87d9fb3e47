"""The geometry of one model: the spectra of what editing methods write, and the size of their single edits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from editgate.geometry.edit_sizes import EditSize, Inputs, changes, single_edits
from editgate.geometry.spectrum import Spectrum
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure.covariances import covariances_of
from editgate.measure.session import EvaluationSession
from editgate.measure.trajectory import Trajectory
from editors import Edit, Editor
from editors.models.architecture import Architecture
from editors.models.compat import Conv1D
from editors.models.projection import Matrix


@dataclass(frozen=True)
class Geometry:
    """What was measured of one model.

    Attributes:
        model: its name.
        spectra: of the inputs of each matrix that some method wrote, in the order of the model's modules.
        sizes: of single edits, by method.
    """

    model: str
    spectra: list[Spectrum]
    sizes: dict[str, list[EditSize]]


def measure(session: EvaluationSession, count: int) -> Geometry:
    """Return the geometry of the session's one model, over its first `count` edits.

    Methods that write no projection of the model (wrappers, prompts) have no size and are left out.

    Raises:
        EvaluationError: the model cannot be judged.
        EditorError: a method cannot apply an edit.
    """
    settings = session.settings
    (source,) = (source for source in settings.models if source.name in settings.chosen_models)
    base, edits = session.model(source), settings.edits[source.name][:count]
    inputs: dict[str, Inputs] = {}
    sizes: dict[str, list[EditSize]] = {}
    for spec in settings.editors:
        if settings.chosen_editors and spec.name not in settings.chosen_editors:
            continue
        run = session.trajectory(spec, source)
        assert isinstance(run, Trajectory)  # and no checkpoint from elsewhere: there is no `--edited` here
        editor = run.fresh_editor()
        if editor.kind == "weights":
            session.announce(f"{spec.name}: {count} edits of {source.name}, one at a time")
            inputs |= _inputs(session, base, _written(editor, edits[0]) - inputs.keys())
            sizes[spec.name] = list(single_edits(editor, base.tokenizer, edits, inputs))
    spectra = [Spectrum.of(found.matrix.path, found.moment) for found in inputs.values()]
    order = {path: number for number, (path, _) in enumerate(base.model.named_modules())}
    return Geometry(
        source.name, sorted(spectra, key=lambda row: order[row.path]), {k: v for k, v in sizes.items() if v}
    )


def _written(editor: Editor, edit: Edit) -> set[str]:
    """Return the names of the parameters that one edit changes."""
    editor.apply(edit)
    written = set(changes(editor))
    editor.undo()
    return written


def _inputs(session: EvaluationSession, base: UneditedModel, parameters: set[str]) -> Mapping[str, Inputs]:
    """Return what each of these parameters is given on the model's corpus; only projections are given anything."""
    modules = dict(base.model.named_modules())
    paths = sorted(name.removesuffix(".weight") for name in parameters)
    matrices = [Matrix(path, modules[path]) for path in paths if isinstance(modules.get(path), nn.Linear | Conv1D)]
    moments = covariances_of(Architecture(base.model), matrices, base, session.settings.store, session.announce)
    return {matrix.parameter: Inputs.of(matrix, moments[matrix.path]) for matrix in matrices}
