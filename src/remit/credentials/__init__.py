"""With what: the short-lived Google token that a permitted request runs with.

A person's Entra token becomes, on her behalf, one for a second audience (`entra_obo`, Remit's application
proved by its managed identity, `azure_imds`); for everybody else Remit signs a token itself (`own_issuer`, with the
keys of `own_keys`). Either becomes a federated Google token (`google_sts`), that a service account's (`google_iam`),
narrowed to buckets where that is what it is for (`google_sts`). At Azure, Remit's word is the proof of an application
that is made for one role, in one project (`azure_federation`). A service of the estate gets no cloud's token but
Remit's word of who asks (`assertion`). `obtainer` tells the story, `cache` keeps each hop's
token for its life, `hop` is one bounded call.
"""
