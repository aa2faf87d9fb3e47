"""The sweeps of one run of the findings: each is measured once, from the store where it can be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from editgate.inputs import models
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure.session import EvaluationSession
from editgate.options.profiles import COUNTS
from editgate.options.settings import Settings, parse_counts

import editors
from findings import prediction
from findings.families import Family
from findings.sweeps import ITEMS, Sweep, sweep

METHODS = {
    "base": tuple(editors.names()),
    "chat": ("kn", "memit", "mend", "pmet", "rome"),
    "sizes": ("memit", "rome"),
    "other": prediction.methods(prediction.GIANTS["other"]),
}  # by place in the family; the paper's where it has numbers


def asked(family: Family) -> tuple[tuple[str, str], ...]:
    """Return all (method, model) that the findings of this family rest on, each once."""
    places = {
        "base": (family.base,),
        "chat": (family.chat,),
        "other": (family.other,),
        "sizes": family.sizes,
    }
    return tuple((method, model) for place, named in places.items() for model in named for method in METHODS[place])


def asked_by_findings(chosen: Settings) -> Settings:
    """Return the settings with the findings' own grid and items, on which their record rests."""
    return replace(chosen, counts=parse_counts(COUNTS), limit=ITEMS)


@dataclass
class FindingsSession:
    """What the tests of the findings share in one process.

    Attributes:
        lab: where the numbers come from.
        family: which models are asked.
    """

    session: EvaluationSession
    family: Family
    _found: dict[tuple[str, str], Sweep] = field(default_factory=dict, init=False)

    def sweep(self, method: str, model: str) -> Sweep:
        """Return a built-in method's sweep over a model of the family, by their names on the command line.

        Raises:
            EditorError, EvaluationError: it cannot be measured.
        """
        (spec,) = (spec for spec in self.session.settings.editors if spec.name == method)
        (source,) = (source for source in self.session.settings.models if source.name == models.name_of(model))
        return self.sweep_of(spec, source)

    def sweep_of(self, editor: EditorSpec, model: ModelSource) -> Sweep:
        """Return the sweep, measured once in this process.

        Raises:
            EditorError, EvaluationError: it cannot be measured.
        """
        place = (editor.name, model.name)
        if place not in self._found:
            self._found[place] = sweep(self.session, editor, model)
        return self._found[place]
