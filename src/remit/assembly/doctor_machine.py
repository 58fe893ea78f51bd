"""What this machine must be for Remit to work on it: its Python, its way out, its roots, its clock and its disk.

Nothing is proved about anybody here: every server is asked one question without a credential. A proxy's password is
never told. Leaves out the metadata server, which the hops ask.
"""

import asyncio
import platform
import shutil
import socket
import ssl
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from remit.assembly.doctor_checks import Check, State
from remit.identity.tokens.claims import SKEW
from remit.model.counts import counted

_PATIENCE = 10.0  # seconds for one server
_ROOM = 1 << 30  # bytes: weeks of records of a small team, and time to notice
_PROXIES = (("HTTPS_PROXY", "https_proxy"), ("ALL_PROXY", "all_proxy"))
_ROOTS = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
_OWN_ROOTS = "SSL_CERT_FILE"  # what Remit itself reads
_HOSTS = (
    "login.microsoftonline.com",
    "graph.microsoft.com",
    *(
        f"{name}.googleapis.com"
        for name in ("sts", "iam", "iamcredentials", "cloudresourcemanager", "storage", "logging")
    ),
)
AZURE = "management.azure.com"


def hosts(locations: Sequence[str], *, azure: bool) -> tuple[str, ...]:
    """The servers that an installation asks. `locations`: of Vertex AI; `azure`: whether containers are opened."""
    vertex = (f"{'' if each == 'global' else f'{each}-'}aiplatform.googleapis.com" for each in locations)
    return tuple(dict.fromkeys((*_HOSTS, *vertex, *((AZURE,) if azure else ()))))


def python() -> Check:
    """The interpreter and the machine that it runs on."""
    said = f"Python {platform.python_version()} on {sys.platform} {platform.machine()}"
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return Check("machine", "python", State.PASS, said)
    return Check(
        "machine", "python", State.FAIL, said, "remit runs on Linux on x86-64: Envoy and TensorFlow decide that"
    )


def proxy(environment: Mapping[str, str]) -> Check:
    """The way out. Programs read the one spelling or the other, so that two different values are two ways out."""
    for upper, lower in _PROXIES:
        given = [environment[name] for name in (upper, lower) if environment.get(name)]
        if len(set(given)) > 1:
            said = f"`{upper}` and `{lower}` differ, and programs read the one or the other"
            return Check("machine", "proxy", State.FAIL, said, f"give both the same value, or unset `{lower}`")
        if given:
            return _proxy(upper, given[0])
    return Check("machine", "proxy", State.PASS, "none: the clouds are asked directly")


def _proxy(name: str, value: str) -> Check:
    try:
        parts = urlsplit(value)
        place = f"{parts.hostname}:{parts.port}" if parts.scheme in {"http", "https"} and parts.hostname else ""
    except ValueError:
        place = ""
    if place:
        return Check("machine", "proxy", State.PASS, f"the clouds are asked through {place}")
    return Check(
        "machine", "proxy", State.FAIL, f"`{name}` is no address of a proxy", f"write `{name}=http://HOST:PORT`"
    )


def roots(environment: Mapping[str, str]) -> Check:
    """Whose certificates are believed, by the variables that programs read."""
    given = {name: environment[name] for name in _ROOTS if environment.get(name)}
    for name, file in given.items():
        try:
            ssl.create_default_context(cafile=file)
        except (OSError, ssl.SSLError):
            said = f"`{name}` names `{file}`, which is no readable file of certificates"
            return Check("machine", "roots", State.FAIL, said, f"name a PEM file, or unset `{name}`")
    own = given.get(_OWN_ROOTS)
    others = sorted(name for name, file in given.items() if file != own)
    differ = (
        f"; {', '.join(f'`{name}`' for name in others)} {'say' if len(others) > 1 else 'says'} another"
        if others
        else ""
    )
    return Check("machine", "roots", State.PASS, f"{f'`{own}`' if own else 'those of Mozilla (certifi)'}{differ}")


