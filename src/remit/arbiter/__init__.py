"""The HTTP face: the check that gateways ask, the token endpoint, health. One file per endpoint.

It turns HTTP into a call of a story in `access` and the answer back into HTTP, and decides nothing itself.
"""
