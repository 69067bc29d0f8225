"""A client of HTTP: fetches one URL and puts the same bytes to another.

    fetch.py requests|aiohttp|urllib FROM TO PROXY|- AUTHORITY

The proxy is in the environment or an argument, as the library has it.
"""

import asyncio
import ssl
import sys
import urllib.request


def with_requests(source, target, proxy, authority):
    import requests

    session = requests.Session()
    session.verify = authority
    if proxy != "-":
        session.proxies = {"http": proxy, "https": proxy}
    got = session.get(source, timeout=60)
    got.raise_for_status()
    session.put(target, data=got.content, timeout=60).raise_for_status()


def with_aiohttp(source, target, proxy, authority):
    import aiohttp

    async def both():
        context = ssl.create_default_context(cafile=authority)
        timeout = aiohttp.ClientTimeout(total=60)
        connector = aiohttp.TCPConnector(ssl=context)
        arguments = {} if proxy == "-" else {"proxy": proxy}
        async with aiohttp.ClientSession(
            trust_env=True, timeout=timeout, connector=connector, raise_for_status=True
        ) as session:
            async with session.get(source, **arguments) as got:
                body = await got.read()

            async def pieces():
                for place in range(0, len(body), 50_000):
                    yield body[place : place + 50_000]

            async with session.put(target, data=pieces(), **arguments):
                pass

    asyncio.run(both())


def with_urllib(source, target, proxy, authority):
    handlers = [urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authority))]
    if proxy != "-":
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    opener = urllib.request.build_opener(*handlers)
    with opener.open(source, timeout=60) as got:
        body = got.read()
    with opener.open(urllib.request.Request(target, data=body, method="PUT"), timeout=60):
        pass


library, *rest = sys.argv[1:]
{"requests": with_requests, "aiohttp": with_aiohttp, "urllib": with_urllib}[library](*rest)
