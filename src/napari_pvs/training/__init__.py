"""Training: from a configuration to weights.

Floors, the lowest first; nothing imports upward, and there are no circles between files:

1. ``methods``: what can be chosen
2. ``config``
3. ``distributed``: one training over several processes
4. ``runs`` (folders of runs, seen from outside) and ``data`` (what is learnt from)
5. ``augment``, ``losses``, ``state``, ``whole_scan``
6. ``validation``, then ``weights``
7. ``semi_supervised``: who makes pseudo-labels, and what is learnt from them
8. ``step`` and ``plan``
9. ``loop``
10. ``run``: starts and resumes a run
11. ``crossval``
"""
