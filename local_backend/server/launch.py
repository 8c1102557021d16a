"""Runs the server: uvicorn on loopback unless told otherwise, and never open to the network without a key."""

from __future__ import annotations

import ipaddress
import socket

from local_backend.errors import ConfigError
from local_backend.server.handler import RequestHandler

__all__ = ["LOOPBACK_HOSTS", "bind", "is_loopback", "serve"]

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_SHUTDOWN_SECONDS = 5
_MAX_PORT = 65_535


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server on the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """Open the server's socket, so that the port is known, and early clients wait, while a model loads.

    Args:
        host: An address or name.
        port: 0 picks a free one.

    Raises:
        ConfigError: The address cannot be bound.
    """
    try:
        if not 0 <= port <= _MAX_PORT:  # getaddrinfo would take it modulo 65536
            raise OverflowError(f"not in [0, {_MAX_PORT}]")
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen()
        except BaseException:
            bound.close()
            raise
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error}",
            help_message="Stop what uses the port, or choose another one (port 0 picks a free one).",
        ) from error
    return bound


def serve(
    handler: RequestHandler,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    listener: socket.socket | None = None,
    log_level: str = "warning",
) -> None:
    """Serve until interrupted (Ctrl-C or SIGTERM); running answers are cancelled after five seconds.

    Args:
        handler: Answers the requests; the caller closes its models afterwards.
        host: Address to listen on.
        port: Port to listen on.
        listener: A socket from `bind`, used instead of opening one at host and port.
        log_level: uvicorn's.

    Raises:
        ConfigError: The host is open to the network and the handler asks for no key, or the address
            cannot be bound.
    """
    if listener is not None:
        host = listener.getsockname()[0]
    if not is_loopback(host) and not handler.has_api_key:
        raise ConfigError(
            f"{host} can be reached from the network, and no API key is set",
            help_message="Set an API key, or listen on 127.0.0.1.",
        )
    import uvicorn  # noqa: PLC0415  (only a server needs it, the in-process backend does not)

    from local_backend.server.app import create_app  # noqa: PLC0415  (brings starlette)

    app = create_app(handler, allowed_hosts=None if handler.has_api_key else {*LOOPBACK_HOSTS, host})
    config = uvicorn.Config(
        app,
        log_config=None,  # whoever starts the server decides where its log goes
        log_level=log_level,
        ws="none",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    sock = listener or bind(host, port)
    try:
        uvicorn.Server(config).run(sockets=[sock])
    finally:
        sock.close()
