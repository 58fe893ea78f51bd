"""Tokens as they come: strict form, signature, and each issuer's own rules.

`strict_json` and `jose` decide what is well-formed before any library sees it, `keys` holds an issuer's public keys,
`claims` is the form of a table of claims, `entra` and `oidc` the rules of their kinds, and `authenticators` finds the
issuer that a token belongs to.
"""
