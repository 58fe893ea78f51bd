"""Who is asking: tokens of all issuers, sessions of browsers, SAML, the directory, and who no longer counts.

Six parts that know little of each other: `tokens`, `saml`, `directory`, `surroundings`, `browser` and `revocation`.
`settings` is what they are told, `ports` what they ask each other, `replay` what may happen once.
"""
