"""The bare aiohttp handler that the gateway is compared with: it reads a push and answers, and pushes nothing."""

from __future__ import annotations

import sys

from aiohttp import web


async def push(request: web.Request) -> web.Response:
    """Answer."""
    await request.read()
    return web.Response(text="OK")


app = web.Application()
app.router.add_post("/push", push)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
