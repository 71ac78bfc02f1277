"""Redis: the app, results, the registry of models and the server that comes along."""
