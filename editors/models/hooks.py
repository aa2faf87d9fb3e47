"""Forward hooks that are registered for one block of code and removed at its end, whatever happens in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

Hook = Callable[..., object]


class StopForward(Exception):  # noqa: N818 - not an error: the hook has what it needs
    """Raised by a hook inside `suppress(StopForward)` to end a forward pass early."""


@contextmanager
def forward_hooks(*hooks: tuple[nn.Module, Hook]) -> Iterator[None]:
    """Call `hook(module, args, output)` after each module's forward; what it returns, if not None, is the output."""
    with ExitStack() as stack:
        for module, hook in hooks:
            stack.callback(module.register_forward_hook(hook).remove)
        yield


@contextmanager
def forward_pre_hooks(*hooks: tuple[nn.Module, Hook], with_kwargs: bool = False) -> Iterator[None]:
    """Call `hook(module, args)`, or `hook(module, args, kwargs)`, before each module's forward."""
    with ExitStack() as stack:
        for module, hook in hooks:
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=with_kwargs).remove)
        yield
