"""The sweeps of one run of the findings: each is measured once, from the store where it can be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import editors
from tests.harness import models
from tests.harness.editor_specs import EditorSpec
from tests.harness.findings import prediction
from tests.harness.findings.families import Family
from tests.harness.findings.sweeps import ITEMS, Sweep, sweep
from tests.harness.laboratory import Laboratory
from tests.harness.models import ModelSource
from tests.harness.profiles import COUNTS
from tests.harness.settings import Settings, parse_counts

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
class Workbench:
    """What the tests of the findings share in one process.

    Attributes:
        lab: where the numbers come from.
        family: which models are asked.
    """

    lab: Laboratory
    family: Family
    _found: dict[tuple[str, str], Sweep] = field(default_factory=dict, init=False)

    def sweep(self, method: str, model: str) -> Sweep:
        """Return a built-in method's sweep over a model of the family, by their names on the command line.

        Raises:
            EditorError, EvaluationError: it cannot be measured.
        """
        (spec,) = (spec for spec in self.lab.settings.editors if spec.name == method)
        (source,) = (source for source in self.lab.settings.models if source.name == models.name_of(model))
        return self.sweep_of(spec, source)

    def sweep_of(self, editor: EditorSpec, model: ModelSource) -> Sweep:
        """Return the sweep, measured once in this process.

        Raises:
            EditorError, EvaluationError: it cannot be measured.
        """
        place = (editor.name, model.name)
        if place not in self._found:
            self._found[place] = sweep(self.lab, editor, model)
        return self._found[place]
