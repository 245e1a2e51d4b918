"""Ingestion on a fleet: the job store knows what is on its way, Celery brings it to workers, the owner applies it."""
