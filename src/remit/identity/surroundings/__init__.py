"""What is true around a caller: country, named locations, risk."""
