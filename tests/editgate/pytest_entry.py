"""What every pytest run loads where editgate is installed: nothing, unless the run asks for the gate.

The plugin itself imports torch and adds options such as `--model`, which a stranger's conftest may have too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

GATE = "editgate.gate"


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:  # noqa: ARG001 - pytest's signature
    """Load the plugin for `pytest --pyargs editgate.gate`."""
    config = pluginmanager.get_plugin("pytestconfig")
    if config is not None and any(str(argument).startswith(GATE) for argument in config.invocation_params.args):
        pluginmanager.import_plugin("editgate.plugin")
