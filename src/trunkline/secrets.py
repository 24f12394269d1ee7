"""Secrets from where they are kept: the environment, a file, or, with a warning, the settings themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr, ValidationInfo


def read_secret(value: Any, info: ValidationInfo) -> Any:
    """Resolve `env:NAME` and `file:PATH`. Raises `ValueError` that says what is missing, never what it holds.

    The environment is the one of the validation's context (`{"env": ...}`), else the process's own.
    """
    env = (info.context or {}).get("env", os.environ)
    if not isinstance(value, str):
        return value
    if value.startswith("env:"):
        name = value.removeprefix("env:")
        secret = env.get(name, "").strip()
        if not secret:
            raise ValueError(f"the environment variable {name} is not set")
        return secret
    if value.startswith("file:"):
        path = Path(value.removeprefix("file:"))
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ValueError(f"the file {path} cannot be read: {why}") from None
        if not secret:
            raise ValueError(f"the file {path} is empty")
        return secret
    return value


Secret = Annotated[SecretStr, BeforeValidator(read_secret)]
"""A setting that holds a secret; it is never printed."""


Name = Annotated[str, BeforeValidator(read_secret)]
"""A setting that is no secret, and may be kept where secrets are."""


def is_literal(value: Any) -> bool:
    """Tell whether a setting holds the secret itself, and not where it is kept."""
    return isinstance(value, str) and not value.startswith(("env:", "file:"))
