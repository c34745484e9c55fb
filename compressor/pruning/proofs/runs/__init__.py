"""Models of a proof as they are run: in one session, in pieces or one after the other, and on which inputs."""
