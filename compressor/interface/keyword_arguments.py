"""Signatures that interpreters and notebooks complete: every setting as a keyword of its own, with its default.

Type checkers and editors read the same from :mod:`compressor.interface.keywords`.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, TypeVar

from compressor.config import RunSettings

F = TypeVar("F", bound=Callable[..., Any])


def settings_as_keywords(settings: type[RunSettings], *without: str) -> Callable[[F], F]:
    """Gives a function whose last parameter is ``**settings`` one keyword for each setting.

    Args:
        settings: the class; a default that depends on other settings is shown as ``None``.
        *without: settings that the function itself decides.
    """

    def decorate(function: F) -> F:
        own = signature(function)
        named = [p for p in own.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        taken = {p.name for p in named} | set(without)
        more = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=_default(field), annotation=_kind(field.annotation))
            for name, field in settings.model_fields.items()
            if name not in taken
        ]
        # Interpreters read this attribute; the function itself still takes ``**settings``.
        function.__signature__ = own.replace(parameters=[*named, *more])  # type: ignore[attr-defined]
        return function

    return decorate


def _default(field: Any) -> Any:
    return None if field.default_factory is not None or field.is_required() else field.default


def _kind(annotation: Any) -> Any:
    """The type as it is written, without what validates it."""
    return getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
