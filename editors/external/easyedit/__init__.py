"""Any method of an installed EasyEdit: `easyedit:METHOD` with the hyperparameter `hparams`, a file of EasyEdit's own.

EasyEdit (the package `easyeditor`, github.com/zjunlp/EasyEdit) is not on a package index, and is imported only if one
of its methods is used. `docs/easyedit.md` says how to install it, and which methods were tried at which commit.
"""

from editors.external.easyedit.method import method
from editors.external.easyedit.package import PACKAGE, PREFIX

__all__ = ["PACKAGE", "PREFIX", "method"]
