"""The gateway's door for PostgreSQL: a stock client comes with a token as its password, and leaves as a role.

Who may is decided by the arbiter, for a database and a role; what the role may is PostgreSQL's own word. Nothing that
passes is changed, and no SQL is parsed but for its fingerprint.
"""
