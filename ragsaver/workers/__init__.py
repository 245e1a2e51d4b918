"""Celery workers: a thin shell around ingestion."""
