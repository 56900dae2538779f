"""Ray's token. Whoever reaches a Ray head runs code on all its machines, and Ray listens on every address of a machine, so none is used
without a token."""

from __future__ import annotations

import os
import secrets
from importlib.util import find_spec
from pathlib import Path

from casspec.storage.errors import UnsupportedOption

LOCAL = "local"
"""Address of a cluster that casspec starts for itself."""

MODE, TOKEN, TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def require_ray() -> None:
    """Raises UnsupportedOption where Ray is not installed."""
    if find_spec("ray") is None:
        raise UnsupportedOption("--ray needs Ray, which is not installed: pip install 'casspec[fleet]'")


def own_token() -> None:
    """A token for a cluster of this process alone. Called before Ray is imported."""
    os.environ[MODE], os.environ[TOKEN] = "token", secrets.token_hex(32)


def require_token() -> None:
    """Has this process bring its token. Called before Ray is imported. Raises UnsupportedOption where there is none."""
    mode = os.environ.get(MODE, "token")
    file = Path(os.environ.get(TOKEN_FILE) or Path.home() / ".ray" / "auth_token")
    if mode != "token" or not (os.environ.get(TOKEN) or file.is_file()):
        raise UnsupportedOption(
            f"--ray needs Ray's token: run `ray get-auth-token --generate`, set {MODE}=token for casspec and for every `ray start`, and "
            "copy ~/.ray/auth_token to each machine"
        )
    os.environ[MODE] = mode


def answers_strangers(address: str, timeout_s: float = 10.0) -> bool:
    """Whether a Ray head at host:port answers who brings no token."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/ray.rpc.InternalKVGcsService/GetInternalConfig")
        try:
            ask(b"", timeout=timeout_s)
        except grpc.RpcError as error:
            return error.code() not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    return True
