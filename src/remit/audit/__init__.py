"""What happened: the ledger of decisions, the sealed access log, one query over both, and their verification.

Two kinds of evidence in one tree (DESIGN section 8): every decision is a leaf of the ledger's RFC 6962 tree, and so
is the manifest of every sealed segment of the access log. Leaves out: the meaning of a decision (`policy`), the
database's life (`state`), writing the access log (`gateway`).
"""
