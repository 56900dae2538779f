"""A real server on a tiny random model, in a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import uvicorn
from transformers import AutoTokenizer

from casspec.model_names import directory_of
from casspec.runtime.decode import Decoder
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.server.app import create_app
from casspec.server.engines import Engines, Methods
from casspec.server.gate.access_log import AccessLog
from casspec.server.reload import Reloader
from casspec.server.service import Service
from casspec.server.settings import Settings
from casspec.server.watching.watches import Summaries
from tests.runtime.tiny import library_model, tiny_profile

TEMPLATE = (
    "{% for m in messages %}# {{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}def{% endif %}"
)
SETTINGS = Settings("tiny", access_log=None, max_batch=8, max_queue=64)


@cache
def target_of() -> TargetModel:
    """A random model that speaks the reference model's tokens, most of them rarely."""
    place = directory_of("reference")
    assert place is not None
    tokenizer: Any = AutoTokenizer.from_pretrained(place)
    tokenizer.chat_template = TEMPLATE
    model = library_model("llama", seed=7, vocab_size=4096, eos_token_id=0, max_position_embeddings=512)
    return TargetModel(model, tokenizer=tokenizer, name="tiny-llama")


@cache
def profile_of() -> LoadedProfile:
    return tiny_profile(target_of())


def methods_of(settings: Settings = SETTINGS, method: str = "auto") -> Methods:
    target, profile = target_of(), profile_of()
    return Methods.of(Decoder(target, profile, method), lambda name: Decoder(target, profile, name), settings.methods)


def alone(prompt: list[int], **options: Any) -> Any:
    """What a decoder by itself makes of a prompt."""
    return Decoder(target_of(), None, "autoregressive").generate(prompt, **options)


@dataclass
class Served:
    """A server that runs."""

    url: str
    service: Service
    server: uvicorn.Server
    loaded: threading.Event

    def client(self, key: str = "none", **settings: Any) -> Any:
        import openai

        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60, **settings)


@contextlib.contextmanager
def serving(
    settings: Settings = SETTINGS,
    load: Callable[[], Engines] | None = None,
    log: AccessLog | None = None,
    prepare: Callable[[TargetModel], Methods] | None = None,
    waits: bool = True,
    keep: Callable[[Summaries], None] = lambda summaries: None,
) -> Iterator[Served]:
    """Starts a server, waits until it is loaded (or listens, unless `waits`), and stops it."""
    service = Service(settings, load or (lambda: Engines(methods_of(settings), settings)), keep)
    app = create_app(service, log, prepare and Reloader(service, prepare, lambda line: None))
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        place.listen(64)
        port = place.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        ready = threading.Event()
        service.when_loaded(ready.set)
        thread.start()
        assert not waits or ready.wait(60)
        try:
            yield Served(f"http://127.0.0.1:{port}", service, server, ready)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def with_settings(**changes: Any) -> Settings:
    return replace(SETTINGS, **changes)
