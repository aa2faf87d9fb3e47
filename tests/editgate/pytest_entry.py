"""What every pytest run loads where editgate is installed: nothing, unless the run is one of the gate.

The plugin itself adds options such as `--model`, which a stranger's conftest may have too. A run is the gate's if it
names `editgate.gate`, or if the conftest of the directory it is started in loads the plugin. pytest reads that conftest
later, and would by then have taken DIR of `--report DIR` for a path of tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

GATE = "editgate.gate"
PLUGIN = "editgate.plugin"
INI = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
CHOOSES_ROOT = ("--rootdir", "-c", "--config-file")


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:  # noqa: ARG001 - pytest's signature
    """Load the plugin in time for its options to be known."""
    config = pluginmanager.get_plugin("pytestconfig")
    if config is None:
        return
    arguments = [str(argument) for argument in config.invocation_params.args]
    conftest = config.invocation_params.dir / "conftest.py"
    loads_it = conftest.is_file() and PLUGIN in conftest.read_text(encoding="utf-8", errors="replace")
    if not loads_it and not any(argument.startswith(GATE) for argument in arguments):
        return
    pluginmanager.import_plugin(PLUGIN)
    here = config.invocation_params.dir
    root = next((folder for folder in (here, *here.parents) if any((folder / name).is_file() for name in INI)), here)
    if config.rootpath != root and not any(argument.startswith(CHOOSES_ROOT) for argument in arguments):
        _refuse_misread_folders(arguments)


def _refuse_misread_folders(arguments: list[str]) -> None:
    """Refuse `--report DIR` where DIR decided on the root directory: pytest knew no option when it looked for one."""
    from itertools import pairwise  # noqa: PLC0415 - as below
    from pathlib import Path  # noqa: PLC0415 - every pytest run of this environment loads this module

    import pytest  # noqa: PLC0415 - as above

    from editgate.options.options import Options, flag  # noqa: PLC0415 - as above

    flags = {flag(name) for name in Options.model_fields}
    for option, value in pairwise(arguments):
        if option in flags and Path(value).exists():
            raise pytest.UsageError(
                f"{option} {value}: pytest takes a path after a space for one of tests, and looks there for its "
                f"settings. Write {option}={value}."
            )
