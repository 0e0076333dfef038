"""The viewer as an ASGI application: addresses to pages, and what a browser may do with them."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from optimizers.reports.write import breakable
from optimizers.viewer.pages import NotFoundError, Pages, Shown

_TEMPLATES = Path(__file__).parent
_REPORT = Path(__file__).parents[1] / "reports" / "template.html.j2"
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)

_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_ANYWHERE = ("0.0.0.0", "::", "")

_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; img-src data:; form-action 'self'; style-src 'self'"
"""No page runs a script or loads anything from elsewhere, whatever stands in the texts of questions and models."""

_REPORT_POLICY = _POLICY.replace("style-src 'self'", "style-src 'unsafe-inline'")

_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Runs go on, and tell others' questions.
    "Cache-Control": "no-store",
}

MISSING_EXTRA = "The viewer needs a server: pip install 'divide-or-conquer[serve]'."


def create_app(root: Path, host: str = "127.0.0.1") -> Any:
    """The viewer of a folder of runs.

    Args:
        root: The folder.
        host: Where it is served: requests that name another host are refused, as those of a page that had its own name
            point to this machine would be.

    Raises:
        ImportError: The extra `serve` is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.responses import HTMLResponse
        from starlette.routing import Route
    except ImportError as error:
        raise ImportError(MISSING_EXTRA) from error
    render = _renderer()

    def failed(request: Any, error: Exception) -> Any:
        status = error.status_code if isinstance(error, HTTPException) else 404 if isinstance(error, NotFoundError) else 500
        told = str(getattr(error, "detail", "") or error) if status != 500 else f"The page could not be made: {error!r}"
        shown = Shown("error.html.j2", {"status": status, "message": told})
        return HTMLResponse(render(shown), status, headers=_HEADERS)

    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=hosts_of(host), www_redirect=False)]
    routes = [Route(path, endpoint) for path, endpoint in _endpoints(Pages(root), render).items()]
    return Starlette(
        routes=routes, middleware=middleware, exception_handlers=dict.fromkeys([HTTPException, NotFoundError, Exception], failed)
    )


def hosts_of(host: str) -> list[str]:
    """The names under which a server at `host` may be addressed; of one that listens everywhere, this machine's."""
    names = {*_LOOPBACK, host, f"[{host}]"}
    if host in _ANYWHERE:
        names |= {socket.gethostname(), socket.getfqdn()}
        with contextlib.suppress(OSError):
            names |= {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)}
    return sorted(name for name in names if name and "*" not in name)


def _endpoints(pages: Pages, render: Callable[[Shown], bytes]) -> dict[str, Callable[[Any], Any]]:
    from starlette.responses import HTMLResponse, Response

    def html(make: Callable[[Mapping[str, str]], Shown]) -> Callable[[Any], Any]:
        return lambda request: HTMLResponse(render(make(request.query_params)), headers=_HEADERS)

    def compare(request: Any) -> Any:
        asked = request.query_params
        return HTMLResponse(render(pages.compare(asked.getlist("job"), asked.getlist("set"))), headers=_HEADERS)

    def report(request: Any) -> Any:
        headers = {**_HEADERS, "Content-Security-Policy": _REPORT_POLICY}
        return HTMLResponse(pages.report(request.query_params).read_bytes(), headers=headers)

    def style(request: Any) -> Any:
        return Response(style_sheet(), media_type="text/css", headers=_HEADERS)

    named = {"/": pages.jobs, "/job": pages.job, "/answers": pages.answers, "/question": pages.question}
    return {**{path: html(make) for path, make in named.items()}, "/compare": compare, "/report": report, "/style.css": style}


def style_sheet() -> str:
    """The style of the reports, and what the viewer has beyond them."""
    found = _STYLE.search(_REPORT.read_text(encoding="utf-8"))
    return f"{found[1] if found else ''}\n{(_TEMPLATES / 'viewer.css').read_text(encoding='utf-8')}"


def _renderer() -> Callable[[Shown], bytes]:
    """Gives a page as bytes; half a character of a text on file gets a sign in its place."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(_TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["link"], environment.filters["breakable"] = _link, breakable
    return lambda shown: environment.get_template(shown.template).render(**shown.values).encode("utf-8", "replace")


def _link(path: str, *further: Mapping[str, Any], **params: Any) -> str:
    """An address; parameters without a value are left out."""
    given = {name: value for mapping in (*further, params) for name, value in mapping.items()}
    query = urlencode({name: value for name, value in given.items() if value not in (None, "")}, doseq=True, errors="replace")
    return f"{path}?{query}" if query else path
