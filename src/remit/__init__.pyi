from remit.sdk import failures as failures
from remit.sdk.credential import Credential as Credential

__version__: str
