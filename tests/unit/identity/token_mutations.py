"""Hostile variants of one good Entra token: each differs from it in one way, and none may ever be believed.

`mutations(token, key, seed)` takes a good v1 or v2 access token of a person or an application and the key that signed
it, so that a variant's only fault is the one that its name says. The same seed gives the same variants. All of them are
printable ASCII without spaces: they can be sent in a header. `unsendable(token, key)` gives those that cannot.

What is no fault is left out: claims that may be absent, and a well-formed overage of groups, which the directory
answers. Identifiers put in place of good ones are nobody's.
"""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Variant = tuple[str, str]
NOBODY = "bad00000-0000-4000-8000-00000000dead"
LOGIN = "https://login.microsoftonline.com"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
GONE = object()


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(frozen=True)
class Good:
    """The token taken apart, and how to put one together again."""

    token: str
    key: rsa.RSAPrivateKey

    @property
    def segments(self) -> list[str]:
        return self.token.split(".")

    @property
    def header(self) -> dict[str, Any]:
        return json.loads(decode(self.segments[0]))

    @property
    def claims(self) -> dict[str, Any]:
        return json.loads(decode(self.segments[1]))

    def rs256(self, text: str) -> bytes:
        return self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())

    def sign(self, header: Any = None, claims: Any = None) -> str:
        """A token with a good signature over whatever it is given: objects, or bytes as they are."""
        parts = (self.header if header is None else header, self.claims if claims is None else claims)
        raw = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in parts]
        text = ".".join(map(encode, raw))
        return f"{text}.{encode(self.rs256(text))}"

    def changed(self, **changes: object) -> str:
        claims = {**self.claims, **changes}
        return self.sign(claims={name: value for name, value in claims.items() if value is not GONE})


def mutations(token: str, key: rsa.RSAPrivateKey, seed: int) -> Iterator[Variant]:
    """Every kind of variant, by name and text; names are unique, and no text equals the good token."""
    good = Good(token, key)
    parts: tuple[Callable[[Good], Iterator[Variant]], ...] = (
        _forms,
        _headers,
        _header_texts,
        _algorithms,
        _elliptic,
        _payload_texts,
        _times,
        _parties,
        _versions,
        _owners,
        _shapes,
        _foreign,
        _sources,
    )
    for part in parts:
        yield from part(good)
    yield from _random(good, random.Random(seed))


def unsendable(token: str, key: rsa.RSAPrivateKey) -> Iterator[Variant]:
    """Variants with characters that no header can carry, or that HTTP takes off at the ends."""
    good = Good(token, key)
    head, body, signature = good.segments
    for name, text in {
        "space before": f" {token}",
        "space after": f"{token} ",
        "newline after": f"{token}\n",
        "carriage return": f"{head}.\r{body}.{signature}",
        "newline in payload": f"{head}.{body[:9]}\n{body[9:]}.{signature}",
        "tab in signature": f"{head}.{body}.{signature[:9]}\t{signature[9:]}",
        "zero byte": f"{head}.{body}.{signature}\x00",
        "not ASCII": f"{head}.{body}.{signature[:-1]}é",
        "full-width stop": f"{head}\uff0e{body}\uff0e{signature}",
        "Arabic digits": f"{head}.{body}.{signature[:-1]}\u0661",
        "byte order mark": f"\ufeff{token}",
        "no-break space": f"{token}\u00a0",
        "lone surrogate": f"{token}\ud800",
        "the scheme again": f"Bearer {token}",
        "two, by a comma and a space": f"{token}, {token}",
    }.items():
        yield f"unsendable: {name}", text


