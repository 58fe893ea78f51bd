"""The keys of remit.yaml for what stands behind the gate besides Google's APIs, and for the second door."""

from typing import Annotated, Literal

from pydantic import Field

from remit.settings.section import Section

ServiceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=32)]
DnsName = Annotated[
    str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$", max_length=253)
]
Address = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")]
Folder = Annotated[str, Field(pattern=r"^/([a-z0-9-]+/)+$", max_length=128)]


class Service(Section):
    """A web application, a gRPC service or a TensorFlow Serving."""

    name: ServiceName
    project: str
    kind: Literal["web", "grpc", "tensorflow-serving"] = "web"
    http: Address | None = None
    grpc: Address | None = None
    ca_file: str | None = None
    prefix: Folder | None = None
    host: DnsName | None = None
    audience: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    websockets: bool = False
