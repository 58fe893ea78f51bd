"""What has to be renewed in time: secrets, certificates, Remit's own signing keys, and who is assigned to what."""
