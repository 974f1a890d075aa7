"""Measuring a mouth: metrics, sync scoring and the ``lipstream evaluate`` command."""
