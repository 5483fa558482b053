"""Launchers: how agents get onto other machines, one small module a batch system.

A launcher submits some agents as one array, tells the states of many in one query, and cancels
some or all; `choosing` has one for each kind of pool. They decide nothing: how many, when and
whether again is the coordinator's business. On a node it is loaded only by agents that have to
ask when they end (`inside`).
"""