def _forms(good: Good) -> Iterator[Variant]:
    head, body, signature = good.segments
    texts = {
        "no signature": f"{head}.{body}.",
        "no last stop": f"{head}.{body}",
        "no payload": f"{head}..{signature}",
        "no header": f".{body}.{signature}",
        "stops only": "..",
        "header only": head,
        "a stop before": f".{good.token}",
        "a stop after": f"{good.token}.",
        "four segments": f"{good.token}.{signature}",
        "five segments": f"{good.token}.{body}.{signature}",
        "order": f"{body}.{head}.{signature}",
        "signature first": f"{signature}.{head}.{body}",
        "padding on the header": f"{head}=.{body}.{signature}",
        "padding on the payload": f"{head}.{body}=.{signature}",
        "padding on the signature": f"{good.token}==",
        "four of padding": f"{good.token}====",
        "padding inside": f"{head}.{body[:8]}={body[8:]}.{signature}",
        "standard alphabet": f"{head}.{body}.{signature[:-4]}+/+/",
        "quoted": f'"{good.token}"',
        "comma": f"{good.token},",
        "two by a comma": f"{good.token},{good.token}",
        "semicolon": f"{good.token};a=b",
        "percent": good.token.replace(".", "%2E", 1),
        "a byte more": f"{head}.{body}.{encode(decode(signature) + b'x')}",
        "a byte less": f"{head}.{body}.{encode(decode(signature)[:-1])}",
        "a zero byte before": f"{head}.{body}.{encode(bytes(1) + decode(signature))}",
        "signature of zeros": f"{head}.{body}.{encode(bytes(256))}",
        "signature of ones": f"{head}.{body}.{encode(bytes([255]) * 256)}",
        "one letter too many": f"{head}.{body}.{signature}A",
        "stray bits in the signature": f"{head}.{body}.{_stray(signature)}",
        "stray bits in the payload": f"{head}.{_stray(encode(decode(body) + b' '))}.{signature}",
        "17 KiB of signature": f"{head}.{body}.{signature * 52}",
        "17 KiB of payload": good.sign(claims={**good.claims, "padding": "x" * 17_000}),
        "40 KiB": "A" * 40_000,
        "a whole token as payload": good.sign(claims=good.token.encode()),
        "JSON serialisation": json.dumps(
            {"protected": head, "payload": body, "signature": signature}, separators=(",", ":")
        ),
        "encrypted": encode(b'{"alg":"dir","enc":"A128GCM","kid":"k"}') + "..AAAA.AAAA.AAAA",
        "opaque": "ya29.c.AAAAAAAAAAAAAAAAAAAAAAAA",
        "a word": "undefined",
        "basic": base64.b64encode(b"dana:secret").decode(),
    }
    yield from ((f"form: {name}", text) for name, text in texts.items())


def _stray(segment: str) -> str:
    """The same bytes by another text: bits set that no byte uses. As it is when every bit is used."""
    if len(segment) % 4 == 0:
        return segment[:-1] + LETTERS[LETTERS.index(segment[-1]) ^ 1]
    return segment[:-1] + LETTERS[LETTERS.index(segment[-1]) | 1]


def _headers(good: Good) -> Iterator[Variant]:
    public = {
        "kty": "RSA",
        "n": encode(good.key.public_key().public_numbers().n.to_bytes(256)),
        "e": "AQAB",
        "kid": good.header["kid"],
    }
    members: dict[str, list[Any]] = {
        "crit": [["exp"], [], ["b64"], ["kid"], "exp"],
        "b64": [True, False, "false"],
        "jwk": [public, {}, None],
        "jku": ["https://evil.example/keys", f"{LOGIN}/common/discovery/keys", ""],
        "x5u": ["https://evil.example/chain"],
        "x5c": [["MIIB"], []],
        "cty": ["JWT"],
        "zip": ["DEF"],
        "enc": ["A128GCM"],
        "epk": [{}],
        "nonce": ["graph"],
        "iss": ["https://evil.example"],
        "exp": [9_999_999_999],
        "__proto__": [{}],
        "alg ": ["RS256"],
        "kid": [
            None,
            "",
            7,
            [good.header["kid"]],
            good.header["kid"] + " ",
            good.header["kid"].swapcase() + "x",
            "../../dev/null",
            "' or 1=1 --",
            "*",
            "unknown",
            "k" * 300,
            GONE,
        ],
        "typ": [
            None,
            "",
            "jwt",
            "at+jwt",
            "application/at+jwt",
            "JOSE",
            "secevent+jwt",
            "logout+jwt",
            1,
            ["JWT"],
            GONE,
        ],
        "alg": [None, 7, ["RS256"], {}, "rs256", "RS256 ", "RS255", GONE],
        "x5t": ["", 1, None],
    }
    for name, values in members.items():
        for number, value in enumerate(values):
            header = {**good.header, name: value}
            header = {key: held for key, held in header.items() if held is not GONE}
            if header != good.header:
                yield f"header: {name} {number}", good.sign(header)


