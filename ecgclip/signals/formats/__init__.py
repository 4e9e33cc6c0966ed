"""One module for each family of ECG files. :func:`ecgclip.signals.read_record` chooses among them by what a file holds."""
