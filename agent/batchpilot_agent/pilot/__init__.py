"""What an agent's pilot does: claim chunks, have slots run them, report, leave. A duty a file."""
