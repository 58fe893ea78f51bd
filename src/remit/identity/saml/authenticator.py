"""People who sign in at a SAML 2.0 identity provider: from a posted response to an identity, or a refusal.

SAML 2.0 profiles 4.1 (web browser single sign-on), answers by HTTP-POST. The principal is the NameID as the provider
keeps it for good: `persistent`, or `unspecified` where the provider's administrator has chosen an id that is never
given to somebody else; a transient name is nobody tomorrow, and an e-mail address may be somebody else. Everything is
read from the signed bytes. Leaves out: form (`form`), signatures (`signature`), the profile's checks
(`conditions`), attributes (`attributes`), our own side of the conversation (`service`), sign-out, the
pending request's keeping.
"""

import asyncio

from remit.identity.replay import Replay
from remit.identity.saml import attributes, conditions, form, service, signature, xml
from remit.identity.saml.conditions import Facts
from remit.identity.saml.form import Form
from remit.identity.saml.metadata import MetadataSource
from remit.identity.saml.xml import Element, Malformed
from remit.identity.settings import SamlIssuer
from remit.identity.tokens.claims import contexts_of
from remit.model.errors import Refused
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.reasons import Reason

MAX_SUBJECT = 256  # SAML core 8.3.7: a persistent identifier's most

UNSPECIFIED = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"


class SamlAuthenticator:
    """One provider's responses. `metadata` answers with its current keys, `replay` with what was seen before."""

    def __init__(self, settings: SamlIssuer, metadata: MetadataSource, replay: Replay) -> None:
        self._settings = settings
        self._metadata = metadata
        self._replay = replay

    async def accept(self, response: str, in_response_to: str | None, now: int) -> Identity:
        """Who the `SAMLResponse` field posted to our consumer address proves at `now`, epoch seconds, and only once.

        `in_response_to`: the id of the request that this browser has pending; without one nothing is accepted. Raises
        `Refused`, whose words hold nothing of the document.
        """
        # 1. an answer of sound form, to what we asked
        if not in_response_to:
            raise Refused(Reason.TOKEN_CLAIMS, "no sign-in is pending here", hint="start at the sign-in page")
        found = await asyncio.to_thread(form.read, response)
        try:
            conditions.check_response(found.response, self._settings, in_response_to)
            # 2. signed with the provider's key; from here on only what was signed is read
            assertion = await self._signed(found, now)
            # 3. for us, now
            facts = conditions.check_assertion(assertion, self._settings, in_response_to, now)
            # 4. who that is
            identity = self._identity(assertion, facts)
        except Malformed as error:
            raise Refused(Reason.TOKEN_MALFORMED, f"the SAML response {error}") from None
        # 5. for the first time
        await self._once(identity.token_id, facts.usable_until, now)
        return identity

    async def authn_request(self, request_id: str, now: int, *, relay: str = "") -> str:
        """Where to send a browser to sign in, as `service.authn_request`; raises `Refused` when unknowable."""
        provider = await self._metadata.current(now)
        return service.authn_request(self._settings, provider, request_id, now, relay=relay)

    def metadata_xml(self) -> str:
        """Our own metadata, for the provider's administrator."""
        return service.metadata_xml(self._settings)

    async def _signed(self, found: Form, now: int) -> Element:
        provider = await self._metadata.current(now)
        assertion = await asyncio.to_thread(signature.signed_assertion, found, provider.certificates)
        if assertion is None:
            newer = await self._metadata.renewed(provider, now)
            if newer is not None:
                assertion = await asyncio.to_thread(signature.signed_assertion, found, newer.certificates)
        if assertion is None:
            raise Refused(Reason.TOKEN_SIGNATURE, "the SAML response is not signed by its provider")
        return assertion

    def _identity(self, assertion: Element, facts: Facts) -> Identity:
        subject = _subject(assertion, self._settings)
        said = attributes.read(assertion)
        return Identity(
            principal=Principal(self._settings.entity_id, self._settings.name, subject, Kind.PERSON),
            display=attributes.display(said) or subject,
            groups=attributes.groups(said, self._settings),
            groups_at=facts.issued_at,
            roles=attributes.roles(said, subject, self._settings.roles),
            scopes=frozenset(),
            client="",
            authentication=Authentication(
                methods=attributes.methods(said, facts.context),
                contexts=contexts_of(facts.context),
                at=facts.authenticated_at,
            ),
            guest=False,
            issued_at=facts.issued_at,
            expires_at=facts.expires_at,
            token_id=xml.attribute(assertion, "ID"),
            session=facts.session,
            address=facts.address,
            attributes=attributes.named(said, self._settings.roles),
        )

    async def _once(self, assertion: str, until: int, now: int) -> None:
        entity = self._settings.entity_id
        name = f"{len(entity)}:{entity}{assertion}"  # the length, so that no two pairs make one name
        if not await asyncio.to_thread(self._replay.first, "saml", name, until, now):
            raise Refused(Reason.TOKEN_CLAIMS, "this SAML assertion was used before", hint="sign in again")


def _subject(assertion: Element, settings: SamlIssuer) -> str:
    element = xml.one(xml.one(assertion, xml.ASSERTION, "Subject"), xml.ASSERTION, "NameID")
    if element.get("Format", UNSPECIFIED) not in (PERSISTENT, UNSPECIFIED):
        raise Refused(
            Reason.TOKEN_CLAIMS,
            "the provider names this person in a form that may change",
            hint="let the provider send a `persistent` NameID",
        )
    # two providers, or two services, may give one name to two people (core 8.3.7)
    if element.get("NameQualifier", settings.entity_id) != settings.entity_id:
        raise Refused(Reason.TOKEN_ISSUER)
    if element.get("SPNameQualifier", settings.audience) != settings.audience:
        raise Refused(Reason.TOKEN_AUDIENCE)
    subject = xml.text(element)
    if len(subject) > MAX_SUBJECT:
        raise Malformed("has a `NameID` that is too long")
    return subject