def disk(folder: Path) -> Check:
    """Room for records, and nobody else in it. Looks, and makes nothing."""
    place = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(place).free
    said = f"`{folder}`: {free / _ROOM:.0f} GiB free"
    if place == folder and folder.stat().st_mode & 0o077:
        return Check("machine", "disk", State.FAIL, f"{said}, and others may enter it", f"chmod 700 '{folder}'")
    if free < _ROOM:
        said = f"`{folder}`: {free >> 20} MiB free; a full disk refuses everything, since nothing can be recorded"
        return Check("machine", "disk", State.FAIL, said, "make room, or put `state.folder` elsewhere")
    return Check("machine", "disk", State.PASS, said if place == folder else f"{said}; it is yet to be made")


@dataclass(frozen=True, slots=True)
class Met:
    """A server that was asked. `ahead`: seconds that its clock is ahead of this machine's, `None` when it does not say.

    `trouble`: why it did not answer, empty when it did.
    """

    host: str
    ahead: float | None = None
    trouble: str = ""
    cure: str = ""


async def met(client: httpx.AsyncClient, names: Sequence[str], *, proxied: bool) -> tuple[Met, ...]:
    """Each server, asked once, side by side. `proxied`: whether a proxy looks the names up."""
    return tuple(await asyncio.gather(*(_meet(client, name, proxied=proxied) for name in names)))


async def _meet(client: httpx.AsyncClient, host: str, *, proxied: bool) -> Met:
    try:
        if not proxied:
            await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
        began = time.time()
        answer = await client.get(f"https://{host}/", timeout=_PATIENCE)
    except socket.gaierror:
        return Met(host, trouble="the name is not known here", cure="mend this machine's DNS, or name a proxy")
    except httpx.HTTPError as error:
        return Met(host, None, *_trouble(error))
    return Met(host, _ahead(answer.headers.get("date", ""), (began + time.time()) / 2))


def _ahead(date: str, now: float) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except ValueError:
        return None


def _trouble(error: BaseException) -> tuple[str, str]:
    """Why a server was not met, in words of ours, and what helps."""
    if (untrusted := _cause(error, ssl.SSLCertVerificationError)) is not None:
        said = f"its certificate is not trusted: {untrusted.verify_message}"
        return said, f"put your company's authority into a PEM file with the others and name it in `{_OWN_ROOTS}`"
    if isinstance(error, httpx.ProxyError):
        return "the proxy lets nobody through to it", "have it allowed at the proxy"
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer", "have TCP port 443 to it opened, or name a proxy"
    return f"it is not reached ({type(error).__name__})", "have TCP port 443 to it opened, or name a proxy"


def _cause(
    error: BaseException | None, kind: type[ssl.SSLCertVerificationError]
) -> ssl.SSLCertVerificationError | None:
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None


def servers(found: Sequence[Met]) -> Iterator[Check]:
    """A line for those that were not met for one reason, and one for the others."""
    for trouble, cure in dict.fromkeys((one.trouble, one.cure) for one in found if one.trouble):
        names = ", ".join(one.host for one in found if one.trouble == trouble)
        yield Check("machine", "servers", State.FAIL, f"{names}: {trouble}", cure)
    count = sum(not one.trouble for one in found)
    if count:
        said = f"the clouds answer at {count} of {counted(len(found), 'server')}"
        yield Check("machine", "servers", State.PASS, said)


def clock(found: Sequence[Met]) -> Check:
    """This machine's clock against theirs: a token that is not valid yet is refused everywhere."""
    told = [one.ahead for one in found if one.ahead is not None]
    if not told:
        said = "no server told the time"
        return Check("machine", "clock", State.SKIPPED, said, "mend what keeps the servers from answering")
    off = statistics.median(told)
    if abs(off) <= SKEW:
        return Check("machine", "clock", State.PASS, f"within {max(1, round(abs(off)))} s of the clouds'")
    said = f"{abs(off):.0f} s {'behind' if off > 0 else 'ahead of'} the clouds'; {SKEW} s are borne"
    return Check("machine", "clock", State.FAIL, said, "have it set by the network: `timedatectl set-ntp true`")
