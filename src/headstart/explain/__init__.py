"""Why a model answers as it does, and what transfer changed in it."""
