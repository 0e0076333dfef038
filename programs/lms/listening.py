"""Where a server of this package listens."""

from __future__ import annotations

import socket

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""Hosts that stand for all addresses of a machine -> the one by which it reaches itself."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: Name or address.
        port: TCP port; 0 takes a free one.

    Raises:
        ValueError: An address that cannot be had.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise ValueError(f"Cannot listen at {host}, port {port} ({error}); choose another host, or a port from 0 to 65535.") from error


def address(host: str, listener: socket.socket) -> str:
    """The start of the URL at which a listening socket is reached from this machine."""
    reached = _ANYWHERE.get(host, host)
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{listener.getsockname()[1]}"
