"""What people are told of a policy: what may be asked for, in words, and why a value is what it is."""
