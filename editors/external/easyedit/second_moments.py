"""Second moments of keys in the file form that EasyEdit reads, so that it does not download Wikipedia to compute them.

`layer_stats` of EasyEdit looks for `stats_dir/MODEL/DATASET_stats/MODULE_DTYPE_mom2_SAMPLES.npz`, and reads the sum
`mom2.mom2` [f, f] of k kᵀ over `mom2.count` tokens. A covariance C = E[k kᵀ] is the sum over one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editors.core.errors import MissingCorpus
from editors.core.typing import PreTrainedModel
from editors.external.easyedit import package
from editors.external.easyedit.hyperparameters import rewritten

if TYPE_CHECKING:
    from torch import Tensor

CONSTRUCTOR = "easyeditor.util.runningstats.SecondMoment()"


def wanted(method: str, record: Any) -> list[str]:  # noqa: ANN401 - a record of EasyEdit
    """Paths of the modules whose second moments the method reads: none if it says so by `mom2_adjustment`."""
    record = getattr(record, "base_hparams", None) or record
    if not hasattr(record, "mom2_dataset") or not hasattr(record, "stats_dir"):
        return []
    if not getattr(record, "mom2_adjustment", True) and ".mom2_adjustment" in package.source(method):
        return []  # ROME and R-ROME look at it; MEMIT has the field and does not
    return rewritten(record)


def write(method: str, record: Any, model: PreTrainedModel, covariances: Mapping[str, Tensor]) -> None:  # noqa: ANN401 - see above
    """Write the files that the method will look for below the record's `stats_dir`.

    Args:
        method: EasyEdit's name of it.
        record: Its hyperparameters.
        model: The model, whose name is part of the files' names.
        covariances: C [f, f] by module path.

    Raises:
        MissingCorpus: One is not there.
    """
    import numpy as np  # noqa: PLC0415 - as in `seeded`

    paths = wanted(method, record)
    record = getattr(record, "base_hparams", None) or record
    if missing := [path for path in paths if path not in covariances]:
        raise MissingCorpus(f"EasyEdit's {method} needs the covariance of {', '.join(missing)}, which is not given")
    for path in paths:
        folder = Path(record.stats_dir) / _model_name(model) / f"{record.mom2_dataset}_stats"
        folder.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "mom2.constructor": CONSTRUCTOR,
            "mom2.count": 1,
            "mom2.mom2": covariances[path].detach().float().cpu().numpy(),
            "sample_size": record.mom2_n_samples,
        }
        np.savez(folder / f"{path}_{record.mom2_dtype}_mom2_{record.mom2_n_samples}.npz", **content)


def _model_name(model: PreTrainedModel) -> str:
    """The last part of the model's name, as EasyEdit takes it; a model without one gets one."""
    config = model.config
    config._name_or_path = str(config._name_or_path).rstrip("/") or "model"  # noqa: SLF001 - EasyEdit reads this one
    return str(config._name_or_path).rsplit("/", maxsplit=1)[-1]  # noqa: SLF001 - as above
