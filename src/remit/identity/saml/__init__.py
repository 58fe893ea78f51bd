"""SAML 2.0: a provider's signed response, read from what was signed and from nothing else."""
