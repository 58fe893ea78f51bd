"""`remit.aio.Credential`: what azure-core's asynchronous clients take, adlfs among them."""

from remit.sdk.credential import AsyncCredential as Credential

__all__ = ["Credential"]
