"""The launch system: descriptions and actions as the real API names them, and the service that runs them."""
