"""How the relay talks to platforms: TLS, credentials, plain calls."""
