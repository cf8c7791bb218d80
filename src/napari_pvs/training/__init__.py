"""Training: from a configuration to weights.

Floors, the lowest first. Nothing imports upward, and there are no circular imports:

1. ``methods``: what can be chosen
2. ``config``
3. ``distributed``: one training over several processes
4. ``runs`` (run folders, seen from outside) and ``data`` (what is trained on)
5. ``augment``, ``losses``, ``state``, ``whole_scan``
6. ``effect``: what unlabelled scans changed
7. ``validation``, and ``semi_supervised``: what makes pseudo-labels, and how they are trained on
8. ``agreement``: the validation of a run without labels
9. ``step`` and ``weights``
10. ``loop`` and ``plan``
11. ``run``: starts and resumes a run
12. ``crossval``
"""
