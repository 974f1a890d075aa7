"""Files that are whole or absent, their checksums, and named arrays in one mapped file."""
