"""The server's rooms."""
