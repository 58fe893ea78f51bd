"""What a person's or a job's side of Remit is made of: sign-in, the keeper, the sidecar of `remit run`.

Loaded lazily: importing this room costs nothing, msal and httpx come with the first sign-in.
"""
