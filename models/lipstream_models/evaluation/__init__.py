"""Measuring a mouth: metrics, sync scoring and the ``lipstream evaluate`` command.

Here belongs what judges pictures and lips, of a checkpoint or of a model as it ships. Speed is
``lipstream_bench``'s, and equality of runtimes the export's parity.
"""
