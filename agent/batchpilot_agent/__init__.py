"""The pilot that runs jobs on a node.

`pilot/` claims chunks and reports, `slot/` runs jobs; they are different processes and meet only
on the wire between them (`channel`, `words`).
"""
