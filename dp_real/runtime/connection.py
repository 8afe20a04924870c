"""The environment's settings of a connection: proxies and certificates."""

import os
from typing import Any
from urllib.parse import urlsplit

from dp_base.reading import cause_of


def connection(base_url: str) -> dict[str, Any]:
    """Options of an httpx2 client: it uses the environment's proxies and certificates, but not for this machine."""
    host = urlsplit(base_url).hostname or ""
    return {"trust_env": not (host in ("localhost", "::1") or host.startswith("127."))}


def connection_problem(base_url: str) -> str | None:
    """A fault of the environment's proxies and certificates, or None."""
    import httpx2

    try:
        httpx2.AsyncClient(**connection(base_url))
    except Exception as error:  # libraries raise anything for a broken file
        proxies = sorted(name for name in os.environ if name.upper().endswith("_PROXY"))  # they may hold passwords
        files = [f"{name} = {value}" for name, value in os.environ.items() if name.startswith("SSL_CERT_")]
        listed = ", ".join([*proxies, *files])
        return f"no connection is possible with {listed}: {cause_of(error)}; mend or unset it"
    return None
