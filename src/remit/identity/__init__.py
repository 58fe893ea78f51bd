"""Who is asking: strict token parsing, signatures, each issuer's rules.

`strict_json` and `jose` decide what is well-formed before any library sees it, `keys` holds an issuer's
public keys, `claims` is the form of a table of claims, `entra` the rules of one Entra tenant, and
`authenticators` finds the issuer that a token belongs to. Leaves out: other issuers, sessions, group
overage at Graph.
"""
