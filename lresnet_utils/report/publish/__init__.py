"""Executed notebooks become pages, one file, and a PDF."""