def _header_texts(good: Good) -> Iterator[Variant]:
    plain = json.dumps(good.header).encode()
    alg, kid = good.header["alg"], good.header["kid"]
    texts = {
        "alg twice": plain[:-1] + b',"alg":"RS256"}',
        "alg none first": b'{"alg":"none",' + plain[1:],
        "kid twice": plain[:-1] + b',"kid":"' + kid.encode() + b'"}',
        "kid twice by an escape": plain[:-1] + b',"\\u006bid":"' + kid.encode() + b'"}',
        "byte order mark": b"\xef\xbb\xbf" + plain,
        "trailing text": plain + b"x",
        "trailing object": plain + plain,
        "trailing zero": plain + b"\0",
        "trailing comma": plain[:-1] + b",}",
        "comment": plain[:-1] + b"/**/}",
        "single quotes": str(good.header).encode(),
        "not UTF-8": plain[:-1] + b',"x5t":"\xff"}',
        "UTF-16": plain.decode().encode("utf-16"),
        "UTF-16 without a mark": plain.decode().encode("utf-16-le"),
        "list": b"[" + plain + b"]",
        "list of pairs": json.dumps(list(good.header.items())).encode(),
        "string": json.dumps(plain.decode()).encode(),
        "null": b"null",
        "empty": b"{}",
        "nothing": b"",
        "600 bytes": plain[:-1] + b" " * 600 + b"}",
        "deep": plain[:-1] + b',"x":' + b"[" * 120 + b"]" * 120 + b"}",
        "lone surrogate": plain[:-1] + b',"x5t":"\\ud800"}',
        "newline in a string": plain[:-1] + b',"x5t":"a\nb"}',
        "alg with a zero": json.dumps({**good.header, "alg": f"{alg}\0"}).encode(),
        "kid with a zero": json.dumps({**good.header, "kid": f"{kid}\0"}).encode(),
        "names in capitals": json.dumps({name.upper(): value for name, value in good.header.items()}).encode(),
    }
    yield from ((f"header text: {name}", good.sign(text)) for name, text in texts.items())


def _algorithms(good: Good) -> Iterator[Variant]:
    body = good.segments[1]
    for name in ("none", "None", "NONE", "nOnE", ""):
        head = encode(json.dumps({**good.header, "alg": name}).encode())
        yield f"alg: {name or 'empty'} without a signature", f"{head}.{body}."
        yield f"alg: {name or 'empty'} with the old signature", f"{head}.{body}.{good.segments[2]}"
    public = good.key.public_key()
    form = serialization.PublicFormat
    secrets = {
        "SPKI PEM": public.public_bytes(serialization.Encoding.PEM, form.SubjectPublicKeyInfo),
        "SPKI PEM stripped": public.public_bytes(serialization.Encoding.PEM, form.SubjectPublicKeyInfo).strip(),
        "PKCS1 PEM": public.public_bytes(serialization.Encoding.PEM, form.PKCS1),
        "SPKI DER": public.public_bytes(serialization.Encoding.DER, form.SubjectPublicKeyInfo),
        "modulus": encode(public.public_numbers().n.to_bytes(256)).encode(),
        "nothing": b"",
        "kid": good.header["kid"].encode(),
    }
    for size in ("256", "384", "512"):
        text = f"{encode(json.dumps({**good.header, 'alg': f'HS{size}'}).encode())}.{body}"
        for name, secret in secrets.items():
            code = hmac.new(secret, text.encode(), getattr(hashlib, f"sha{size}")).digest()
            yield f"alg: HS{size} with the public key as {name}", f"{text}.{encode(code)}"
    digests = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    for size, digest in digests.items():
        for family in ("RS", "PS"):
            scheme = padding.PKCS1v15() if family == "RS" else padding.PSS(padding.MGF1(digest), digest.digest_size)
            text = f"{encode(json.dumps({**good.header, 'alg': family + size}).encode())}.{body}"
            made = encode(good.key.sign(text.encode(), scheme, digest))
            if family + size != good.header["alg"]:
                yield f"alg: {family}{size}, by the issuer's own key", f"{text}.{made}"
                yield f"alg: {family}{size} beneath the old header", f"{'.'.join(good.segments[:2])}.{made}"
    other = rsa.generate_private_key(65537, 2048)
    yield "alg: somebody else's key", Good(good.token, other).sign()
    yield "alg: somebody else's key, carried along", Good(good.token, other).sign({**good.header, "kid": "theirs"})
    yield "alg: the payload alone is signed", f"{'.'.join(good.segments[:2])}.{encode(good.rs256(body))}"


