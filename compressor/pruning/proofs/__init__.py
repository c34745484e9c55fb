"""What shows that the smaller model gives what the masked original gives, and what that says nothing of."""
