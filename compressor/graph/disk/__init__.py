"""Model files, which are untrusted input and somebody's property: reading, checking, joining, writing."""