def _elliptic(good: Good) -> Iterator[Variant]:
    body = good.segments[1]
    curves = {"ES256": (ec.SECP256R1(), 32), "ES384": (ec.SECP384R1(), 48), "ES512": (ec.SECP521R1(), 66)}
    for name, (curve, size) in curves.items():
        text = f"{encode(json.dumps({**good.header, 'alg': name}).encode())}.{body}"
        der = ec.generate_private_key(curve).sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        for kind, made in {
            "another key": r.to_bytes(size) + s.to_bytes(size),
            "DER": der,
            "r and s are zero": bytes(2 * size),
            "r and s are one": ((1).to_bytes(size)) * 2,
            "a byte too long": r.to_bytes(size) + s.to_bytes(size) + b"\0",
            "empty": b"\0",
            "an RSA signature": good.rs256(text),
        }.items():
            yield f"elliptic: {name}, {kind}", f"{text}.{encode(made)}"
    for name in ("EdDSA", "Ed25519", "Ed448", "ES256K", "RSA-OAEP", "dir", "A128KW"):
        text = f"{encode(json.dumps({**good.header, 'alg': name}).encode())}.{body}"
        yield f"elliptic: {name}", f"{text}.{encode(ed25519.Ed25519PrivateKey.generate().sign(text.encode()))}"


def _payload_texts(good: Good) -> Iterator[Variant]:
    plain = json.dumps(good.claims).encode()
    twice = {name: json.dumps(good.claims[name]).encode() for name in ("aud", "exp", "tid", "oid", "iss")}
    texts = {
        **{f"{name} twice": plain[:-1] + f',"{name}":'.encode() + value + b"}" for name, value in twice.items()},
        "oid twice by an escape": plain[:-1] + b',"\\u006fid":' + twice["oid"] + b"}",
        "twice in an object": plain[:-1] + b',"x":{"a":1,"a":2}}',
        "byte order mark": b"\xef\xbb\xbf" + plain,
        "trailing text": plain + b"x",
        "trailing zero": plain + b"\0",
        "two objects": plain + plain,
        "trailing comma": plain[:-1] + b",}",
        "comment": b"/* */" + plain,
        "single quotes": str(good.claims).encode(),
        "NaN": plain[:-1] + b',"x":NaN}',
        "Infinity": plain[:-1] + b',"x":-Infinity}',
        "a number that overflows": plain[:-1] + b',"x":1e999}',
        "an integer beyond 2^53": plain[:-1] + b',"x":9007199254740993}',
        "deep list": plain[:-1] + b',"x":' + b"[" * 4000 + b"]" * 4000 + b"}",
        "deep object": plain[:-1] + b',"x":' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}",
        "seventeen deep": plain[:-1] + b',"x":' + b"[" * 17 + b"]" * 17 + b"}",
        "lone surrogate": plain[:-1] + b',"x":"\\udead"}',
        "not UTF-8": plain[:-1] + b',"x":"\xc3\x28"}',
        "overlong UTF-8": plain[:-1] + b',"x":"\xc0\xaf"}',
        "UTF-16": plain.decode().encode("utf-16"),
        "UTF-32": plain.decode().encode("utf-32-be"),
        "a zero in a string": plain[:-1] + b',"x":"a\0b"}',
        "list": b"[" + plain + b"]",
        "string": json.dumps(plain.decode()).encode(),
        "null": b"null",
        "a number": b"1",
        "empty object": b"{}",
        "empty": b"",
        "spaces": b"   ",
        "cut": plain[:-1],
    }
    yield from ((f"payload text: {name}", good.sign(claims=text)) for name, text in texts.items())


