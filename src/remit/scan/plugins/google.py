"""Google: API keys, refresh tokens, OAuth client secrets, HMAC keys of Cloud Storage.

A service account's key is a private key with a name beside it: `keys.py`. Forms: cloud.google.com/storage/docs/
authentication/hmackeys (access ids of 24 and 61 letters, secrets of 40); the others as Google issues them.
Left out: access tokens (`ya29.`), which end within the hour.
"""

import re

from detect_secrets.plugins.base import RegexBasedDetector


class GoogleApiKeyDetector(RegexBasedDetector):
    """`AIza…`."""

    secret_type = "Google API Key"
    denylist = (re.compile(r"(?<![A-Za-z0-9_-])AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),)


class GoogleRefreshTokenDetector(RegexBasedDetector):
    """`1//0…`, as in `application_default_credentials.json`."""

    secret_type = "Google Refresh Token"
    denylist = (re.compile(r"(?<![A-Za-z0-9_/-])1//0[A-Za-z0-9_-]{30,512}(?![A-Za-z0-9_-])"),)


class GoogleClientSecretDetector(RegexBasedDetector):
    """`GOCSPX-…`."""

    secret_type = "Google OAuth Client Secret"
    denylist = (re.compile(r"(?<![A-Za-z0-9_-])GOCSPX-[A-Za-z0-9_-]{28}(?![A-Za-z0-9_-])"),)


class GoogleHmacKeyDetector(RegexBasedDetector):
    """The secret within a few lines of an access id, on either side of it: alone neither has a form."""

    secret_type = "Google HMAC Key"
    denylist = (
        re.compile(
            r"(?<![A-Za-z0-9])GOOG(?:1E[A-Z0-9]{55}|[A-Z0-9]{57}|[A-Z0-9]{20})(?![A-Za-z0-9])"
            r"[\x00-\xff]{1,300}?(?<![A-Za-z0-9+/])([A-Za-z0-9+/]{40})(?![A-Za-z0-9+/=])"
        ),
        re.compile(
            r"(?<![A-Za-z0-9+/])([A-Za-z0-9+/]{40})(?![A-Za-z0-9+/=])"
            r"[\x00-\xff]{1,300}?(?<![A-Za-z0-9])GOOG(?:1E[A-Z0-9]{55}|[A-Z0-9]{57}|[A-Z0-9]{20})(?![A-Za-z0-9])"
        ),
    )
