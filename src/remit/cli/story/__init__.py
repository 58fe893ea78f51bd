"""What `remit demo` tells: Contoso's data, its people, and the steps, one file each."""
