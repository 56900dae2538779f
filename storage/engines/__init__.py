"""What was found out about other engines: documents, and the store that keeps them."""
