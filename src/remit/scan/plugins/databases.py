"""Logins of databases: addresses and connection strings with a password in them.

Forms: postgresql.org/docs/current/libpq-connect.html (URIs, keyword and value), SQLAlchemy's URLs,
learn.microsoft.com/sql/connect/odbc/dsn-connection-string-attribute (`PWD`, `UID`).
"""

import re

from detect_secrets.plugins.base import RegexBasedDetector

_LOGIN = r"://[^\s\"'`/:@<>]{0,128}:([^\s\"'`/<>]{1,256})@(?=[A-Za-z0-9_.\[{$%-])"


class PostgresUrlDetector(RegexBasedDetector):
    """`postgresql://USER:…@HOST/DATABASE`, with or without a driver's name."""

    secret_type = "PostgreSQL Address with Password"
    denylist = (
        re.compile(r"(?i)\b(?:postgres|postgresql|postgis|timescaledb|cockroachdb)(?:\+[a-z0-9]{1,20})?" + _LOGIN),
    )


class PostgresWordsDetector(RegexBasedDetector):
    """`host=… user=… password=…` on one line, and `PGPASSWORD`."""

    secret_type = "PostgreSQL Password"
    denylist = (
        re.compile(
            r"\b(?:host|hostaddr|dbname|user)[ ]?=[ ]?[^\s\"',;()=]{1,128} [^\r\n\"]{0,300}?"
            r"\bpassword[ ]?=[ ]?'?([^\s\"',;()\\]{1,128})"
        ),
        re.compile(
            r"\bpassword[ ]?=[ ]?([^\s\"',;()\\]{1,128}) (?:[a-z_]{2,20}[ ]?=[ ]?[^\s\"',;()=]{1,128} ){0,8}"
            r"(?:host|hostaddr|dbname|user)[ ]?=[ ]?[^\s\"',;()=]{1,128}"
        ),
        re.compile(r"\bPGPASSWORD[\\\"'\]]{0,4}[ \t]{0,4}[=:][ \t]{0,4}[\\\"']{0,3}([^\s\"'\\,;()]{1,128})"),
    )


class SqlStringDetector(RegexBasedDetector):
    """`Server=…` with `Password=…`, in either order, and pyodbc's `UID` and `PWD`."""

    secret_type = "SQL Connection String with Password"
    denylist = (
        re.compile(
            r"(?i)\b(?:server|data source|driver|initial catalog)\s?=[^\r\n]{1,400}?;\s?"
            r"(?:password|pwd)\s?=\s?([^;\"'\s\\]{1,128})"
        ),
        re.compile(
            r"(?i)\b(?:password|pwd)\s?=\s?([^;\"'\s\\]{1,128});[^\r\n]{0,400}?\b(?:server|data source|driver)\s?="
        ),
    )


class SqlUrlDetector(RegexBasedDetector):
    """`mssql+pyodbc://USER:…@HOST`, and what else SQLAlchemy opens."""

    secret_type = "SQL Address with Password"
    denylist = (re.compile(r"(?i)\b(?:mssql|mysql|mariadb|oracle|snowflake|redshift)(?:\+[a-z0-9]{1,20})?" + _LOGIN),)


class UrlPasswordDetector(RegexBasedDetector):
    """Any other address with a user and a password, such as a remote of git with a token."""

    secret_type = "Address with Password"
    denylist = (
        re.compile(r"(?i)\b(?:https?|ftps?|ssh|git|redis|rediss|amqps?|mongodb(?:\+srv)?|ldaps?|smtps?)" + _LOGIN),
    )
