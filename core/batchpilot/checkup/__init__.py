"""What `batchpilot doctor` looks at: one check a line, each with its remedy.

machine     Python, packages, broker binary, runtime directory
directory   file system, space, rights, place, database, segments
running     coordinator, broker, agents, what was ignored
probing     what a probe finds where agents would run (nodes): asked for by `--probe`
"""
