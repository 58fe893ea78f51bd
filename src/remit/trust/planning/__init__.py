"""What is to be done so that the clouds hold what remit.yaml says: the difference, how safe it is, how it reads."""
