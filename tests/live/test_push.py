"""From one user's phone to another's, through a real Prosody, the bridge and the gateway, to the fakes of Apple and Google."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import pytest

from lab.accounts import Accounts
from lab.gateway import SECRET, PushGateway
from lab.prosody import DOMAIN, Prosody
from lab.providers import Providers
from lab.workspace import ROOT, Workspace
from lab.xmpp import Client
