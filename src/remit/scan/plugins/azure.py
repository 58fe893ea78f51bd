"""Azure: client secrets of Entra applications, storage keys, shared access signatures, shared keys of services.

Forms: learn.microsoft.com/purview/sit-defn-azure-ad-client-secret (the mark `8Q~` or `7Q~` after three letters),
learn.microsoft.com/azure/storage/common/storage-configure-connection-string (a key is 64 bytes: 86 letters and `==`),
learn.microsoft.com/rest/api/storageservices/create-service-sas (`sig` is an HMAC-SHA256: 43 letters and `=`).
Secrets from before the mark have no form: they are found by the name that they are given.
"""

import re

from detect_secrets.plugins.base import RegexBasedDetector

_NAMED = r"""[\\"'\]]{0,4}[ \t]{0,8}(?::|=>?|:=)[ \t]{0,8}[\\"']{0,3}"""


class EntraClientSecretDetector(RegexBasedDetector):
    """With the mark, wherever it stands."""

    secret_type = "Entra Client Secret"
    denylist = (re.compile(r"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}(?![A-Za-z0-9_~-])"),)


class NamedClientSecretDetector(RegexBasedDetector):
    """By its name: `AZURE_CLIENT_SECRET`, `client_secret`, `--client-secret`; a value in quotes, or alone."""

    secret_type = "Entra Client Secret by Name"
    denylist = (
        re.compile(
            r"(?i)client[_-]?secret" + _NAMED.replace("{0,3}", "{1,3}") + r"([A-Za-z0-9_~.+/=@?\[\]:*-]{16,64})[\\\"']"
        ),
        re.compile(
            r"(?m)(?:AZURE|ARM|ENTRA|AAD)_CLIENT_SECRET[ \t]*[=:][ \t]*([A-Za-z0-9_~.+/=@?\[\]:*-]{16,64})[ \t\r]*$"
        ),
    )


class StorageKeyDetector(RegexBasedDetector):
    """64 bytes in base64, after a name that says so."""

    secret_type = "Azure Storage Key"
    denylist = (
        re.compile(r"AccountKey(?:=|%3[Dd])([A-Za-z0-9+/]{86}==)"),
        re.compile(
            r"(?i)(?:account|storage|access|shared|primary|secondary)[_ -]?(?:account|access)?[_ -]?key[12]?"
            + _NAMED
            + r"([A-Za-z0-9+/]{86}==)"
        ),
        re.compile(r"(?i)(?:credential|--account-key|--key|\bvalue|\bkey[12]?)" + _NAMED + r"([A-Za-z0-9+/]{86}==)"),
        re.compile(r"--account-key[ \t]+[\"']?([A-Za-z0-9+/]{86}==)"),
    )


class SharedAccessKeyDetector(RegexBasedDetector):
    """Service Bus, Event Hubs, IoT Hub, Relay: 32 bytes in base64."""

    secret_type = "Azure Shared Access Key"
    denylist = (re.compile(r"SharedAccessKey(?:=|%3[Dd])([A-Za-z0-9+/]{43}=)"),)


class SharedAccessSignatureDetector(RegexBasedDetector):
    """The `sig` of a query. That the query is a signature's (`sv`, and `se` or `si`) is for `rules.py` to see."""

    secret_type = "Azure Shared Access Signature"
    denylist = (re.compile(r"(?i:[?&;\"' =]|u0026)sig=([A-Za-z0-9%+/_-]{43,90}(?:=|%3[Dd])?)"),)
