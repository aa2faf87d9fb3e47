"""The sweeps of one run of the findings: each is measured once, from the store where it can be."""

from __future__ import annotations

from dataclasses import dataclass, field

import editors
from editgate.inputs import models
from editgate.measure.session import EvaluationSession
from findings import prediction
from findings.families import Family
from findings.sweeps import Sweep, sweep

LATER = ("lora", "simie")  # came after the findings were recorded, or is there only with a package of its own
METHODS = {
    "base": tuple(name for name in editors.names() if name not in LATER),
    "chat": ("kn", "memit", "mend", "pmet", "rome"),
    "sizes": ("memit", "rome"),
    "other": prediction.methods(prediction.GIANTS["other"]),
}  # by place in the family; the paper's where it has numbers


def pairs(family: Family) -> tuple[tuple[str, str], ...]:
    """Return all (method, model) that the findings of this family rest on, each once."""
    places = {
        "base": (family.base,),
        "chat": (family.chat,),
        "other": (family.other,),
        "sizes": family.sizes,
    }
    return tuple((method, model) for place, named in places.items() for model in named for method in METHODS[place])


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

        It is measured once in this process.

        Raises:
            EditorError, EvaluationError: it cannot be measured.
        """
        key = (method, model)
        if key not in self._found:
            settings = self.session.settings
            (editor,) = (spec for spec in settings.editors if spec.name == method)
            (source,) = (source for source in settings.models if source.name == models.name_of(model))
            self._found[key] = sweep(self.session, editor, source)
        return self._found[key]
