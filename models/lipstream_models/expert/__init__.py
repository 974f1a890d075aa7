"""Sync experts: networks that hear whether a mouth belongs to a sound."""