def _times(good: Good) -> Iterator[Variant]:
    claims = good.claims
    for name in ("exp", "iat", "nbf"):
        now = claims[name]
        for kind, value in {
            "missing": GONE,
            "null": None,
            "string": str(now),
            "float": float(now),
            "half a second": now + 0.5,
            "negative": -now,
            "zero": 0,
            "true": True,
            "list": [now],
            "object": {"value": now},
            "exponent": 1.8e9,
            "date": "2027-01-01T00:00:00Z",
            "huge": 2**60,
        }.items():
            yield f"time: {name} {kind}", good.changed(**{name: value})
    day = 24 * 3600
    yield "time: expired", good.changed(exp=claims["iat"] - 400 * day, iat=claims["iat"] - 401 * day)
    yield "time: expired when issued", good.changed(exp=claims["iat"])
    yield "time: ends before it begins", good.changed(exp=claims["iat"] - 1)
    yield "time: not yet", good.changed(nbf=claims["exp"] + 400 * day, exp=claims["exp"] + 401 * day)
    yield "time: issued in the future", good.changed(iat=claims["exp"] + 400 * day, exp=claims["exp"] + 401 * day)
    yield "time: in milliseconds", good.changed(**{name: claims[name] * 1000 for name in ("exp", "iat", "nbf")})
    yield "time: signed in after it was issued", good.changed(auth_time=claims["iat"] + 3600)
    for number, value in enumerate(("1", 1.5, -1, True, None, [])):
        yield f"time: auth_time {number}", good.changed(auth_time=value)


def _parties(good: Good) -> Iterator[Variant]:
    claims = good.claims
    tenant, audience, issuer = claims["tid"], claims["aud"], claims["iss"]
    client = "azp" if "azp" in claims else "appid"
    values: dict[str, list[Any]] = {
        "iss": [
            *(issuer.replace(tenant, word) for word in ("common", "organizations", "consumers", "{tenantid}", NOBODY)),
            *(issuer + "x", issuer[:-1], issuer.upper(), issuer.replace("https", "http"), f" {issuer}", [issuer]),
            *(issuer.replace("https://", "https://evil."), issuer.replace("//", "//user@"), issuer + "/../v2.0"),
            *("https://accounts.google.com", "https://token.actions.githubusercontent.com", "", 7, None, {}, GONE),
            *(f"https://sts.windows.net/{NOBODY}/", f"https://sts.windows.net/{tenant}", f"{LOGIN}/{tenant}"),
        ],
        "tid": [NOBODY, tenant.upper(), [tenant], "common", "", tenant + " ", f"{tenant}\n", 7, None, {}, GONE],
        "aud": [
            *(NOBODY, [audience], [audience, NOBODY], audience.upper() + "X", audience + "/", f" {audience}", "", "*"),
            *("00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com", "https://management.azure.com/"),
            *("api://AzureADTokenExchange", 7, None, {}, GONE),
        ],
        client: [NOBODY, [claims[client]], claims[client].upper() + "X", "", "*", 7, None, {}, GONE],
    }
    for name, several in values.items():
        for number, value in enumerate(several):
            yield f"party: {name} {number}", good.changed(**{name: value})


def _versions(good: Good) -> Iterator[Variant]:
    claims = good.claims
    tenant = claims["tid"]
    first = claims["ver"] == "1.0"
    ours, theirs = ("appid", "azp") if first else ("azp", "appid")
    issuer = f"{LOGIN}/{tenant}/v2.0" if first else f"https://sts.windows.net/{tenant}/"
    other = "2.0" if first else "1.0"
    yield "version: the other's issuer", good.changed(iss=issuer)
    yield "version: the other's number", good.changed(ver=other)
    yield "version: the other's client", good.changed(**{ours: GONE, theirs: claims[ours]})
    yield "version: both clients", good.changed(**{theirs: claims[ours]})
    yield "version: another client too", good.changed(**{theirs: NOBODY})
    yield "version: the other's strength", good.changed(**{f"{theirs}acr": "1"})
    yield "version: the other's issuer and number", good.changed(iss=issuer, ver=other)
    yield "version: the other's issuer and client", good.changed(iss=issuer, **{ours: GONE, theirs: claims[ours]})
    yield "version: the other's number and client", good.changed(ver=other, **{ours: GONE, theirs: claims[ours]})
    for number, value in enumerate((float(claims["ver"]), 2, "2", "3.0", "", None, [claims["ver"]], GONE)):
        yield f"version: ver {number}", good.changed(ver=value)
    for number, value in enumerate((0, "3", "", None, [], "01")):
        yield f"version: strength {number}", good.changed(**{f"{ours}acr": value})


