"""The models a server offers: loaded when first asked for, once, and closed together.

Also decides which model answers to a name. Where the weights come from is the loaders' business.
"""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from local_backend.engine.constraint import GrammarCompiler, VocabularyBytes
from local_backend.errors import ConfigError, EngineStoppedError
from local_backend.families.model_text import ModelText
from local_backend.local_engine import Generation, TextEngine
from local_backend.sampling_params import SamplingParams
from local_backend.sequence import TokenConstraint
from local_backend.server.replies import invalid_request

__all__ = ["LoadedModel", "ModelPool", "ServedText"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to answer, with its grammar compiler."""

    engine: TextEngine
    grammars: GrammarCompiler


@dataclass(frozen=True, slots=True)
class ServedText:
    """The text side of a served model, whose weights may not be loaded.

    Attributes:
        text: Tokenizer and prompt family.
        max_model_len: Context in tokens; None until the model is loaded, when it is known what fits.
    """

    text: ModelText
    max_model_len: int | None


class ModelPool:
    """Loads each model on first use; every method may be called from any thread.

    Loaded models stay until `close()`. Different models load side by side; callers of one model wait for
    the same load. A load that fails is tried again by the next caller.

    Args:
        loaders: Served name to the function that loads the model; a loader raises LocalBackendError.
        default: The model that answers to hosted names such as "deepseek-flash"; one of `loaders`.
        text_loader: Reads a model's text side alone, by served name; None loads the model for it.

    Raises:
        ConfigError: `default` has no loader.
    """

    def __init__(
        self,
        loaders: Mapping[str, Callable[[], TextEngine]],
        default: str,
        *,
        text_loader: Callable[[str], ModelText] | None = None,
    ) -> None:
        if default not in loaders:
            raise ConfigError(
                f"the default model {default!r} is not served",
                help_message=f"Choose one of: {', '.join(loaders) or '(no model was given)'}.",
            )
        self._default = default
        self._loaders = dict(loaders)
        self._locks = {name: threading.Lock() for name in loaders}
        self._loaded: dict[str, LoadedModel] = {}
        self._text_loader = text_loader
        self._texts: dict[str, ModelText] = {}
        self._text_lock = threading.Lock()
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """Served models, the default first."""
        return (self._default, *(name for name in self._loaders if name != self._default))

    def resolve(self, requested: str) -> str:
        """Return the served model that answers to a name.

        Raises:
            HttpError: No model does; the text lists those that do.
        """
        if requested in self._loaders:
            return requested
        hosted = _hosted_names()
        if requested in hosted:
            return self._default
        supported = ", ".join((*self.names, *(name for name, canonical in hosted.items() if canonical)))
        raise invalid_request(f"The supported API model names are {supported}, but you passed {requested}.")

    def get(self, name: str) -> LoadedModel:
        """Return a served model, loading it if need be.

        Raises:
            LocalBackendError: It cannot be loaded.
            EngineStoppedError: The pool is closed.
        """
        with self._locks[name]:
            if self._closed:
                raise EngineStoppedError("the models are closed", help_message="Start the server again.")
            if name not in self._loaded:
                engine = self._loaders[name]()
                self._loaded[name] = LoadedModel(engine, GrammarCompiler(lambda: _vocabulary(engine)))
            return self._loaded[name]

    def text(self, name: str) -> ServedText:
        """Return the text side of a served model, without loading its weights if that can be.

        Raises:
            LocalBackendError: It cannot be read.
        """
        model = self._loaded.get(name)
        if model is None and self._text_loader is None:
            model = self.get(name)
        if model is not None:
            return ServedText(
                ModelText(model.engine.tokenizer, model.engine.family), model.engine.max_model_len
            )
        with self._text_lock:
            if name not in self._texts:
                assert self._text_loader is not None
                self._texts[name] = self._text_loader(name)
            return ServedText(self._texts[name], None)

    def submit(
        self,
        name: str,
        prompt_token_ids: list[int],
        params: SamplingParams,
        *,
        cache_salt: str = "",
        constraint: TokenConstraint | None = None,
    ) -> Generation:
        """Start a generation; see `TextEngine.submit`.

        A model whose engine has died is forgotten, so that the next request loads it anew.

        Raises:
            RequestError: The engine refuses the request.
            EngineStoppedError: The engine has died, or the pool is closed.
        """
        model = self.get(name)
        try:
            return model.engine.submit(prompt_token_ids, params, cache_salt=cache_salt, constraint=constraint)
        except EngineStoppedError:
            with self._locks[name]:
                if self._loaded.get(name) is model:
                    del self._loaded[name]
            raise

    def close(self) -> None:
        """Close every loaded model; later requests are refused. Idempotent."""
        self._closed = True
        for name, lock in self._locks.items():
            with lock:
                model = self._loaded.pop(name, None)
            if model is not None:
                model.engine.close()


@cache
def _hosted_names() -> Mapping[str, bool]:
    """Read the hosted names, each with whether error texts list it."""
    text = files("local_backend.server").joinpath("hosted_names.toml").read_text(encoding="utf-8")
    return {row["id"]: row.get("canonical", False) for row in tomllib.loads(text)["name"]}


def _vocabulary(engine: TextEngine) -> VocabularyBytes:
    tokenizer = engine.tokenizer
    return VocabularyBytes(
        token_bytes=[tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocab_size)],
        special_tokens=tokenizer.special_tokens,
        eos_token_ids=tokenizer.eos_token_ids,
        encode=lambda raw: tokenizer.encode_output(raw.decode(errors="replace")),
    )
