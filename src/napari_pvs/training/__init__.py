"""Training: from a configuration to weights.

Floors, the lowest first; nothing imports upward, and there are no circles between files:

1. ``methods``: what can be chosen
2. ``config``
3. ``distributed``: one training over several processes
4. ``runs`` (folders of runs, seen from outside) and ``data`` (what is learnt from)
5. ``augment``, ``losses``, ``state``, ``whole_scan``
6. ``effect``: what unlabelled scans changed
7. ``validation``, and ``semi_supervised``: who makes pseudo-labels, and what is learnt from them
8. ``agreement``: the validation of a run without labels
9. ``step`` and ``weights``
10. ``loop`` and ``plan``
11. ``run``: starts and resumes a run
12. ``crossval``
"""