def _owners(good: Good) -> Iterator[Variant]:
    claims = good.claims
    oid = claims["oid"]
    person = "scp" in claims
    changes: dict[str, dict[str, Any]] = {
        "no oid": {"oid": GONE},
        "an address for an oid": {"oid": "dana@contoso.example"},
        "oid in capitals": {"oid": oid.replace("0", "A").upper()},
        "oid with a newline": {"oid": f"{oid}\n"},
        "oid in a list": {"oid": [oid]},
        "oid in braces": {"oid": f"{{{oid}}}"},
        "oid without hyphens": {"oid": oid.replace("-", "")},
        "empty oid": {"oid": ""},
        "no sub": {"sub": GONE},
        "sub in a list": {"sub": [claims["sub"]]},
        "empty sub": {"sub": ""},
        "no uti": {"uti": GONE},
        "uti too long": {"uti": "u" * 1100},
        "idtyp of a device": {"idtyp": "device"},
        "idtyp in capitals": {"idtyp": "APP"},
        "idtyp in a list": {"idtyp": ["app"]},
        "idtyp true": {"idtyp": True},
        "idtyp empty": {"idtyp": ""},
        "neither scope nor app": {"scp": GONE, "idtyp": GONE},
        "a user without scopes": {"scp": GONE, "idtyp": "user"},
        "an app with scopes": {"idtyp": "app", "scp": "access_as_user", "sub": oid},
        "an app with another's subject": {"idtyp": "app", "scp": GONE, "sub": NOBODY},
        "scopes of spaces": {"scp": "   "},
        "scopes in a list": {"scp": ["access_as_user"]},
        "empty scopes": {"scp": ""},
        "a guest of nobody known": {"idp": f"https://sts.windows.net/{NOBODY}/"},
        "a guest by mail": {"idp": "mail"},
        "a guest of another provider": {"idp": "live.com"},
        "a guest of another provider, called a member": {"idp": "live.com", "acct": 0},
        "idp in a list": {"idp": ["live.com"]},
        "idp empty": {"idp": ""},
        **{f"acct {number}": {"acct": value} for number, value in enumerate(("0", False, 2, -1, None, [0], 0.0))},
    }
    if person:
        changes |= {"no acct": {"acct": GONE, "idp": GONE}, "a guest kept here": {"acct": 1, "idp": GONE}}
    for name, change in changes.items():
        yield f"owner: {name}", good.changed(**change)


def _shapes(good: Good) -> Iterator[Variant]:
    lists: dict[str, list[Any]] = {
        "roles": ["MLEngineer", [""], [1], [None], [["MLEngineer"]], {"0": "MLEngineer"}, ["r"] * 201, True],
        "acrs": ["c1", [1], {"c1": True}, None],
        "amr": ["mfa", [True], None],
        "xms_cc": ["cp1", [{}]],
        "signin_state": ["dvc_cmp", [1]],
        "wids": ["b79fbf4d-3ef9-4689-8143-76b194e85509", ["Global Administrator"], [1]],
        "sid": [7, "", ["x"]],
        "name": [{}, 7, "n" * 1100],
        "preferred_username": [["dana@contoso.example"], None],
        "upn": [7, []],
        "deviceid": ["laptop", 7, ""],
        "ipaddr": ["localhost", "10.0.0.256", "0x7f000001", 2130706433, "fe80::1%eth0", "10.0.0.1:443", ""],
        "xms_mirid": ["fraud-pipeline", 7, "", "/subscriptions/a\nb"],
    }
    for name, values in lists.items():
        for number, value in enumerate(values):
            yield f"shape: {name} {number}", good.changed(**{name: value})


