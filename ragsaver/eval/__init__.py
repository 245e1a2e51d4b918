"""Datasets, metrics and measurements: is it cheaper, and no worse?"""