def _foreign(good: Good) -> Iterator[Variant]:
    marks: dict[str, list[Any]] = {
        "nonce": ["n", None, ""],
        "at_hash": ["h"],
        "c_hash": ["h", None],
        "events": [{"http://schemas.openid.net/event/backchannel-logout": {}}],
        "cnf": [{"kid": "x"}, {"x5t#S256": "x"}],
    }
    for name, values in marks.items():
        for number, value in enumerate(values):
            yield f"foreign: {name} {number}", good.changed(**{name: value})
    claims = good.claims
    client = claims.get("azp", claims.get("appid"))
    dropped = {"azp", "appid", "azpacr", "appidacr", "scp", "roles", "groups", "idtyp"}
    identity = {name: value for name, value in claims.items() if name not in dropped}
    yield "foreign: an ID token", good.sign(claims={**identity, "aud": client, "nonce": "n"})
    yield "foreign: an ID token for us", good.sign(claims={**identity, "nonce": "n"})
    yield "foreign: an ID token without a nonce", good.sign(claims=identity)
    standard = {name: claims[name] for name in ("iss", "aud", "sub", "exp", "iat")}
    yield "foreign: standard claims only", good.sign(claims=standard)
    other = {**standard, "jti": "j", "client_id": client, "scope": "openid"}
    yield "foreign: another issuer's form", good.sign({**good.header, "typ": "at+jwt"}, other)


def _sources(good: Good) -> Iterator[Variant]:
    source = {"src1": {"endpoint": "https://evil.example/getMemberObjects"}}
    group = "9a000000-0000-4000-8000-000000000001"
    changes: dict[str, dict[str, Any]] = {
        "no names": {"groups": GONE, "_claim_names": {}},
        "names of something else": {"groups": GONE, "_claim_names": {"roles": "src1"}, "_claim_sources": source},
        "roles as well": {"groups": GONE, "_claim_names": {"groups": "src1", "roles": "src1"}},
        "names in a list": {"groups": GONE, "_claim_names": ["groups"], "_claim_sources": source},
        "names as text": {"groups": GONE, "_claim_names": "groups"},
        "names null": {"groups": GONE, "_claim_names": None},
        "a source that is an object": {"groups": GONE, "_claim_names": {"groups": source}},
        "an empty source": {"groups": GONE, "_claim_names": {"groups": ""}},
        "groups as well": {"groups": [group], "_claim_names": {"groups": "src1"}, "_claim_sources": source},
        "hasgroups and groups": {"groups": [group], "hasgroups": True},
        "hasgroups false": {"groups": GONE, "hasgroups": False},
        "hasgroups text": {"groups": GONE, "hasgroups": "true"},
        "hasgroups one": {"groups": GONE, "hasgroups": 1},
        "hasgroups null": {"groups": GONE, "hasgroups": None},
        "groups text": {"groups": group},
        "groups null": {"groups": None},
        "groups an object": {"groups": {"0": group}},
        "groups by name": {"groups": ["ml-engineers"]},
        "groups in capitals": {"groups": ["9A000000-0000-4000-8000-000000000001"]},
        "groups in lists": {"groups": [[group]]},
        "groups of numbers": {"groups": [1]},
        "201 groups": {"groups": [group] * 201},
    }
    for name, change in changes.items():
        yield f"sources: {name}", good.changed(**change)


def _random(good: Good, dice: random.Random) -> Iterator[Variant]:
    for number in range(150):
        text = good.token
        while text == good.token:
            for _ in range(dice.randint(1, 3)):
                text = _edit(text, dice)
        yield f"random: {number}", text
    for number in range(50):  # one bit of one byte beneath the encoding
        place = dice.randrange(3)
        parts = [bytearray(decode(segment)) for segment in good.segments]
        parts[place][dice.randrange(len(parts[place]))] ^= 1 << dice.randrange(8)
        yield f"random bit: {number}", ".".join(encode(bytes(part)) for part in parts)


def _edit(text: str, dice: random.Random) -> str:
    start = dice.randrange(len(text))
    end = min(len(text), start + dice.randint(1, 40))
    letter = dice.choice(LETTERS + ".=+/")
    return dice.choice(
        (
            text[:start] + letter + text[start + 1 :],
            text[:start] + letter + text[start:],
            text[:start] + text[end:] or "A",
            text[:end] + text[start:],
            text[:start] + text[start:end].swapcase() + text[end:],
        )
    )
